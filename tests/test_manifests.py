"""The helper that judges manifests finds what it is for, so that its silence means something."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from tests import manifests

GOOD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "good"},
    "spec": {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "main",
                "image": "example",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                "resources": {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}},
            }
        ],
        "volumes": [{"name": "scratch", "emptyDir": {}}],
    },
}


@pytest.mark.parametrize("version", manifests.VERSIONS)
def test_a_good_pod_passes_and_a_misspelt_field_does_not(version: str) -> None:
    assert manifests.schema_faults(GOOD, version) == []
    bad = copy.deepcopy(GOOD)
    bad["spec"]["containers"][0]["imagePulPolicy"] = "Always"
    assert "imagePulPolicy" in manifests.schema_faults(bad, version)[0]


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("securityContext", "runAsNonRoot"), False, "main may run as root"),
        (("securityContext", "seccompProfile"), {}, "main has no seccomp profile"),
        (("hostNetwork",), True, "hostNetwork is set"),
        (("containers", 0, "securityContext", "capabilities"), {}, "main keeps capabilities"),
        (("containers", 0, "securityContext", "privileged"), True, "main is privileged"),
        (("containers", 0, "resources"), {"requests": {"cpu": 1, "memory": 1}}, "main has no memory limit"),
        (("volumes", 0), {"name": "host", "hostPath": {"path": "/"}}, "volume host is of a kind"),
    ],
)
def test_an_unrestricted_pod_is_found(path: tuple, value: object, fault: str) -> None:
    assert manifests.unrestricted([GOOD]) == []
    bad = copy.deepcopy(GOOD)
    place = bad["spec"]
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (found,) = manifests.unrestricted([bad])
    assert fault in found


def test_a_secret_with_a_value_is_found() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db"},
        "stringData": {"password": "x"},
    }
    assert manifests.secret_values([secret]) == ["Secret/db: password"]
    assert manifests.secret_values([{**secret, "stringData": {"password": ""}}]) == []
