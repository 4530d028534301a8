"""The serving manifests: valid, restricted, and true to what the server reads and tells."""

from __future__ import annotations

import http.client
import json
import pathlib
import re
from typing import Any

import pytest
from google.protobuf import text_format

from serving import flags, protos
from serving.client import Classifier
from serving.config_files import read_batching, read_monitoring
from serving.local import LocalServer
from serving.model_config import read_config_file
from tests import manifests
from tests.serving import tiny_model
from tests.serving.samples import COLOURS, MODEL

ROOT = pathlib.Path(__file__).parent.parent / "kubernetes" / "serving"
OVERLAYS = ("cpu", "gpu", "canary")
FOLDERS = [*(f"overlays/{name}" for name in OVERLAYS), "kserve", "monitoring"]
#: Kinds that come with an operator, whose schemas Kubernetes does not have.
_NAME = r"(?<![\w:])("  # where the name of a metric begins
_FOREIGN = {"serving.kserve.io/v1beta1", "monitoring.coreos.com/v1"}


@pytest.fixture(scope="module")
def built() -> dict[str, list[manifests.Document]]:
    return {folder: manifests.build(ROOT / folder) for folder in FOLDERS}


@pytest.mark.parametrize("folder", FOLDERS)
def test_documents_fit_the_schemas_and_hold_no_secret(built: dict, folder: str) -> None:
    native = [document for document in built[folder] if document["apiVersion"] not in _FOREIGN]
    assert native or folder == "kserve"
    faults = [
        f"{version}: {fault}"
        for version in manifests.VERSIONS
        for document in native
        for fault in manifests.schema_faults(document, version)
    ]
    assert faults == []
    assert manifests.secret_values(built[folder]) == []


@pytest.mark.parametrize("folder", FOLDERS)
def test_pods_are_restricted(built: dict, folder: str) -> None:
    documents = built[folder]
    for document in documents:
        if document["kind"] == "InferenceService":  # KServe makes a pod of it, around the container `model`
            predictor = dict(document["spec"]["predictor"])
            container = {"name": "model", **predictor.pop("model")}
            documents = [
                {
                    "kind": "Pod",
                    "metadata": document["metadata"],
                    "spec": predictor | {"containers": [container]},
                }
            ]
    assert manifests.unrestricted(documents) == []
    for pod in manifests.pods(documents):
        assert pod.spec["automountServiceAccountToken"] is False
        for container in pod.spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert folder == "monitoring" or list(manifests.pods(documents))


def _only(documents: list[manifests.Document], kind: str, name: str = "") -> manifests.Document:
    (found,) = [
        document
        for document in documents
        if document["kind"] == kind and document["metadata"]["name"].startswith(name)
    ]
    return found


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_find_the_pods_and_not_the_clients(built: dict, overlay: str) -> None:
    documents = built[f"overlays/{overlay}"]
    deployment = _only(documents, "Deployment")
    labels = deployment["spec"]["template"]["metadata"]["labels"].items()
    policy = _only(documents, "NetworkPolicy")
    selectors = [
        deployment["spec"]["selector"]["matchLabels"],
        _only(documents, "Service")["spec"]["selector"],
        _only(documents, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        policy["spec"]["podSelector"]["matchLabels"],
    ]
    for selector in selectors:
        assert selector and selector.items() <= labels
    (clients, _) = policy["spec"]["ingress"]
    assert clients["from"] == [{"podSelector": {"matchLabels": {"imagemill/serving-client": "true"}}}]
    assert policy["spec"]["egress"] == []
    monitor = _only(built["monitoring"], "PodMonitor")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= labels
    scalers = [document for document in documents if document["kind"] == "HorizontalPodAutoscaler"]
    assert len(scalers) == (overlay != "gpu")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_command_line_and_its_files_are_read_by_our_own_server(
    built: dict, overlay: str, tmp_path: pathlib.Path
) -> None:
    """Flags, mounted files, ports and probes belong together."""
    documents = built[f"overlays/{overlay}"]
    pod = _only(documents, "Deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    files: dict[str, pathlib.Path] = {}
    for volume in pod["volumes"]:
        if "configMap" in volume:
            for name, text in _only(documents, "ConfigMap", volume["configMap"]["name"])["data"].items():
                path = tmp_path / name
                path.write_text(text, encoding="utf-8")
                files[f"{mounts[volume['name']]}/{name}"] = path
    arguments = []
    for argument in container["args"]:
        flag, _, value = argument.partition("=")
        arguments.append(f"{flag}={files.pop(value, value)}")
    assert files == {}, "a file that no flag names"
    options = flags.parse(arguments)
    (model,) = read_config_file(pathlib.Path(options.model_config_file))
    assert model.base_path.is_relative_to(mounts["models"])
    assert read_batching(pathlib.Path(options.batching_parameters_file)).max_batch_size >= 32
    assert read_monitoring(pathlib.Path(options.monitoring_config_file)).enabled
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": options.port, "rest": options.rest_api_port}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["path"].startswith(f"/v1/models/{model.name}")
    assert container["readinessProbe"]["httpGet"]["path"].endswith("/metadata")


def test_the_file_that_labels_move_in_is_read_as_written() -> None:
    text = (ROOT / "overlays" / "canary" / "models.config").read_text(encoding="utf-8")
    message = text_format.Parse(text, protos.model_server_config.ModelServerConfig())
    assert text_format.MessageToString(message) == text, "a first promotion would change more than the labels"


def test_every_metric_that_is_looked_at_is_one_that_the_server_tells(tmp_path: pathlib.Path) -> None:
    tiny_model.export(tmp_path / "1")
    with (
        LocalServer(tmp_path, MODEL, rest_api_port=0) as server,
        Classifier(server.address, MODEL) as classifier,
    ):
        classifier.classify(COLOURS["red"])
        connection = http.client.HTTPConnection(server.rest_address, timeout=20)
        connection.request("GET", "/monitoring/prometheus/metrics")
        page = connection.getresponse().read().decode()
    told: dict[str, set[str]] = {}
    for line in page.splitlines():
        if not line.startswith("#"):
            name, labels = re.fullmatch(r"([^{]+)\{(.*)\} \S+", line).groups()
            told.setdefault(name, set()).update(re.findall(r'(\w+)="', labels))
    dashboard = json.loads((ROOT / "monitoring" / "dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [str(variable.get("definition", "")) for variable in dashboard["templating"]["list"]]
    (rules,) = manifests.read((ROOT / "monitoring" / "rules.yaml").read_text(encoding="utf-8"))
    every = [rule for group in rules["spec"]["groups"] for rule in group["rules"]]
    queries += [rule["expr"] for rule in every]
    recorded = {rule["record"] for rule in every if "record" in rule}
    seen: set[str] = set()
    for query in queries:
        assert query.count("(") == query.count(")") and query.count("{") == query.count("}")
        for name, matchers in re.findall(rf"{_NAME}:\w+(?::\w+)+)(?:\{{([^}}]*)\}})?", query):
            seen.add(name)
            assert name in told, f"{name} in {query}"
            # Prometheus itself adds the namespace.
            assert set(re.findall(r"(\w+)\s*[=!]", matchers)) <= told[name] | {"namespace"}
        assert set(re.findall(rf"{_NAME}imagemill:\w+:\w+)", query)) <= recorded
    assert {":tensorflow:serving:request_count", ":imagemill:serving:label_count"} <= seen
    panels: list[Any] = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
