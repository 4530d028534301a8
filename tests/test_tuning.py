"""Tuning in the pipeline: before the trainer, alone, and an earlier search in its place."""

from __future__ import annotations

import io
import json
import pathlib
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from pipeline import plot, view
from tests.conftest import Project

SEARCH = (
    "tune={trials: 3, seed: 1, algorithm: random}",
    "train.learning_rate={float: [1e-4, 1e-2], log: true, default: 1e-4}",
    "transform.scaling={choice: [unit, standardize]}",
    "train.epochs=2",
    "evaluate.min_accuracy=0",
)


def _record(result: dict[str, Any], name: str) -> Any:
    return json.loads(pathlib.Path(result["nodes"]["Trainer"]["outputs"]["model_run"], name).read_text())


def _figures(result: dict[str, Any]) -> list[dict[str, float]]:
    timing = {"seconds", "images_per_second", "input_wait"}
    history = _record(result, "history.json")
    return [{key: value for key, value in epoch.items() if key not in timing} for epoch in history]


def test_what_a_search_finds_is_trained_and_can_be_trained_again(
    make_project, tmp_path: pathlib.Path
) -> None:
    project: Project = make_project()
    alone = project.run(*SEARCH, to="Tuner")
    assert alone["exit_code"] == 0
    assert alone["up_to"] == "Tuner"
    assert "Trainer" not in alone["nodes"]
    found = alone["tuning"]
    assert found["trials"] == 3
    assert found["best_score"] > found["default_score"]
    assert found["defaults"] == {"train.learning_rate": 1e-4, "transform.scaling": "unit"}
    assert not list(project.workdir.glob("artifacts/Tuner/unfinished/*"))

    whole = project.run(*SEARCH)
    assert whole["exit_code"] == 0, whole
    assert whole["nodes"]["Tuner"]["cached"] is True
    assert whole["tuning"] == found
    settings = _record(whole, "settings.json")
    assert settings["train"]["learning_rate"] == found["best"]["train.learning_rate"]
    assert settings["scaling"] == found["best"]["transform.scaling"]
    (kept,) = [epoch for epoch in _figures(whole) if epoch["kept"]]
    assert kept["val_accuracy"] == found["best_score"]

    for kind in ("trials", "parallel"):
        plot.write(kind, project.workdir, whole["run_id"], tmp_path / f"{kind}.png")
        assert np.asarray(Image.open(tmp_path / f"{kind}.png").convert("L")).std() > 2, "an empty plot"

    used = project.run(*SEARCH, f"tune.use={project.workdir}", to="Trainer")
    assert used["exit_code"] == 0, used
    assert "Tuner" not in used["nodes"]
    assert _figures(used) == _figures(whole), "the configuration that comes out gives the same figures"

    screen = Console(file=io.StringIO(), width=80)
    view.print_result(screen, whole, "log.txt")
    shown = screen.file.getvalue()
    assert "train.learning_rate" in shown
    assert f"{found['best_score']:.4f}" in shown


def test_a_node_that_does_not_exist_is_bad_input(make_project) -> None:
    result = make_project().run(to="Trainr")
    assert result["exit_code"] == 2
    assert "did you mean Trainer?" in result["error"]


def test_a_network_that_a_search_would_meet_later_is_refused_at_once(make_project) -> None:
    result = make_project().run(
        "tune={trials: 2}", "model.architecture={choice: [mlp, mnist_cnn]}", "data.image_size=[8, 8]"
    )
    assert result["exit_code"] == 2
    assert (
        "model.architecture: the search space holds 'mnist_cnn': mnist_cnn cannot be built" in result["error"]
    )
