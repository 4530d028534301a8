"""What becomes of a model, run by run: the table of docs/evaluation.md on a small project.

The tests build on each other's runs, in the order of the file, as a project's history does.
"""

from __future__ import annotations

import pathlib
import shutil
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.metadata_store import metadata_store
from PIL import Image

from components.evaluator import verdict as verdicts
from components.evaluator.answers import Answers
from components.evaluator.figures import Sums, metrics
from modules import export
from pipeline import local
from tests.conftest import COLOURS, Project

# A run or two each, the slowest of which train anew.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

_IMAGES = {"train": 40, "validation": 20, "test": 60}


def _write(folder: pathlib.Path) -> pathlib.Path:
    """Ready splits of noise around a colour, two folders a class: easy, but never all right."""
    rng = np.random.default_rng(0)
    for split, images in _IMAGES.items():
        for name, colour in COLOURS.items():
            for number in range(images):
                path = folder / split / name / ("indoors", "outdoors")[number % 2] / f"{number:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                noise = rng.normal(colour, 90, (12, 16, 3)).clip(0, 255).astype(np.uint8)
                Image.fromarray(noise).save(path)
    return folder


def _relabel(folder: pathlib.Path, moves: dict[str, str], share: float) -> None:
    """Puts a share of the images of classes into other classes, in the training and validation split."""
    for split in ("train", "validation"):
        chosen = {}
        for source in moves:
            files = sorted((folder / split / source).rglob("*.png"))
            chosen[source] = files[: round(share * len(files))]
        for source, target in moves.items():
            for path in chosen[source]:
                path.rename(folder / split / target / f"from {source} {path.parent.name} {path.name}")


class History:
    """A line of models on data sets that share the test split."""

    def __init__(self, project: Project):
        self.project = project
        #: The model artifact that was blessed last, and the run that did.
        self.in_production: pathlib.Path | None = None
        self.last_blessing: tuple[dict[str, Any], verdicts.Verdict] | None = None
        root = project.data.parent
        self.clean = _write(root / "clean")
        # The classes of the first model: it takes cherry for leaf and leaf for cherry.
        self.confused = shutil.copytree(self.clean, root / "confused")
        _relabel(self.confused, {"cherry": "leaf", "leaf": "cherry"}, 0.9)
        # 30 % of all training labels are wrong, and all of them are of one class.
        self.spoiled = shutil.copytree(self.clean, root / "spoiled")
        _relabel(self.spoiled, {"sea": "leaf"}, 0.9)
        self.without_sea = shutil.copytree(self.clean, root / "without sea")
        for split in _IMAGES:
            shutil.rmtree(self.without_sea / split / "sea")

    def run(
        self, data: pathlib.Path, *overrides: str, cache: bool = True
    ) -> tuple[dict[str, Any], verdicts.Verdict]:
        """Runs the pipeline; other data are meant here, so the drift gate lets them pass."""
        result = self.project.run(
            f"data.path={data}",
            "drift.accept=true",
            "evaluate.min_accuracy=0.2",
            "train.epochs=4",
            *overrides,
            cache=cache,
        )
        assert "error" not in result, result
        verdict = verdicts.load(result["nodes"]["Evaluator"]["outputs"]["evaluation"])
        if verdict.blessed:
            self.in_production = pathlib.Path(result["nodes"]["Trainer"]["outputs"]["model"])
            self.last_blessing = result, verdict
        return result, verdict


@pytest.fixture(scope="module")
def history(make_project) -> History:
    return History(make_project())


def _check(verdict: verdicts.Verdict, name: str) -> verdicts.Check:
    (check,) = [check for check in verdict.checks if check.name == name]
    return check


def _artifact(history: History, uri: str) -> dict[str, Any]:
    """Custom properties in ML Metadata of the artifact at a place."""
    store = metadata_store.MetadataStore(local.connection_config(history.project.workdir))
    (artifact,) = store.get_artifacts_by_uri(uri)
    return {
        name: getattr(value, value.WhichOneof("value")) for name, value in artifact.custom_properties.items()
    }


def test_the_first_model_has_the_floors_alone(history: History) -> None:
    result, verdict = history.run(history.confused)
    assert result["exit_code"] == 0
    assert verdict.blessed and verdict.baseline is None
    assert [check.name for check in verdict.checks] == ["min_accuracy"]
    assert "no model is in production yet" in verdict.sentence
    # It confuses the two, as it was taught: the next test needs that.
    recalls = {row.class_name: row.recall for row in verdict.per_class}
    assert recalls["cherry"] < 0.3 and recalls["leaf"] < 0.3 and recalls["sea"] > 0.7
    properties = _artifact(history, result["nodes"]["Evaluator"]["outputs"]["evaluation"])
    assert properties["accuracy"] == pytest.approx(verdict.metrics["accuracy"].value, abs=1e-6)
    assert properties["verdict"] == verdict.sentence
    blessing = _artifact(history, result["nodes"]["Evaluator"]["outputs"]["blessing"])
    assert blessing["blessed"] == 1


def test_an_equal_model_is_blessed(history: History) -> None:
    result, verdict = history.run(history.confused, cache=False)
    assert result["exit_code"] == 0
    assert verdict.baseline.compared
    assert verdict.baseline.uri != result["nodes"]["Trainer"]["outputs"]["model"]
    for name in ("not_worse", "no_class_worse"):
        assert _check(verdict, name).passed
    assert _check(verdict, "not_worse").value == _check(verdict, "not_worse").baseline
    assert "0 images lost, 0 won, p 1" in _check(verdict, "not_worse").explanation


def test_better_overall_but_worse_in_one_class_is_refused(history: History) -> None:
    before = history.project.versions()
    result, verdict = history.run(history.spoiled)
    assert result["exit_code"] == 3
    overall, classes = _check(verdict, "not_worse"), _check(verdict, "no_class_worse")
    assert overall.passed and overall.value > overall.baseline
    assert not classes.passed and "recall of 'sea'" in classes.explanation
    assert result["verdict"].startswith("Not blessed: recall of 'sea'")
    assert result["not_blessed_because"] == [classes.explanation]
    assert history.project.versions() == before


def test_a_class_with_wrong_labels_is_stopped_by_its_floor(history: History) -> None:
    result, verdict = history.run(
        history.spoiled, "evaluate.min_class_recall=0.6", "evaluate.protect_classes=false"
    )
    assert result["exit_code"] == 3
    assert result["nodes"]["Trainer"]["cached"]
    floor = _check(verdict, "min_class_recall")
    assert verdict.refusals == [floor.explanation]
    assert floor.value < floor.limit == 0.6
    assert floor.explanation.startswith("recall of 'sea'")


def test_a_better_model_is_blessed(history: History) -> None:
    result, verdict = history.run(history.clean)
    assert result["exit_code"] == 0 and result["is_new_version"] is True
    assert verdict.baseline.compared
    assert verdict.metrics["accuracy"].value > verdict.metrics["accuracy"].baseline
    assert "not significantly worse than the model in production" in verdict.sentence


def test_answers_and_tfma_say_what_the_verdict_says(history: History) -> None:
    import tensorflow_model_analysis as tfma

    result, verdict = history.last_blessing
    outputs = result["nodes"]["Evaluator"]["outputs"]
    answers = Answers.load(f"{outputs['evaluation']}/{verdicts.ANSWERS}")
    assert answers.classes.tolist() == sorted(COLOURS)
    assert len(answers) == 3 * _IMAGES["test"] == len(set(answers.filename.tolist()))
    labels = [name.split("/")[-3] for name in answers.filename.tolist()]
    assert answers.classes[answers.label].tolist() == labels
    assert set(answers.source.tolist()) == {"indoors", "outdoors"}
    assert set(answers.width.tolist()) == {16} and set(answers.height.tolist()) == {12}
    assert metrics(Sums.of(answers.probabilities, answers.label, 3), 3)["loss"].value == pytest.approx(
        verdict.metrics["loss"].value
    )
    assert {one.slice.split()[0] for one in verdict.slices} == {"brightness", "sharpness", "source"}

    found = tfma.load_eval_result(outputs["evaluation"], model_name="candidate").slicing_metrics
    by_slice = {
        key: {name: one["doubleValue"] for name, one in values[""][""].items()} for key, values in found
    }
    for name in ("accuracy", "loss", "macro_f1", "ece"):
        assert by_slice[()][name] == pytest.approx(verdict.metrics[name].value)
    for row in verdict.per_class:
        assert by_slice[(("class", row.class_name),)]["accuracy"] == pytest.approx(row.recall)
    for one in verdict.slices:
        name, _, part = one.slice.partition(" ")
        assert by_slice[((name, part),)]["accuracy"] == pytest.approx(one.accuracy)
        assert by_slice[((name, part),)]["example_count"] == one.count


def test_limits_on_serving_and_calibration_refuse_with_their_values(history: History) -> None:
    result, verdict = history.run(
        history.clean, "evaluate.max_size_mb=0.001", "evaluate.max_latency_ms=0.001", "evaluate.max_ece=1e-6"
    )
    assert result["exit_code"] == 3
    assert len(verdict.refusals) == 3
    for name, unit in (("max_size_mb", " MB"), ("max_latency_ms", " ms"), ("max_ece", "")):
        check = _check(verdict, name)
        assert not check.passed and check.value > check.limit
        assert f"is above evaluate.{name} {check.limit:g}{unit}" in check.explanation
    assert 0 < result["metrics"]["latency_p50_ms"] <= result["metrics"]["latency_p95_ms"]
    model = pathlib.Path(result["nodes"]["Trainer"]["outputs"]["model"])
    size = sum(path.stat().st_size for path in model.rglob("*") if path.is_file())
    assert result["metrics"]["size_mb"] == pytest.approx(size / 1e6, rel=0.2)


def test_a_worse_model_is_refused_unless_the_margin_allows_it(history: History) -> None:
    worse = ("train.epochs=1", "train.learning_rate=1e-7")
    result, verdict = history.run(history.clean, *worse)
    assert result["exit_code"] == 3
    assert not _check(verdict, "not_worse").passed
    assert "is significantly lower than" in verdict.sentence
    _, verdict = history.run(history.clean, *worse, "evaluate.margin=0.95")
    assert _check(verdict, "not_worse").passed and _check(verdict, "no_class_worse").passed


def test_the_served_model_carries_temperature_and_abstention(history: History) -> None:
    result, verdict = history.run(history.clean, "serve.abstain_below=0.9")
    model = pathlib.Path(result["nodes"]["Trainer"]["outputs"]["model"], "Format-Serving")
    assert export.read_notes(str(model)) == export.Notes(verdict.calibration.temperature, 0.9)
    assert verdict.calibration.temperature != 1
    images = [path.read_bytes() for path in sorted((history.clean / "test").rglob("*.png"))]
    answer = tf.saved_model.load(str(model)).signatures[export.SERVING](image_bytes=tf.constant(images))
    abstained = answer["abstained"].numpy()
    (row,) = [row for row in verdict.coverage if row.confidence == 0.9]
    assert row.coverage == pytest.approx(1 - abstained.mean())
    assert 0 < row.coverage < 1
    assert all((label == b"") == flag for label, flag in zip(answer["label"].numpy(), abstained, strict=True))


def test_a_damaged_or_vanished_baseline_refuses_until_it_is_waived(history: History) -> None:
    if history.in_production is None:
        history.run(history.clean)
    model = history.in_production
    other = "train.seed=7"
    (variables,) = model.rglob("variables.data-*")
    variables.write_bytes(variables.read_bytes()[:100])
    result, verdict = history.run(history.clean, other)
    assert result["exit_code"] == 3
    assert verdict.refusals == [_check(verdict, "baseline").explanation]
    assert not verdict.baseline.compared and str(model) in verdict.baseline.remark

    shutil.rmtree(model)
    result, verdict = history.run(history.clean, other, "evaluate.alpha=0.04")
    assert result["exit_code"] == 3
    assert "there is no SavedModel in" in verdict.sentence
    assert "--set evaluate.without_baseline=true" in verdict.sentence

    result, verdict = history.run(history.clean, other, "evaluate.without_baseline=true")
    assert result["exit_code"] == 0 and verdict.blessed
    assert _check(verdict, "baseline").passed
    assert "there is no SavedModel in" in verdict.sentence


def test_a_baseline_with_other_classes_is_not_compared_with(history: History) -> None:
    result, verdict = history.run(history.without_sea)
    assert result["exit_code"] == 0
    assert not verdict.baseline.compared
    assert result["baseline_metrics"] is None
    assert "which knows other classes (gone 'sea')" in verdict.sentence
    assert [check.name for check in verdict.checks] == ["min_accuracy"]
