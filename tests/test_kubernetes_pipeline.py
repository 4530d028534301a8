"""The manifests of the pipeline: valid, restricted, without secrets, and in step with the package."""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
from typing import Any

import pytest

from pipeline.kubeflow_settings import KubeflowSettings
from tests import manifests

ROOT = pathlib.Path(__file__).parent.parent / "kubernetes" / "pipeline"
OVERLAYS = ("laptop", "production", "flink")


@pytest.fixture(scope="module")
def built() -> dict[str, list[manifests.Document]]:
    return {name: manifests.build(ROOT / "overlays" / name) for name in OVERLAYS}


@pytest.mark.parametrize("version", manifests.VERSIONS)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_manifest_fits_the_schemas(built: dict, overlay: str, version: str) -> None:
    faults = [fault for one in built[overlay] for fault in manifests.schema_faults(one, version)]
    assert faults == []


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_are_restricted_and_nothing_secret_is_written_down(built: dict, overlay: str) -> None:
    documents = built[overlay]
    assert len(list(manifests.pods(documents))) >= 3
    assert manifests.unrestricted(documents) == []
    assert manifests.secret_values(documents) == []
    for pod in manifests.pods(documents):
        assert pod.spec.get("automountServiceAccountToken") is False, pod.owner
        images = [one["image"] for one in pod.spec["containers"]]
        assert all(":" in image and not image.endswith(":latest") for image in images), images


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_all_is_in_one_namespace_and_every_name_leads_somewhere(built: dict, overlay: str) -> None:
    documents = built[overlay]
    namespaces = {one["metadata"].get("namespace") for one in documents if one["kind"] != "Namespace"}
    assert namespaces == {"kubeflow" if overlay == "laptop" else "imagemill"}
    claims = {one["metadata"]["name"] for one in documents if one["kind"] == "PersistentVolumeClaim"}
    secrets = {"imagemill-mariadb", "imagemill-metadata"}
    for pod in manifests.pods(documents):
        for volume in pod.spec.get("volumes", []):
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
        for container in pod.spec["containers"]:
            for variable in container.get("env", []):
                if "valueFrom" in variable:
                    assert variable["valueFrom"]["secretKeyRef"]["name"] in secrets
    for service in (one for one in documents if one["kind"] == "Service"):
        wanted = service["spec"]["selector"].items()
        labels = [_pod_labels(one) for one in documents if one["kind"] in ("Deployment", "StatefulSet")]
        assert any(wanted <= found.items() for found in labels), service["metadata"]["name"]


def _pod_labels(document: manifests.Document) -> dict[str, str]:
    return document["spec"]["template"]["metadata"]["labels"]


def test_a_laptop_serves_from_the_volume_that_it_pushes_to(built: dict) -> None:
    served = manifests.build(ROOT / "overlays" / "laptop" / "serving")
    kinds = {one["kind"] for one in served}
    # The namespace is Kubeflow's, and the volume the pipeline's.
    assert not kinds & {"Namespace", "PersistentVolumeClaim"}
    assert {one["metadata"]["namespace"] for one in served} == {"kubeflow"}
    claims = {one["metadata"]["name"] for one in built["laptop"] if one["kind"] == "PersistentVolumeClaim"}
    (pod,) = manifests.pods(served)
    volumes = [one["persistentVolumeClaim"] for one in pod.spec["volumes"] if "persistentVolumeClaim" in one]
    assert volumes
    assert {one["claimName"] for one in volumes} <= claims


def test_the_package_finds_what_the_manifests_make(built: dict) -> None:
    settings = KubeflowSettings()
    claims = {
        one["metadata"]["name"] for one in built["production"] if one["kind"] == "PersistentVolumeClaim"
    }
    assert {one.claim for one in settings.volumes} <= claims
    (initialize,) = [pod for pod in manifests.pods(built["production"]) if pod.owner.startswith("Job/")]
    context = initialize.spec["securityContext"]
    assert (context["runAsUser"], context["fsGroup"]) == (settings.user, settings.user)
    (container,) = initialize.spec["containers"]
    mounted = {one["mountPath"] for one in container["volumeMounts"]}
    assert {one.path for one in settings.volumes} <= mounted
    (variable,) = container["env"]
    assert variable["valueFrom"]["secretKeyRef"]["name"] == settings.metadata_secret


def test_production_denies_what_is_not_opened_and_bounds_what_is_taken(built: dict) -> None:
    documents = {manifests.name(one): one for one in built["production"]}
    namespace = documents["Namespace/imagemill"]["metadata"]["labels"]
    assert namespace["pod-security.kubernetes.io/enforce"] == "restricted"
    assert documents["NetworkPolicy/deny"]["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }
    assert "limits.memory" in documents["ResourceQuota/imagemill"]["spec"]["hard"]
    # A quota of memory refuses every pod that names no limit.
    assert documents["LimitRange/imagemill"]["spec"]["limits"][0]["default"]["memory"]
    role = documents["Role/imagemill-pipeline"]["rules"]
    assert not any("*" in [*rule["verbs"], *rule["resources"], *rule["apiGroups"]] for rule in role)
    for rule in role:
        if "secrets" in rule["resources"]:
            assert rule["resourceNames"] and rule["verbs"] == ["get"]


def test_the_secrets_are_made_with_a_password_that_fits_on_both_sides() -> None:
    # kubectl builds the documents here, and sends them nowhere.
    command = [str(ROOT / "create-secrets"), "imagemill", "--dry-run=client", "--output", "json"]
    made = [_secret(command), _secret(command)]
    for secrets in made:
        connection = json.loads(secrets["imagemill-metadata"]["connection"])["mysql"]
        assert connection["password"] == secrets["imagemill-mariadb"]["password"]
        assert connection["host"] == "imagemill-mariadb"
        assert len(set(secrets["imagemill-mariadb"].values())) == 2
    assert made[0] != made[1]


def _secret(command: list[str]) -> dict[str, dict[str, str]]:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    decoder, text, found = json.JSONDecoder(), done.stdout.strip(), {}
    while text:
        document, end = decoder.raw_decode(text)
        data: dict[str, Any] = document["data"]
        found[document["metadata"]["name"]] = {
            key: base64.b64decode(value).decode() for key, value in data.items()
        }
        text = text[end:].strip()
    return found
