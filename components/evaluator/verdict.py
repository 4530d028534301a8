"""What the Evaluator found, as it stands in `verdict.json` beside the answers: typed, and read by the report.

The evaluation artifact holds

    verdict.json         `Verdict`
    answers.npz          `components.evaluator.answers.Answers`: what both models said of every image
    metrics-*, plots-*   of TFMA, with `eval_config.json`

Figures that do not exist (the precision of a class that was never predicted) are None.
"""

from __future__ import annotations

import pathlib

from pydantic import BaseModel, ConfigDict, Field

VERDICT = "verdict.json"
ANSWERS = "answers.npz"


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Check(_Record):
    """One part of the blessing policy.

    Attributes:
      name: key of the setting that asks for it, such as `min_accuracy`.
      value: what the candidate reached.
      limit: what it had to reach or to stay below.
      baseline: what the model in production reached, where that is part of the check.
      passed: the verdict; a check that does not apply (no baseline) is not listed at all.
      explanation: one clause for a person, without a full stop.
    """

    name: str
    value: float | None
    limit: float | None
    baseline: float | None = None
    passed: bool
    explanation: str


class Metric(_Record):
    """A figure over the whole test split, with its confidence interval where there is one."""

    value: float | None
    low: float | None = None
    high: float | None = None
    baseline: float | None = None


class ClassFigures(_Record):
    """Figures of one class; the interval is that of the recall."""

    class_name: str = Field(alias="class")
    count: int
    precision: float | None
    recall: float | None
    f1: float | None
    recall_low: float | None
    recall_high: float | None
    baseline_recall: float | None = None


class Slice(_Record):
    """Accuracy on a part of the test split, such as `brightness 0.2-0.4`, with its confidence interval."""

    slice: str
    count: int
    accuracy: float
    low: float
    high: float
    baseline: float | None = None


class Bin(_Record):
    """Images whose confidence lies between `low` and `high`: mean confidence against accuracy."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class Calibration(_Record):
    """How far confidences can be believed.

    Attributes:
      ece: expected calibration error, 0 to 1.
      bins: the reliability curve.
      temperature: that the served model divides its logits by; 1 where none was fitted.
    """

    ece: float
    bins: list[Bin]
    temperature: float


class Coverage(_Record):
    """What abstaining below a confidence would bring: share of images answered, accuracy on them."""

    confidence: float
    coverage: float
    accuracy: float | None


class Baseline(_Record):
    """The model in production, as far as it could be compared with.

    Attributes:
      uri: of the model artifact.
      model_id: of that artifact in ML Metadata.
      compared: whether both models answered the same images with the same classes.
      remark: why not, when not.
    """

    uri: str
    model_id: int
    compared: bool
    remark: str = ""


class Verdict(_Record):
    """The blessing and all that it rests on."""

    blessed: bool
    sentence: str
    baseline: Baseline | None
    checks: list[Check]
    metrics: dict[str, Metric]
    per_class: list[ClassFigures]
    slices: list[Slice]
    calibration: Calibration
    coverage: list[Coverage]
    seconds: dict[str, float]

    @property
    def refusals(self) -> list[str]:
        """Explanations of the checks that were not passed."""
        return [check.explanation for check in self.checks if not check.passed]


def dump(verdict: Verdict) -> str:
    """The text of `verdict.json`."""
    return verdict.model_dump_json(indent=1, by_alias=True)


def load(evaluation: str) -> Verdict:
    """Reads the verdict of an evaluation.

    Args:
      evaluation: local directory of the evaluation artifact.
    """
    return Verdict.model_validate_json(pathlib.Path(evaluation, VERDICT).read_text(encoding="utf-8"))
