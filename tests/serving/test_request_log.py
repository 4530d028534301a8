"""The sample of requests that a server keeps: what it holds, what it is good for, and its bounds."""

import shutil
from pathlib import Path

import pytest
from google.protobuf import text_format

from serving import protos, request_log
from serving.client import Classifier
from serving.local import LocalServer
from serving.model_config import from_message
from serving.request_log import LoggingOptions, RequestLog
from serving.warmup import WARMUP_FILE
from tests.serving.samples import COLOURS, MODEL, encoded


def config(base: Path, prefix: Path, rate: float, kind: str = "file") -> str:
    return f"""model_config_list {{ config {{
      name: "{MODEL}" base_path: "{base}"
      logging_config {{
        log_collector_config {{ type: "{kind}" filename_prefix: "{prefix}" }}
        sampling_config {{ sampling_rate: {rate} }}
      }}
    }} }}"""


def test_what_is_kept_can_warm_up_the_next_version(saved_model: Path, tmp_path: Path):
    """All requests are kept, with answers, and a server takes the file as warm-up requests."""
    base, prefix = tmp_path / "models", tmp_path / "logs" / MODEL
    shutil.copytree(saved_model, base / "1")
    (tmp_path / "models.config").write_text(config(base, prefix, 1.0), encoding="utf-8")
    images = {label: encoded(pixels) for label, pixels in COLOURS.items()}
    flags = [f"--model_config_file={tmp_path / 'models.config'}"]
    with LocalServer(base, MODEL, flags=flags) as server, Classifier(server.address, MODEL) as classifier:
        for image in images.values():
            classifier.classify(image)
    logs = [log for log in request_log.read(str(prefix)) if log.predict_log.request.model_spec.signature_name]
    asked = [log for log in logs if "image_bytes" in log.predict_log.request.inputs and log.predict_log]
    kept = {
        log.predict_log.response.outputs["label"].string_val[0].decode(): (
            log.predict_log.request.inputs["image_bytes"].string_val[0]
        )
        for log in asked
        if "label" in log.predict_log.response.outputs
    }
    assert kept == images
    assert {log.log_metadata.model_spec.version.value for log in logs} == {1}
    assert {log.log_metadata.sampling_config.sampling_rate for log in logs} == {1.0}
    (file,) = prefix.parent.iterdir()
    (base / "1" / WARMUP_FILE).parent.mkdir()
    shutil.copy(file, base / "1" / WARMUP_FILE)
    with LocalServer(base, MODEL) as server, Classifier(server.address, MODEL) as classifier:
        assert classifier.classify(COLOURS["red"]).label == "red"


def response() -> protos.predict.PredictResponse:
    answer = protos.predict.PredictResponse()
    answer.model_spec.name = MODEL
    return answer


def test_files_are_bounded_and_a_sample_is_a_sample(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(request_log, "FILE_BYTES", 2000)
    monkeypatch.setattr(request_log, "KEPT_FILES", 3)
    monkeypatch.setattr(request_log, "_WAITING", 5000)
    prefix = tmp_path / "new" / "log"
    log, request = RequestLog(), protos.predict.PredictRequest()
    request.inputs["image_bytes"].string_val.append(b"x" * 100)
    for _ in range(2000):
        log.sample(LoggingOptions(str(prefix), 0.1), "predict_log", request, response())
        log.sample(None, "predict_log", request, response())
    log.close()
    files = sorted(prefix.parent.iterdir())
    assert len(files) == 3
    assert all(file.stat().st_size < 2500 for file in files)
    with files[-1].open("ab") as last:
        last.write(b"begun")  # a record that is just being written
    assert 20 < len(list(request_log.read(str(prefix)))) < 60


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (config(Path("m"), Path("p"), 0.5, kind=""), "the one type here is file. Received: ''"),
        (config(Path("m"), Path("p"), 1.5), "between 0 and 1. Received: 1.5"),
        (config(Path("m"), Path("p"), 0.5).replace('"p"', '""'), "filename_prefix"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, message: str):
    parsed = text_format.Parse(text, protos.model_server_config.ModelServerConfig())
    with pytest.raises(ValueError, match=message):
        from_message(parsed)
