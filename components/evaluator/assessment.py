"""From answers to the verdict: figures of both models, slices, calibration, and what the policy says."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.evaluator import figures, policy
from components.evaluator.answers import Answers
from components.evaluator.figures import Sums
from components.evaluator.policy import Footprint, Paired
from components.evaluator.settings import EvaluateSettings
from components.evaluator.verdict import Baseline, Calibration, Metric, Slice, Verdict


def assess(
    answers: Answers,
    slices: dict[str, np.ndarray],
    settings: EvaluateSettings,
    baseline: Baseline | None = None,
    lost: bool = False,
    footprint: Footprint | None = None,
    temperature: float = 1.0,
    seconds: dict[str, float] | None = None,
) -> Verdict:
    """The verdict on a candidate.

    Args:
      answers: of the candidate, and of the baseline when it could be asked.
      slices: the part that each image falls in, unicode (n,), by the name of the slice.
      settings: the policy.
      baseline: the model in production, when there is one.
      lost: whether it should be compared with and cannot be.
      footprint: size and latency of the candidate.
      temperature: of the candidate.
      seconds: what the steps took, only to be noted.
    """
    footprint = footprint or Footprint()
    names = answers.classes.tolist()
    sums = Sums.of(answers.probabilities, answers.label, settings.top_k)
    measured = _metrics(answers.probabilities, answers.label, sums, settings.top_k)
    checks = policy.floors(sums, names, settings)
    theirs = None
    if answers.baseline_probabilities is not None:
        theirs = Sums.of(answers.baseline_probabilities, answers.label, settings.top_k)
        other = _metrics(answers.baseline_probabilities, answers.label, theirs, settings.top_k)
        measured = {
            name: metric.model_copy(update={"baseline": other[name].value})
            for name, metric in measured.items()
        }
        paired = Paired.of(answers.probabilities, answers.baseline_probabilities, answers.label)
        checks += policy.comparison(sums, theirs, paired, names, settings)
    if lost:
        checks.append(policy.lost_baseline(baseline.remark, settings))
    checks += policy.limits(footprint, settings)
    measured |= {
        name: Metric(value=value)
        for name, value in (
            ("size_mb", footprint.size_mb),
            ("latency_p50_ms", footprint.latency_p50_ms),
            ("latency_p95_ms", footprint.latency_p95_ms),
        )
        if value is not None
    }
    return Verdict(
        blessed=all(check.passed for check in checks),
        sentence=policy.sentence(checks, measured["accuracy"].value, _remark(baseline, measured)),
        baseline=baseline,
        checks=checks,
        metrics=measured,
        per_class=figures.per_class(sums, names, theirs),
        slices=list(_slices(answers, slices)),
        calibration=Calibration(
            ece=figures.calibration_error(sums), bins=figures.reliability(sums), temperature=temperature
        ),
        coverage=figures.coverage(answers.probabilities, answers.label),
        seconds=seconds or {},
    )


def _metrics(probabilities: np.ndarray, labels: np.ndarray, sums: Sums, top_k: int) -> dict[str, Metric]:
    return {
        **figures.metrics(sums, top_k),
        "auc": figures.area_under_curve(probabilities, labels),
    }


def _remark(baseline: Baseline | None, measured: dict[str, Metric]) -> str:
    if baseline is None:
        return "no model is in production yet"
    if not baseline.compared:
        return baseline.remark
    return f"not significantly worse than the model in production ({measured['accuracy'].baseline:.4f})"


def _slices(answers: Answers, slices: dict[str, np.ndarray]) -> Iterator[Slice]:
    right = answers.probabilities.argmax(axis=1) == answers.label
    theirs = None
    if answers.baseline_probabilities is not None:
        theirs = answers.baseline_probabilities.argmax(axis=1) == answers.label
    for name, column in slices.items():
        for part in np.unique(column).tolist():
            inside = column == part
            accuracy = figures.share(int(right[inside].sum()), int(inside.sum()))
            yield Slice(
                slice=f"{name} {part}",
                count=int(inside.sum()),
                accuracy=accuracy.value,
                low=accuracy.low,
                high=accuracy.high,
                baseline=None if theirs is None else float(theirs[inside].mean()),
            )
