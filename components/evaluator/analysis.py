"""TensorFlow Model Analysis over answers: every slice, both models, one run.

The answers are there already, so TFMA gets arrays instead of models and images. Its stock metrics each take
seconds for 10,000 images in five slices; ours adds the images of a slice up in batches and gives all figures
at once, by the very definitions of `components.evaluator.figures`.
"""

from __future__ import annotations

from collections.abc import Iterable

import apache_beam as beam
import numpy as np
import pyarrow as pa
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.metrics import metric_types

from components.evaluator import figures
from components.evaluator.answers import Answers

CANDIDATE = "candidate"
BASELINE = "baseline"

_LABEL = "label"
_CLASS = "class"
_ROWS = 512  # of a batch


def eval_config(answers: Answers, slices: Iterable[str], top_k: int) -> tfma.EvalConfig:
    """What TFMA computes: all figures, overall, by class and by slice.

    Args:
      answers: says whether there is a baseline, and the number of classes.
      slices: names of further columns to slice by.
      top_k: for `top_<k>_accuracy`.
    """
    models = [CANDIDATE] if answers.baseline_probabilities is None else [CANDIDATE, BASELINE]
    options = f'"classes": {len(answers.classes)}, "top_k": {top_k}'
    return tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(name=name, prediction_key=name, label_key=_LABEL, is_baseline=name == BASELINE)
            for name in models
        ],
        slicing_specs=[
            tfma.SlicingSpec(),
            *(tfma.SlicingSpec(feature_keys=[name]) for name in (_CLASS, *slices)),
        ],
        metrics_specs=[
            tfma.MetricsSpec(
                model_names=models,
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(class_name="ImageFigures", module=__name__, config=options),
                ],
            )
        ],
    )


def analyse(
    pipeline: beam.Pipeline, answers: Answers, slices: dict[str, np.ndarray], top_k: int, output: str
) -> None:
    """Adds the analysis to a Beam pipeline; what it writes is read by `tfma.load_eval_result`.

    Args:
      pipeline: runs when its block ends.
      answers: of one or two models.
      slices: the part that each image falls in, unicode (n,), by the name of the slice.
      top_k: for `top_<k>_accuracy`.
      output: directory.
    """
    _ = (
        pipeline
        | "Answers" >> beam.Create(_record_batches(answers, slices))
        | "Analyse"
        >> tfma.ExtractEvaluateAndWriteResults(
            eval_config=eval_config(answers, slices, top_k), output_path=output
        )
    )


def _record_batches(answers: Answers, slices: dict[str, np.ndarray]) -> list[pa.RecordBatch]:
    columns = {
        CANDIDATE: answers.probabilities,
        _LABEL: answers.label,
        _CLASS: answers.classes[answers.label],
        **slices,
    }
    if answers.baseline_probabilities is not None:
        columns[BASELINE] = answers.baseline_probabilities
    table = pa.RecordBatch.from_arrays([_lists(column) for column in columns.values()], list(columns))
    return [table.slice(start, _ROWS) for start in range(0, len(answers), _ROWS)]


def _lists(column: np.ndarray) -> pa.Array:
    """One list a row, as TFMA expects features: of numbers, or of UTF-8 bytes."""
    rows = column.reshape(len(column), -1)
    if column.dtype.kind == "U":
        values = pa.array([value.encode() for value in rows.ravel().tolist()], pa.binary())
    else:
        values = pa.array(rows.ravel())
    offsets = np.arange(0, rows.size + 1, rows.shape[1], dtype=np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), values)


class ImageFigures(metric_types.Metric):
    """All figures of a slice from one pass over its images."""

    def __init__(self, classes: int, top_k: int, name: str = "image_figures"):
        super().__init__(_computations, classes=classes, top_k=top_k, name=name)


metric_types.register_metric(ImageFigures)


def _computations(
    classes: int, top_k: int, name: str, model_names: list[str] | None = None
) -> list[metric_types.MetricComputation]:
    """A computation a model. TFMA passes the arguments by these names."""
    del name  # the figures have names of their own
    names = figures.metric_names(classes, top_k)
    return [
        metric_types.MetricComputation(
            keys=[metric_types.MetricKey(name=figure, model_name=model) for figure in names],
            preprocessors=None,
            combiner=_Combiner(model, top_k),
        )
        for model in model_names or [""]
    ]


class _Combiner(beam.CombineFn):
    """Collects rows and adds them up a few hundred at a time, when numpy is worth calling."""

    def __init__(self, model: str, top_k: int):
        self._model = model
        self._top_k = top_k

    def create_accumulator(self) -> tuple[figures.Sums | None, list]:
        return None, []

    def add_input(self, accumulator: tuple, element: metric_types.StandardMetricInputs) -> tuple:
        sums, rows = accumulator
        rows.append((element.get_predictions(self._model), element.get_labels(self._model)))
        return (sums, rows) if len(rows) < _ROWS else (self._added_up(sums, rows), [])

    def merge_accumulators(self, accumulators: Iterable[tuple]) -> tuple:
        total = None
        for sums, rows in accumulators:
            part = self._added_up(sums, rows)
            if part is not None:
                total = part if total is None else total + part
        return total, []

    def compact(self, accumulator: tuple) -> tuple:
        return self._added_up(*accumulator), []

    def extract_output(self, accumulator: tuple) -> dict[metric_types.MetricKey, float]:
        sums = self._added_up(*accumulator)
        return {
            metric_types.MetricKey(name=name, model_name=self._model): metric.value
            for name, metric in figures.metrics(sums, self._top_k).items()
        }

    def _added_up(self, sums: figures.Sums | None, rows: list) -> figures.Sums | None:
        if not rows:
            return sums
        probabilities, labels = zip(*rows, strict=True)
        part = figures.Sums.of(np.stack(probabilities), np.hstack(labels), self._top_k)
        return part if sums is None else sums + part
