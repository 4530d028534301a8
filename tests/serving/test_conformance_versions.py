"""The life of models and versions, on disk and in the configuration, as TensorFlow Serving keeps it.

Runs against the server of this repository, or against any other: set SERVING_GRPC_ADDRESS to its `host:port`
and SERVING_SITE to a folder that both see under one path. That server must look for versions often
(`--file_system_poll_wait_seconds=1`) and takes the models that HandleReloadConfigRequest names.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import text_format

from serving import protos
from serving.client import Classifier, ModelNotFound
from serving.local import LocalServer
from tests.serving.samples import COLOURS, encoded

Push = Callable[[Path, Path], None]
GREEN = COLOURS["green"]
#: As in `ModelVersionStatus.State`.
AVAILABLE, END = 30, 50
RELOAD = "/tensorflow.serving.ModelService/HandleReloadConfigRequest"


class Site:
    """A server that looks for versions all the time, and the models of the tests on it."""

    def __init__(self, address: str, folder: Path, first: str):
        self.folder = folder
        self._address = address
        self._configs: dict[str, str] = {"first": first}
        self._channel = grpc.insecure_channel(address)

    def reload(self) -> Any:
        """Sends all models by HandleReloadConfigRequest."""
        request = protos.model_management.ReloadConfigRequest()
        text_format.Parse(self.text(), request.config)
        return self._channel.unary_unary(
            RELOAD,
            request_serializer=type(request).SerializeToString,
            response_deserializer=protos.model_management.ReloadConfigResponse.FromString,
        )(request, timeout=60)

    def text(self) -> str:
        return f"model_config_list {{ {' '.join(self._configs.values())} }}"

    def set(self, name: str, base_path: Path, more: str = "") -> None:
        self._configs[name] = f'config {{ name: "{name}" base_path: "{base_path}" {more} }}'

    def drop(self, name: str) -> None:
        self._configs.pop(name, None)

    def statuses(self, name: str) -> dict[int, int]:
        """State by version."""
        return {status.version: status.state for status in self._statuses(name)}

    def until(self, name: str, version: int, state: int, failed: bool = False) -> str:
        """Waits until a version is in a state, with an error where it `failed`; returns its message."""
        while True:  # pytest's time limit ends a wait in vain
            for status in self._statuses(name):
                has_failed = status.status.error_code != 0
                if (status.version, status.state, has_failed) == (version, state, failed):
                    return status.status.error_message
            time.sleep(0.02)

    def _statuses(self, name: str) -> Any:
        request = protos.get_model_status.GetModelStatusRequest()
        request.model_spec.name = name
        response = self._channel.unary_unary(
            "/tensorflow.serving.ModelService/GetModelStatus",
            request_serializer=type(request).SerializeToString,
            response_deserializer=protos.get_model_status.GetModelStatusResponse.FromString,
        )(request, timeout=20)
        return response.model_version_status

    def classifier(self, name: str, **options: Any) -> Classifier:
        return Classifier(self._address, name, **options)


@pytest.fixture(scope="module")
def site(saved_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    given = os.environ.get("SERVING_SITE")
    folder = Path(tempfile.mkdtemp(dir=given)) if given else tmp_path_factory.mktemp("site")
    folder.chmod(0o755)  # the other server may run as somebody else
    base = folder / "first"
    shutil.copytree(saved_model, base / "1")
    first = f'config {{ name: "first" base_path: "{base}" }}'
    if given:
        yield Site(os.environ["SERVING_GRPC_ADDRESS"], folder, first)
        shutil.rmtree(folder)
        return
    config_file = folder / "models.config"
    config_file.write_text(f"model_config_list {{ {first} }}", encoding="utf-8")
    flags = [f"--model_config_file={config_file}", "--file_system_poll_wait_seconds=0.1"]
    with LocalServer(base, "first", flags=flags) as server:
        yield Site(server.address, folder, first)


@pytest.fixture
def base(site: Site, saved_model: Path, name: str) -> Iterator[Path]:
    """A folder with version 1, served under the test's name."""
    folder = site.folder / name
    shutil.copytree(saved_model, folder / "1")
    site.set(name, folder)
    site.reload()
    yield folder
    site.drop(name)
    site.reload()


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    return request.node.name


def test_a_new_version_takes_over_and_the_old_one_goes(site, base, name, other_model: Path, push: Push):
    push(other_model, base / "2")
    site.until(name, 2, AVAILABLE)
    site.until(name, 1, END)
    with site.classifier(name) as classifier:
        answer = classifier.classify(GREEN)
        assert (answer.label, answer.model_version) == ("lime", 2)
    assert site.statuses(name) == {1: 50, 2: 30}


def test_half_copied_and_broken_versions_leave_the_old_one_serving(
    site, base, name, other_model: Path, push: Push
):
    with site.classifier(name) as classifier:
        # Without saved_model.pb it is not there yet; without its variables it is broken, until they come.
        shutil.copytree(other_model, base / "2", ignore=shutil.ignore_patterns("saved_model.pb"))
        (base / "not-a-number").mkdir()
        (base / "99999999999999999999").mkdir()
        push(other_model, base / "3")
        site.until(name, 3, AVAILABLE)
        shutil.copytree(other_model, base / "4", ignore=shutil.ignore_patterns("variables"))
        site.until(name, 4, END, failed=True)
        assert classifier.classify(GREEN).model_version == 3
        shutil.copytree(other_model / "variables", base / "4" / "variables")
        site.until(name, 4, AVAILABLE)
        assert classifier.classify(GREEN).model_version == 4


def test_a_removed_version_gives_way_to_the_one_before(site, base, name, other_model: Path, push: Push):
    push(other_model, base / "2")
    site.until(name, 1, END)
    shutil.rmtree(base / "2")
    site.until(name, 1, AVAILABLE)
    site.until(name, 2, END)
    with site.classifier(name) as classifier:
        assert classifier.classify(GREEN).label == "green"


def test_a_folder_out_of_reach_takes_no_model_out_of_service(site, base, name, saved_model: Path, push: Push):
    moved = base.with_name("moved")
    base.rename(moved)
    # A change elsewhere shows that the server has looked at all folders since.
    push(saved_model, moved / "2")
    site.set("probe", moved)
    site.reload()
    with site.classifier(name) as classifier:
        assert classifier.classify(GREEN).model_version == 1
    moved.rename(base)
    site.drop("probe")


def write_warm_up(model: Path, *logs: protos.prediction_log.PredictionLog) -> None:
    import tensorflow as tf

    path = model / "assets.extra" / "tf_serving_warmup_requests"
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for log in logs:
            writer.write(log.SerializeToString())


def predict_log(image: bytes) -> protos.prediction_log.PredictionLog:
    log = protos.prediction_log.PredictionLog()
    request = log.predict_log.request
    request.model_spec.name = "any"
    request.inputs["image_bytes"].dtype = protos.types.DT_STRING
    request.inputs["image_bytes"].tensor_shape.dim.add().size = 1
    request.inputs["image_bytes"].string_val.append(image)
    return log


def classify_log(image: bytes) -> protos.prediction_log.PredictionLog:
    log = protos.prediction_log.PredictionLog()
    request = log.classify_log.request
    request.model_spec.signature_name = "classify"
    feature = request.input.example_list.examples.add().features.feature["image/encoded"]
    feature.bytes_list.value.append(image)
    return log


def test_warm_up_requests_run_before_a_version_serves(
    site, base, name, other_model: Path, push: Push, tmp_path_factory
):
    warm = tmp_path_factory.mktemp("warm") / "model"
    shutil.copytree(other_model, warm)
    write_warm_up(warm, predict_log(encoded(GREEN)), predict_log(b"the model cannot answer this"))
    push(warm, base / "2")
    assert "decode" in site.until(name, 2, END, failed=True).lower()
    with site.classifier(name) as classifier:
        assert classifier.classify(GREEN).model_version == 1
    write_warm_up(warm, predict_log(encoded(GREEN)), classify_log(encoded(GREEN)))
    push(warm, base / "3")
    site.until(name, 3, AVAILABLE)


def test_policies_choose_the_versions(site, base, name, other_model: Path, push: Push):
    push(other_model, base / "2")
    site.until(name, 1, END)
    site.set(name, base, "model_version_policy { all {} }")
    site.reload()
    site.until(name, 1, AVAILABLE)
    push(other_model, base / "3")
    site.until(name, 3, AVAILABLE)
    assert site.statuses(name) == {1: 30, 2: 30, 3: 30}
    with site.classifier(name, version=1) as classifier:
        assert classifier.classify(GREEN).label == "green"
    site.set(name, base, "model_version_policy { latest { num_versions: 2 } }")
    site.reload()
    site.until(name, 1, END)
    site.set(name, base, "model_version_policy { specific { versions: 1 } }")
    site.reload()
    assert site.statuses(name) == {1: 30, 2: 50, 3: 50}


def test_labels_move_between_versions_that_serve(site, base, name, other_model: Path, push: Push):
    push(other_model, base / "2")
    every = "model_version_policy { all {} }"
    site.set(name, base, every)
    site.reload()
    site.until(name, 2, AVAILABLE)

    def label(version: int) -> None:
        site.set(name, base, f'{every} version_labels {{ key: "stable" value: {version} }}')
        site.reload()

    with site.classifier(name, version_label="stable") as classifier:
        for version, expected in ((1, "green"), (2, "lime"), (1, "green")):
            label(version)
            assert classifier.classify(GREEN).label == expected
        with pytest.raises(grpc.RpcError) as refused:
            label(9)
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert refused.value.details() == (
            f"Request to assign label to version 9 of model {name}, "
            "which is not currently available for inference"
        )
        assert classifier.classify(GREEN).label == "green"  # the refused configuration changed nothing
    label(1)


def test_models_come_and_go_with_the_configuration(site, base, name):
    with site.classifier(name) as classifier:
        assert classifier.classify(GREEN).label == "green"
        site.drop(name)
        site.reload()
        with pytest.raises(ModelNotFound, match=rf"Latest\({name}\)"):
            classifier.classify(GREEN)
        site.set(name, base)
        site.reload()
        assert classifier.classify(GREEN).label == "green"
    (site.folder / "absent").mkdir()
    site.set("absent", site.folder / "absent")
    with pytest.raises(grpc.RpcError) as refused:
        site.reload()
    assert "Some models did not become available" in refused.value.details()
    site.drop("absent")
