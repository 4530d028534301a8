"""What tests ask of Kubernetes manifests: built as `kubectl apply -k` does, and checked offline.

for document in manifests.build(folder):
    assert manifests.schema_faults(document, "1.33") == []
assert manifests.unrestricted(documents) == []
assert manifests.secret_values(documents) == []
"""

from __future__ import annotations

import pathlib
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import kubernetes_validate
import pytest
import yaml

#: Minor versions of Kubernetes whose schemas every manifest must fit.
VERSIONS = ("1.29", "1.30", "1.31", "1.32", "1.33")

Document = dict[str, Any]

# https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
_VOLUMES = {
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
}
# Where the pod stands in each kind that makes pods.
_PODS = {
    "Pod": ("spec",),
    "Deployment": ("spec", "template", "spec"),
    "StatefulSet": ("spec", "template", "spec"),
    "DaemonSet": ("spec", "template", "spec"),
    "ReplicaSet": ("spec", "template", "spec"),
    "Job": ("spec", "template", "spec"),
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
}


class Pod(NamedTuple):
    """A pod as some document asks for it: `Kind/name` of the document, and the pod's spec."""

    owner: str
    spec: Document


def build(folder: pathlib.Path) -> list[Document]:
    """The documents of a kustomization, as they would be applied.

    Fails the test, in one line, where there is no kubectl (or kustomize) or the folder does not build.
    """
    if shutil.which("kubectl"):
        command = ["kubectl", "kustomize", str(folder)]
    elif shutil.which("kustomize"):
        command = ["kustomize", "build", str(folder)]
    else:
        pytest.fail(
            "kubectl is missing, which builds the manifests: run scripts/test-packages", pytrace=False
        )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.fail(f"{' '.join(command)}: {done.stderr.strip()}", pytrace=False)
    return read(done.stdout)


def read(text: str) -> list[Document]:
    """The documents of a YAML stream, empty ones left out."""
    return [document for document in yaml.safe_load_all(text) if document]


def name(document: Document) -> str:
    """`Kind/name`, for messages."""
    return f"{document['kind']}/{document['metadata']['name']}"


def schema_faults(document: Document, version: str) -> list[str]:
    """What the schema of a Kubernetes version finds, unknown fields included; empty when it fits."""
    try:
        kubernetes_validate.validate(document, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
        return [f"{name(document)}: {getattr(error, 'message', error)}"]
    return []


def pods(documents: list[Document]) -> Iterator[Pod]:
    """Every pod that the documents ask for."""
    for document in documents:
        if document["kind"] in _PODS:
            spec = document
            for key in _PODS[document["kind"]]:
                spec = spec[key]
            yield Pod(name(document), spec)


def unrestricted(documents: list[Document]) -> list[str]:
    """What the "restricted" Pod Security Standard would refuse, and pods without requests and limits."""
    return [f"{pod.owner}: {fault}" for pod in pods(documents) for fault in _pod_faults(pod.spec)]


def _pod_faults(pod: Document) -> Iterator[str]:
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if pod.get(key):
            yield f"{key} is set"
    for volume in pod.get("volumes", []):
        if not (volume.keys() - {"name"}) <= _VOLUMES:
            yield f"volume {volume['name']} is of a kind that is not allowed"
    outer = pod.get("securityContext", {})
    for container in [*pod["containers"], *pod.get("initContainers", [])]:
        own = container.get("securityContext", {})
        context = outer | own
        shown = container["name"]
        if context.get("runAsNonRoot") is not True:
            yield f"{shown} may run as root"
        if context.get("runAsUser") == 0:
            yield f"{shown} runs as root"
        if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost"):
            yield f"{shown} has no seccomp profile"
        if own.get("allowPrivilegeEscalation") is not False:
            yield f"{shown} may escalate privileges"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", []):
            yield f"{shown} keeps capabilities"
        if not set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"}:
            yield f"{shown} adds capabilities"
        if own.get("privileged"):
            yield f"{shown} is privileged"
        resources = container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys():
            yield f"{shown} requests no CPU or memory"
        if "memory" not in resources.get("limits", {}):
            yield f"{shown} has no memory limit"


def secret_values(documents: list[Document]) -> list[str]:
    """Secrets that hold a value, which has no place in a repository."""
    return [
        f"{name(document)}: {key}"
        for document in documents
        if document["kind"] == "Secret"
        for field in ("data", "stringData")
        for key, value in (document.get(field) or {}).items()
        if value
    ]
