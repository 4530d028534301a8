"""`imagemill predict` against a running server: what can be named, in which forms it answers, exit codes."""

from __future__ import annotations

import csv
import io
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from serving.local import LocalServer
from tests.serving import tiny_model
from tests.serving.samples import COLOURS, MODEL, encoded


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    folder = tmp_path_factory.mktemp("served")
    tiny_model.export(folder / "1")
    with LocalServer(folder, MODEL) as running:
        yield running


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """`red.png`, `more/green.png`, `more/deep/blue.png`, and a hidden file."""
    folder = tmp_path_factory.mktemp("photos")
    for name, place in {"red": "", "green": "more", "blue": "more/deep"}.items():
        (folder / place).mkdir(exist_ok=True)
        (folder / place / f"{name}.png").write_bytes(encoded(COLOURS[name]))
    (folder / ".hidden.png").write_bytes(b"not for anybody")
    return folder


@pytest.fixture
def predict(server: LocalServer, photos: pathlib.Path):
    asked = ["--server", server.address, "--model_name", MODEL]

    def call(*arguments: str, stdin: bytes = b"", code: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pipeline.cli", "predict", *arguments, *asked],
            input=stdin,
            capture_output=True,
            cwd=photos,
            env={"PYTHONPATH": str(pathlib.Path(__file__).parents[2]), "PATH": ""},
        )
        assert done.returncode == code, done.stderr
        return done.stdout.decode(), done.stderr.decode()

    return call


def _labels(out: str) -> list[list[str]]:
    return [line.split()[:2] for line in out.splitlines()]


EVERYTHING = [["more/deep/blue.png", "blue"], ["more/green.png", "green"], ["red.png", "red"]]


@pytest.mark.parametrize(
    ("arguments", "stdin", "expected"),
    [
        (["red.png", "more/green.png"], b"", [EVERYTHING[2], EVERYTHING[1]]),
        (["."], b"", EVERYTHING),
        (["**/*.png"], b"", EVERYTHING),
        (["-"], b"red.png\nmore/green.png\n", [EVERYTHING[2], EVERYTHING[1]]),
        (["-"], encoded(COLOURS["blue"], "BMP"), [["-", "blue"]]),
        (["more", "-"], encoded(COLOURS["blue"], "JPEG"), [*EVERYTHING[:2], ["-", "blue"]]),
    ],
    ids=["files", "folder", "pattern", "paths-on-stdin", "image-on-stdin", "mixed"],
)
def test_what_can_be_named(predict, arguments: list[str], stdin: bytes, expected: list) -> None:
    assert _labels(predict(*arguments, stdin=stdin)[0]) == expected


def test_forms(predict) -> None:
    table, _ = predict("red.png", "--top", "2")
    name, label, confidence, second, _ = table.split()
    assert (name, label) == ("red.png", "red") and second in ("green", "blue")
    rows = list(csv.DictReader(io.StringIO(predict(".", "--csv", "--top", "4")[0])))
    assert [[row["image"], row["label"]] for row in rows] == EVERYTHING
    assert {row["label_2"] for row in rows[:1]} <= {"red", "green"}
    assert f"{float(rows[2]['confidence']):.4f}" == confidence and rows[0]["label_4"] == ""
    (answer,) = json.loads(predict("red.png", "--json", "--top", "3")[0])
    assert answer["top"][0]["label"] == answer["label"] == "red"
    assert answer["top"][0]["probability"] == answer["confidence"] == max(answer["probabilities"])
    assert len(answer["top"]) == 3 and answer["model_version"] == 1


def test_one_bad_image_costs_its_line_and_the_exit_code(predict, photos: pathlib.Path) -> None:
    names = ["red.png", "gone.png", "more/green.png"]
    out, err = predict(*names, code=2)
    assert _labels(out) == [EVERYTHING[2], EVERYTHING[1]]
    assert err.strip() == "gone.png: there is no such file"
    out, _ = predict(*names, "--csv", code=2)
    errors = [row["error"] for row in csv.DictReader(io.StringIO(out))]
    assert errors == ["", "there is no such file", ""]
    out, _ = predict(*names, "--json", code=2)
    assert json.loads(out)[1] == {"image": "gone.png", "error": "there is no such file"}


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["*.gif"], "*.gif: no file matches this pattern"),
        (["red.png", "--json", "--csv"], "--json and --csv"),
        (["red.png", "--version_label", "canary"], "label 'canary'"),
        (["red.png", "--ca_file", "gone.pem"], "gone.pem"),
    ],
)
def test_mistakes_are_one_line(predict, arguments: list[str], expected: str) -> None:
    out, err = predict(*arguments, code=2)
    assert out == "" and expected in err and len(err.strip().splitlines()) == 1
