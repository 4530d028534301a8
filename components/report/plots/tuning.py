"""Plots of a search: what every trial reached, and which values went with which scores."""

from __future__ import annotations

import math
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.report.plots.style import BLUE, GREEN, GREY, ORANGE, RED, SHADES, figure, styled
from modules.tuning.record import Search
from modules.tuning.spaces import text

_MARKS = {"completed": ("o", BLUE), "stopped": ("v", GREY), "cut": ("s", ORANGE)}
#: Names of keys and choices are cut at this length.
_LETTERS = 22
#: So few different numbers are written at their places, and no axis is drawn between them.
_CHOICES = 5


@styled
def scores(search: Search) -> Figure:
    """The score of every trial in their order, and the best until then.

    Args:
      search: the record of the tuner.
    """
    drawn = figure(2.9)
    axes = drawn.subplots()
    for status, (mark, colour) in _MARKS.items():
        points = [(one.number, one.score) for one in search.trials if one.status == status]
        if points:
            axes.plot(*zip(*points, strict=True), mark, color=colour, label=status)
    for number, trial in enumerate(one for one in search.trials if one.status == "failed"):
        axes.axvline(trial.number, color=RED, linestyle=":", label="" if number else "failed")
    best: list[tuple[int, float]] = []
    for trial in search.trials:
        if trial.score is not None:
            reached = max(
                [trial.score, *([best[-1][1]] if best else [])], key=lambda score: search.sign * score
            )
            best.append((trial.number, reached))
    axes.step(*zip(*best, strict=True), where="post", color=GREEN, label="best so far")
    axes.set_title(search.objective)
    axes.set_xlabel("trial")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.legend()
    return drawn


@styled
def parallel(search: Search) -> Figure:
    """A line for each trial through its values and its score: an axis a key, the better the darker.

    Args:
      search: the record of the tuner.
    """
    keys = list(search.defaults)
    finished = search.finished[::-1]  # the best on top
    drawn = figure(3.4, width=max(5.0, 1.6 * (len(keys) + 1)))
    axes = drawn.subplots()
    places = [_places([trial.values.get(key) for trial in finished]) for key in keys]
    places.append(_places([trial.score for trial in finished]))
    for number in range(len(finished)):
        is_best = number == len(finished) - 1
        axes.plot(
            range(len(places)),
            [heights[number] for heights, _ in places],
            color=GREEN if is_best else SHADES(0.15 + 0.85 * number / len(finished)),
            linewidth=2.4 if is_best else 1.0,
        )
    for position, (_, marks) in enumerate(places):
        axes.axvline(position, color=GREY, linewidth=0.8)
        for height, name in marks:
            axes.text(position + 0.03, height, name, fontsize=7, va="bottom")
    axes.set_xticks(range(len(places)), [*map(_short, keys), search.objective], rotation=20, ha="right")
    _without_frame(axes)
    axes.set_xlim(-0.1, len(places) - 0.6)
    return drawn


def _places(values: list[Any]) -> tuple[list[float], list[tuple[float, str]]]:
    """Heights of 0 to 1 for values, and what is written at an axis: ends of numbers, or every choice."""
    numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
    if len(numbers) < len(values) or len(set(numbers)) <= _CHOICES:
        are_numbers = len(numbers) == len(values)
        choices = list(dict.fromkeys(text(one) for one in (sorted(values) if are_numbers else values)))
        height = {one: (index + 0.5) / len(choices) for index, one in enumerate(choices)}
        return [height[text(one)] for one in values], [(height[one], _short(one)) for one in choices]
    low, high = min(numbers), max(numbers)
    # Spread over ratios, as a learning rate is searched.
    is_wide = low > 0 and high / low > 10
    scaled = [math.log(one) for one in numbers] if is_wide else numbers
    span = max(scaled) - min(scaled)
    heights = [(one - min(scaled)) / span for one in scaled]
    return heights, [(0.0, f"{low:.4g}"), (1.0, f"{high:.4g}")]


def _short(name: str) -> str:
    return name if len(name) <= _LETTERS else f"…{name[1 - _LETTERS :]}"


def _without_frame(axes: Axes) -> None:
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)
