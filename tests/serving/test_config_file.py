"""The model config file: read again while the server runs, and told at the start where it is wrong."""

import shutil
from pathlib import Path

import pytest

from serving.client import Classifier
from serving.errors import StartError
from serving.flags import parse
from serving.local import LocalServer
from serving.server import ModelServer
from tests.serving.samples import COLOURS

GREEN = COLOURS["green"]


def test_the_config_file_is_read_again(saved_model: Path, tmp_path: Path):
    shutil.copytree(saved_model, tmp_path / "a" / "1")
    file = tmp_path / "models.config"

    def write(*names: str) -> None:
        configs = [f'config {{ name: "{name}" base_path: "{tmp_path / "a"}" }}' for name in names]
        file.write_text(f"model_config_list {{ {' '.join(configs)} }}", encoding="utf-8")

    write("a")
    flags = [f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=0.1"]
    with LocalServer(tmp_path, "a", flags=flags) as server, Classifier(server.address, "b") as classifier:
        file.write_text("this is no configuration", encoding="utf-8")  # changes nothing, and ends nothing
        write("a", "b")
        server.wait_for("loaded", model="b")
        assert classifier.classify(GREEN).label == "green"
        write("a")
        server.wait_for("unloaded", model="b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "no field named"),
        ('model_config_list { config { base_path: "x" } }', "without name"),
        ('model_config_list { config { name: "a" } }', "has no base_path"),
        ('model_config_list { config { name: "a" base_path: "b" model_platform: "caffe" } }', "caffe"),
        (
            'model_config_list { config { name: "a" base_path: "b" } config { name: "a" base_path: "b" } }',
            "multiple times",
        ),
        (
            'model_config_list { config { name: "a" base_path: "b" version_labels { key: "s" value: 1 } } }',
            "not currently available for inference",
        ),
    ],
)
def test_a_bad_config_file_is_told_at_the_start(text: str, message: str, tmp_path: Path):
    file = tmp_path / "models.config"
    file.write_text(text, encoding="utf-8")
    server = None
    with pytest.raises(StartError, match=message) as caught:
        server = ModelServer(parse([f"--model_config_file={file}", "--port=0", "--host=127.0.0.1"]))
        server.start()
    if server:
        server.stop()
    assert str(file) in str(caught.value)
