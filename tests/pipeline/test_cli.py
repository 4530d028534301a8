"""The command line: one clear line and the right exit code for every mistake, nothing half-written."""

from __future__ import annotations

import json
import pathlib
import socket

import pytest

from pipeline import cli, runs
from tests.conftest import write_colours


@pytest.fixture
def imagemill(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, tmp_path: pathlib.Path):
    """Runs the command line in this process; returns exit code, standard output, standard error."""
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["imagemill", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        return caught.value.code or 0, captured.out, captured.err

    return run


@pytest.fixture
def config(tmp_path: pathlib.Path) -> pathlib.Path:
    path = tmp_path / "config.yaml"
    path.write_text("model: {architecture: mnist_cnn}\n", encoding="utf-8")
    return path


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    return write_colours(tmp_path / "photos", images_a_class=10)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("check", "nowhere.yaml"), "no configuration file nowhere.yaml"),
        (("check", "{config}"), "give --data DIR"),
        (("run", "{config}"), "give --data"),
        (("run", "{config}", "--data", "nowhere"), "nowhere: no such folder"),
        (("run", "{config}", "--data", "empty"), "empty"),
        (("run", "{config}", "--data", "one-class"), "only one class"),
        (("run", "{config}", "--data", "photos", "--set", "train.epoch=3"), "did you mean epochs?"),
        (("run", "{config}", "--data", "photos", "--set", "data.image_size=[0, 28]"), "data.image_size.0"),
        (("run", "{config}", "--data", "photos", "--workdir", "{config}"), "cannot be written to"),
        (("history", "--workdir", "nowhere"), "No runs in nowhere"),
        (("report", "--workdir", "nowhere"), "No runs in nowhere"),
        (("plot", "confusio"), "did you mean confusion?"),
        (("plot", "confusion", "--out", "plot.txt"), "must end in one of png, svg, pdf, jpg"),
        (("plot", "confusion", "--workdir", "nowhere"), "No runs in nowhere"),
        (("serve", "--workdir", "nowhere"), "No model was pushed in nowhere"),
        (("predict", "nowhere.png"), "nowhere.png: there is no such file"),
    ],
)
def test_mistakes_cost_one_clear_line_and_exit_code_2(
    imagemill, config: pathlib.Path, photos: pathlib.Path, arguments: tuple[str, ...], expected: str
) -> None:
    (photos.parent / "empty").mkdir()
    (photos.parent / "one-class").mkdir()
    (photos / "sea").rename(photos.parent / "one-class" / "sea")
    before = sorted(photos.parent.rglob("*"))
    code, out, err = imagemill(*(argument.format(config=config) for argument in arguments))
    assert code == 2
    assert expected in err
    assert len(err.strip().splitlines()) == 1
    assert out == ""
    assert sorted(photos.parent.rglob("*")) == before, "something was written"


def test_a_server_that_is_down_is_a_failure_not_bad_input(imagemill, photos: pathlib.Path) -> None:
    image = next(photos.glob("sea/*.png"))
    code, _, err = imagemill("predict", image, "--server", "localhost:1")
    assert code == 1
    assert "localhost:1" in err


def test_a_port_in_use_is_named(imagemill, photos: pathlib.Path) -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = taken.getsockname()[1]
        model = photos.parent / "model"
        model.mkdir()
        code, _, err = imagemill("serve", "--model_base_path", model, "--port", port)
    assert code == 2
    assert str(port) in err


def test_check_counts_and_lists_bad_files(imagemill, config: pathlib.Path, photos: pathlib.Path) -> None:
    (photos / "leaf" / "notes.jpg").write_text("no image")
    code, out, _ = imagemill("check", config, "--data", photos)
    assert code == 0
    assert "leaf/notes.jpg: not-an-image" in out
    code, out, _ = imagemill("check", config, "--data", photos, "--json")
    report = json.loads(out)
    assert report["classes"] == ["cherry", "leaf", "sea"]
    assert report["reasons"] == {"not-an-image": 1}


def test_check_warns_of_too_many_bad_files(imagemill, config: pathlib.Path, photos: pathlib.Path) -> None:
    for number in range(10):
        (photos / "leaf" / f"bad{number}.jpg").write_text("no image")
    code, _, err = imagemill("check", config, "--data", photos)
    assert code == 2
    assert "data.max_bad_fraction" in err


def test_history_tells_how_runs_ended(imagemill, tmp_path: pathlib.Path) -> None:
    results = {
        "pushed": {"exit_code": 0, "pushed_version": "17", "metrics": {"accuracy": 0.9}, "blessed": True},
        "refused": {"exit_code": 3, "pushed_version": None, "metrics": {"accuracy": 0.2}, "blessed": False},
        "failed": {"exit_code": 1, "error": "no space left", "failed_node": "Trainer"},
        "killed": None,
    }
    request = {
        "started": 1.0,
        "config": {"data": {"path": "photos"}, "model": {"architecture": "x"}, "train": {"epochs": 2}},
    }
    for result in results.values():
        folder = runs.create(tmp_path)
        folder.write(folder.request, request)
        if result:
            folder.write(folder.result, result)
    code, out, _ = imagemill("history", "--workdir", tmp_path)
    assert code == 0
    for outcome in ("pushed 17", "not blessed", "failed: no space left", "interrupted"):
        assert outcome in out
    _, out, _ = imagemill("history", "--workdir", tmp_path, "--json")
    assert [entry["outcome"] for entry in json.loads(out)] == [
        "pushed 17",
        "not blessed",
        "failed: no space left",
        "interrupted",
    ]


def test_architectures_are_listed_with_their_parameters(imagemill) -> None:
    code, out, _ = imagemill("architectures", "--image-size", "28", "--channels", "1", "--json")
    assert code == 0
    counts = {entry["name"]: entry for entry in json.loads(out)}
    assert counts["mnist_cnn"] == {
        "name": "mnist_cnn",
        "parameters": 118_346,
        "trainable_parameters": 118_346,
    }
