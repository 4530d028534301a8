"""The blessing policy: every check with its value, its limit and its verdict, and the whole in one sentence.

A comparison refuses a model that is *significantly worse* than the one in production by more than the margin.
So noise does not block an equal model, and a loss that the test split can show does not pass. The tests are
one-sided, and together they refuse a model that is as good in every class at most at the rate `alpha`: half
of it goes to the test over all images, half, divided after Holm, to those of the classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from components.evaluator.figures import Sums, calibration_error
from components.evaluator.settings import EvaluateSettings
from components.evaluator.statistics import holm, worse_p_value
from components.evaluator.verdict import Check

_NAMED = 3  # classes that an explanation lists


@dataclass(frozen=True)
class Paired:
    """On which images only one of two models was right.

    Attributes:
      lost: int64 (c,), images by class that only the baseline had right.
      won: int64 (c,), images by class that only the candidate had right.
    """

    lost: np.ndarray
    won: np.ndarray

    @classmethod
    def of(cls, candidate: np.ndarray, baseline: np.ndarray, labels: np.ndarray) -> Paired:
        """Pairs answers.

        Args:
          candidate, baseline: probabilities, float (n, c).
          labels: int (n,).
        """
        classes = candidate.shape[1]
        ours, theirs = (one.argmax(axis=1) == labels for one in (candidate, baseline))
        return cls(
            np.bincount(labels[theirs & ~ours], minlength=classes),
            np.bincount(labels[ours & ~theirs], minlength=classes),
        )


@dataclass(frozen=True)
class Footprint:
    """What serving costs, as the infra validator measured it; None where it did not.

    Attributes:
      size_mb: of the SavedModel, in 10^6 bytes.
      latency_p50_ms, latency_p95_ms: of single requests.
    """

    size_mb: float | None = None
    latency_p50_ms: float | None = None
    latency_p95_ms: float | None = None


def floors(sums: Sums, names: list[str], settings: EvaluateSettings) -> list[Check]:
    """What every model must reach, whatever is in production."""
    accuracy = float(sums.hits.sum() / sums.count)
    enough = accuracy >= settings.min_accuracy
    limit = settings.min_accuracy
    checks = [
        Check(
            name="min_accuracy",
            value=accuracy,
            limit=limit,
            passed=enough,
            explanation=f"accuracy {accuracy:.4f} is {_either(enough, 'not below', 'below')} "
            f"evaluate.min_accuracy {limit:g}",
        )
    ]
    if settings.min_class_recall:
        checks.append(_class_floor(sums, names, settings.min_class_recall))
    if settings.max_ece is not None:
        ece = calibration_error(sums)
        checks.append(_ceiling("max_ece", "calibration error", ece, settings.max_ece, ""))
    return checks


def _class_floor(sums: Sums, names: list[str], floor: float) -> Check:
    recalls = {
        name: (hits / count, hits, count)
        for name, hits, count in zip(names, sums.hits.tolist(), sums.labelled.tolist(), strict=True)
        if count
    }
    worst = sorted(recalls, key=lambda name: recalls[name][0])
    below = [name for name in worst if recalls[name][0] < floor]
    shown = [f"{name!r} {recalls[name][0]:.4f} ({recalls[name][1]} of {recalls[name][2]})" for name in below]
    if below:
        more = f" and {len(below) - _NAMED} more" if len(below) > _NAMED else ""
        explanation = (
            f"recall of {', '.join(shown[:_NAMED])}{more} is below evaluate.min_class_recall {floor:g}"
        )
    else:
        explanation = f"no recall is below evaluate.min_class_recall {floor:g}, the lowest being {worst[0]!r}"
    return Check(
        name="min_class_recall",
        value=recalls[worst[0]][0],
        limit=floor,
        passed=not below,
        explanation=explanation,
    )


def limits(footprint: Footprint, settings: EvaluateSettings) -> list[Check]:
    """What serving may cost."""
    checks = []
    for name, what, value, limit, unit in (
        ("max_size_mb", "size", footprint.size_mb, settings.max_size_mb, " MB"),
        ("max_latency_ms", "latency", footprint.latency_p95_ms, settings.max_latency_ms, " ms"),
    ):
        if limit is not None:
            checks.append(_ceiling(name, what, value, limit, unit))
    return checks


def _ceiling(name: str, what: str, value: float | None, limit: float, unit: str) -> Check:
    if value is None:
        explanation = f"{what} was not measured, and evaluate.{name} is {limit:g}{unit}"
        return Check(name=name, value=None, limit=limit, passed=False, explanation=explanation)
    passed = value <= limit
    side = _either(passed, "not above", "above")
    return Check(
        name=name,
        value=value,
        limit=limit,
        passed=passed,
        explanation=f"{what} {value:.4g}{unit} is {side} evaluate.{name} {limit:g}{unit}",
    )


def comparison(
    candidate: Sums, baseline: Sums, paired: Paired, names: list[str], settings: EvaluateSettings
) -> list[Check]:
    """Whether the candidate is significantly worse than the model in production: at all, and in a class."""
    alpha = settings.alpha / 2 if settings.protect_classes else settings.alpha
    checks = [_not_worse(candidate, baseline, paired, settings, alpha)]
    if settings.protect_classes:
        checks.append(_no_class_worse(candidate, baseline, paired, names, settings, alpha))
    return checks


def _not_worse(
    candidate: Sums, baseline: Sums, paired: Paired, settings: EvaluateSettings, alpha: float
) -> Check:
    lost, won = int(paired.lost.sum()), int(paired.won.sum())
    p_value = worse_p_value(lost, won, candidate.count, settings.margin, settings.test)
    value, theirs = (float(sums.hits.sum() / sums.count) for sums in (candidate, baseline))
    passed = p_value > alpha
    margin = f" by more than evaluate.margin {settings.margin:g}" if settings.margin else ""
    return Check(
        name="not_worse",
        value=value,
        limit=theirs - settings.margin,
        baseline=theirs,
        passed=passed,
        explanation=f"accuracy {value:.4f} is {_either(passed, 'not significantly', 'significantly')} lower "
        f"than the {theirs:.4f} of the model in production{margin} "
        f"({_evidence(lost, won, p_value, alpha)})",
    )


def _no_class_worse(
    candidate: Sums,
    baseline: Sums,
    paired: Paired,
    names: list[str],
    settings: EvaluateSettings,
    alpha: float,
) -> Check:
    present = np.flatnonzero(candidate.labelled)
    # Classes are often small, and there the bootstrap refuses too much.
    p_values = holm(
        [
            worse_p_value(
                int(paired.lost[i]),
                int(paired.won[i]),
                int(candidate.labelled[i]),
                settings.margin,
                "mcnemar",
            )
            for i in present
        ]
    )
    worst = int(np.argmin(p_values))
    index = present[worst]
    count = candidate.labelled[index]
    value, theirs = float(candidate.hits[index] / count), float(baseline.hits[index] / count)
    passed = p_values[worst] > alpha
    if passed:
        explanation = "no class is recognised significantly less than by the model in production"
        if p_values[worst] < 1:
            explanation += f" (the nearest to it is {names[index]!r}, {value:.4f} against {theirs:.4f})"
    else:
        evidence = _evidence(int(paired.lost[index]), int(paired.won[index]), p_values[worst], alpha)
        explanation = (
            f"recall of {names[index]!r} {value:.4f} is significantly lower than the {theirs:.4f} of the "
            f"model in production ({evidence})"
        )
    return Check(
        name="no_class_worse",
        value=value,
        limit=theirs - settings.margin,
        baseline=theirs,
        passed=passed,
        explanation=explanation,
    )


def _evidence(lost: int, won: int, p_value: float, alpha: float) -> str:
    shown = f"p {p_value:.2g}" if p_value >= 1e-4 else "p below 0.0001"
    return f"{lost} images lost, {won} won, {shown}, refused up to {alpha:g}"


def _either(passed: bool, yes: str, no: str) -> str:
    return yes if passed else no


def lost_baseline(remark: str, settings: EvaluateSettings) -> Check:
    """What becomes of a model whose predecessor cannot be asked any more."""
    passed = settings.without_baseline
    explanation = f"the model in production cannot be compared with: {remark}"
    if passed:
        explanation += ", which evaluate.without_baseline allows"
    else:
        explanation += (
            "; restore it, or bless without a comparison, once, with --set evaluate.without_baseline=true"
        )
    return Check(name="baseline", value=None, limit=None, passed=passed, explanation=explanation)


def sentence(checks: list[Check], accuracy: float, remark: str) -> str:
    """The verdict in one sentence.

    Args:
      checks: all of them.
      accuracy: of the candidate.
      remark: what to say of the baseline where nothing was refused.
    """
    refusals = [check.explanation for check in checks if not check.passed]
    if refusals:
        return f"Not blessed: {'; '.join(refusals)}."
    return f"Blessed: accuracy {accuracy:.4f}; {remark}."
