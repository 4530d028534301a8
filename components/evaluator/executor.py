"""Evaluator's executor: asks both models once, measures, judges, and writes verdict and blessing.

    test split -> answers of both models -> figures and slices (TFMA) -> verdict -> blessing

What becomes of the baseline:

| the latest blessed model | outcome |
| --- | --- |
| is not there: first run | floors and limits alone decide |
| knows the same classes | compared on every image of the test split |
| knows other classes | another task, so not compared; floors and limits alone decide |
| is lost or damaged | not blessed, unless `evaluate.without_baseline` says so for this run |
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from absl import logging
from tfx import types
from tfx.components.evaluator import constants
from tfx.dsl.components.base import base_beam_executor
from tfx.types import artifact_utils
from tfx.utils import io_utils, path_utils

from components.evaluator import verdict as verdicts
from components.evaluator.answers import Answers, ServedModel, answers, ask
from components.evaluator.assessment import assess
from components.evaluator.policy import Footprint
from components.evaluator.settings import EvaluateSettings
from components.evaluator.slices import columns
from components.evaluator.verdict import Baseline, Verdict
from components.infra_validator import measurements
from modules import features


class Executor(base_beam_executor.BaseBeamExecutor):
    """Evaluates on the test split, which neither training nor the choice of the epoch has seen."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `evaluation` (see `components.evaluator.verdict`) and `blessing` (as TFX's Evaluator does).

        Args:
          input_dict: `examples`, `model`, `infra_blessing`, and `baseline_model` when there is one.
          output_dict: `evaluation`, `blessing`.
          exec_properties: `settings`, the JSON of `EvaluateSettings`.
        """
        settings = EvaluateSettings.model_validate_json(exec_properties["settings"])
        model = artifact_utils.get_single_instance(input_dict["model"])
        evaluation = artifact_utils.get_single_instance(output_dict["evaluation"])
        files = [
            file
            for uri in artifact_utils.get_split_uris(input_dict["examples"], features.TEST)
            for file in _files(uri)
        ]
        watch = _Watch()
        candidate = ServedModel(path_utils.serving_model_path(model.uri))
        found = answers(candidate, files)
        watch.lap("candidate")
        previous = _ask_baseline(input_dict.get("baseline_model") or [], found, files)
        if previous.probabilities is not None:
            found = found.with_baseline(previous.probabilities)
        watch.lap("baseline")
        slices = columns(found, settings.slices)
        self._analyse(found, slices, settings.top_k, evaluation.uri)
        watch.lap("analysis")

        verdict = assess(
            found,
            slices,
            settings,
            baseline=previous.record,
            lost=previous.lost,
            footprint=_footprint(input_dict["infra_blessing"]),
            temperature=candidate.temperature,
            seconds=watch.seconds,
        )
        found.save(f"{evaluation.uri}/{verdicts.ANSWERS}")
        io_utils.write_string_file(f"{evaluation.uri}/{verdicts.VERDICT}", verdicts.dump(verdict))
        _describe(evaluation, verdict)
        blessing = artifact_utils.get_single_instance(output_dict["blessing"])
        _bless(blessing, verdict, model, previous.record)
        logging.info(verdict.sentence)

    def _analyse(self, found: Answers, slices: dict[str, np.ndarray], top_k: int, output: str) -> None:
        from components.evaluator import analysis  # after tfx, whose modules TFMA wants loaded before its own

        with self._make_beam_pipeline() as pipeline:
            analysis.analyse(pipeline, found, slices, top_k, output)


@dataclass(frozen=True)
class _Previous:
    """The baseline as far as it could be asked: `lost` when it should have been and could not."""

    record: Baseline | None = None
    probabilities: np.ndarray | None = None
    lost: bool = False


def _ask_baseline(artifacts: list[types.Artifact], found: Answers, files: list[str]) -> _Previous:
    if not artifacts:
        return _Previous()
    artifact = artifact_utils.get_single_instance(artifacts)
    try:
        model = ServedModel(path_utils.serving_model_path(artifact.uri))
        ours = found.classes.tolist()
        if sorted(model.classes) == sorted(ours):
            order = [model.classes.index(name) for name in ours]
            probabilities = ask(model, files, "baseline")[:, order]
            return _Previous(_record(artifact, ""), probabilities)
    except Exception as error:  # whatever a damaged SavedModel makes TensorFlow raise; all of it is kept
        logging.exception("The baseline cannot be asked.")
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return _Previous(_record(artifact, f"{artifact.uri}: {lines[0][:200]}"), lost=True)
    return _Previous(_record(artifact, _other_classes(model.classes, ours)))


def _record(artifact: types.Artifact, remark: str) -> Baseline:
    return Baseline(uri=artifact.uri, model_id=artifact.id, compared=not remark, remark=remark)


def _other_classes(theirs: list[str], ours: list[str]) -> str:
    new, gone = sorted(set(ours) - set(theirs)), sorted(set(theirs) - set(ours))
    differences = [
        f"{word} {', '.join(map(repr, names))}" for word, names in (("new", new), ("gone", gone)) if names
    ]
    return f"not compared with the model in production, which knows other classes ({'; '.join(differences)})"


def _footprint(artifacts: list[types.Artifact]) -> Footprint:
    blessing = artifact_utils.get_single_instance(artifacts)
    size = blessing.get_int_custom_property(measurements.MODEL_BYTES)
    p50, p95 = (
        blessing.get_float_custom_property(key)
        for key in (measurements.LATENCY_P50, measurements.LATENCY_P95)
    )
    return Footprint(size / 1e6 if size else None, p50 or None, p95 or None)


def _describe(evaluation: types.Artifact, verdict: Verdict) -> None:
    """The headline figures in ML Metadata, where a run can be looked up without its files."""
    for name, metric in verdict.metrics.items():
        if metric.value is not None:
            evaluation.set_float_custom_property(name, metric.value)
    evaluation.set_string_custom_property("verdict", verdict.sentence)


def _bless(
    blessing: types.Artifact, verdict: Verdict, model: types.Artifact, baseline: Baseline | None
) -> None:
    """As TFX's Evaluator does, since Pusher and the choice of the baseline read it."""
    blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_URI_KEY, model.uri)
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_CURRENT_MODEL_ID_KEY, model.id)
    if baseline:
        blessing.set_string_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_URI_KEY, baseline.uri)
        blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BASELINE_MODEL_ID_KEY, baseline.model_id)
    if verdict.blessed:
        name, value = constants.BLESSED_FILE_NAME, constants.BLESSED_VALUE
    else:
        name, value = constants.NOT_BLESSED_FILE_NAME, constants.NOT_BLESSED_VALUE
    io_utils.write_string_file(f"{blessing.uri}/{name}", "")
    blessing.set_int_custom_property(constants.ARTIFACT_PROPERTY_BLESSED_KEY, value)


class _Watch:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, name: str) -> None:
        now = time.monotonic()
        self.seconds[name] = round(now - self._last, 3)
        self._last = now


def _files(directory: str) -> list[str]:
    import tensorflow as tf

    return tf.io.gfile.glob(io_utils.all_files_pattern(directory))
