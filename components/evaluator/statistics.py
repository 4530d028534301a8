"""Paired tests of two models on the same images, and confidence intervals. Sources stand at each function.

The tests are one-sided: they ask whether the candidate is *worse*. With `lost` the images that only the
baseline had right and `won` those that only the candidate had right, the difference in accuracy is
`(won - lost) / count`, and images on which both agree say nothing about it.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from scipy import stats

Test = Literal["mcnemar", "bootstrap"]

_RESAMPLES = 10_000
_SEED = 0


def worse_p_value(lost: int, won: int, count: int, margin: float = 0.0, test: Test = "mcnemar") -> float:
    """Probability of at least such a loss, were the candidate worse by exactly the margin.

    Args:
      lost, won: images that only the baseline, only the candidate had right.
      count: all images, those of agreement too.
      margin: loss of accuracy that is allowed, 0 to 1.
      test: `mcnemar` or `bootstrap`.

    Returns:
      p-value of the hypothesis "the accuracy is at most `margin` below the baseline's". Small: it is lower.
    """
    if lost - won <= margin * count:
        # Not below the margin in this very sample: no test needed, and none could refuse it.
        return 1.0
    if test == "bootstrap":
        return _bootstrap(lost, won, count, margin)
    return _score(lost, won, count, margin) if margin else _exact(lost, won)


def _exact(lost: int, won: int) -> float:
    """Exact McNemar: the images of disagreement fall either way like a fair coin (McNemar, 1947)."""
    return float(stats.binomtest(lost, lost + won, 0.5, alternative="greater").pvalue)


def _score(lost: int, won: int, count: int, margin: float) -> float:
    """Tango's score test for a difference of paired proportions (Statistics in Medicine 17, 1998).

    At a margin of 0 it is McNemar's test in its asymptotic form.
    """
    # The likeliest share of `won` were the difference exactly the margin: root of a quadratic.
    linear = (2 * count + won - lost) * margin - lost - won
    constant = -won * margin * (1 - margin)
    share = (math.sqrt(max(linear**2 - 8 * count * constant, 0)) - linear) / (4 * count)
    variance = count * (2 * share + margin * (1 - margin))
    return float(stats.norm.sf((lost - won - count * margin) / math.sqrt(variance)))


def _bootstrap(lost: int, won: int, count: int, margin: float) -> float:
    """Paired bootstrap: how often resampled test splits stray so far, were the loss exactly the margin.

    Resampling images with replacement draws the three counts from a multinomial distribution, so that is what
    is drawn, with a fixed seed, and moved to where the hypothesis holds (Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, section 16.4).
    """
    shares = [lost / count, won / count, max(0.0, (count - lost - won) / count)]
    drawn = np.random.default_rng(_SEED).multinomial(count, shares, _RESAMPLES)
    strayed = drawn[:, 0] - drawn[:, 1] - (lost - won)
    as_far = np.count_nonzero(strayed >= lost - won - margin * count)
    return (as_far + 1) / (_RESAMPLES + 1)


def holm(p_values: list[float]) -> list[float]:
    """Adjusted p-values of a family of tests (Holm, Scandinavian Journal of Statistics 6, 1979).

    Refusing where the adjusted value is at most alpha refuses any true hypothesis at most that often.
    """
    order = np.argsort(p_values)
    factors = np.arange(len(p_values), 0, -1)
    adjusted = np.maximum.accumulate(np.minimum(1.0, np.asarray(p_values, float)[order] * factors))
    answer = np.empty(len(p_values))
    answer[order] = adjusted
    return answer.tolist()


def wilson(successes: int, count: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's interval of a share (Journal of the American Statistical Association 22, 1927).

    Unlike the textbook's plus-minus it stays between 0 and 1 and is no point at a share of 0 or 1.
    """
    if not count:
        return 0.0, 1.0
    interval = stats.binomtest(int(successes), int(count)).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def normal_interval(value: float, variance: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a figure that is nearly normally distributed, such as a mean over many images.

    Args:
      value: the figure.
      variance: of the figure itself, not of the images.
    """
    half = float(stats.norm.ppf(0.5 + confidence / 2)) * math.sqrt(variance)
    return value - half, value + half
