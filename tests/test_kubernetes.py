"""The manifests: complete, and every pod within the "restricted" Pod Security Standard."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import yaml

ROOT = pathlib.Path(__file__).parent.parent / "kubernetes"
MANIFESTS = sorted(path for path in ROOT.rglob("*.yaml") if path.name != "kustomization.yaml")


def _documents(path: pathlib.Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(path.read_text(encoding="utf-8")) if document]


@pytest.mark.parametrize("folder", sorted(path.parent for path in ROOT.rglob("kustomization.yaml")))
def test_a_kustomization_names_every_file_beside_it(folder: pathlib.Path) -> None:
    (kustomization,) = _documents(folder / "kustomization.yaml")
    beside = {path.name for path in folder.glob("*.yaml")} - {"kustomization.yaml"}
    assert {name for name in kustomization["resources"] if name.endswith(".yaml")} == beside


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_pods_are_restricted(path: pathlib.Path) -> None:
    """https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted"""
    for document in _documents(path):
        assert {"apiVersion", "kind", "metadata"} <= document.keys()
        if document["kind"] != "Deployment":
            continue
        pod = document["spec"]["template"]["spec"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault"
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        assert all(
            {"configMap", "emptyDir", "persistentVolumeClaim"} & volume.keys() for volume in pod["volumes"]
        )
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert {"requests", "limits"} <= container["resources"].keys()
