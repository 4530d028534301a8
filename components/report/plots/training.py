"""Plots of the training: what each epoch reached, and how fast."""

from __future__ import annotations

from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from components.report.plots.style import BLUE, GREEN, INK, ORANGE, figure, styled

Epochs = list[dict[str, Any]]


@styled
def curves(history: Epochs) -> Figure:
    """Loss and accuracy of the training and the validation split by epoch, and the epoch that was kept.

    Args:
      history: an entry an epoch, as the trainer's `history.json` has it.
    """
    shown = [metric for metric in ("loss", "accuracy") if metric in history[-1]]
    drawn = figure(2.7 * len(shown))
    for axes, metric in zip(drawn.subplots(len(shown), 1, squeeze=False).flat, shown, strict=True):
        for key, label, colour in ((metric, "training", BLUE), (f"val_{metric}", "validation", ORANGE)):
            points = [(epoch["epoch"], epoch[key]) for epoch in history if epoch.get(key) is not None]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, label=label, marker="o", markersize=3)
        for epoch in history:
            if epoch.get("kept"):
                axes.axvline(epoch["epoch"], color=GREEN, linestyle="--", linewidth=1.2, label="kept epoch")
        _finish(axes, metric.capitalize(), len(history))
        axes.legend()
    return drawn


@styled
def pace(history: Epochs) -> Figure:
    """Learning rate and images a second by epoch.

    Where it was measured, the share of the time that was spent waiting for input is drawn over the latter.

    Args:
      history: as for `curves`.
    """
    drawn = figure(5.4)
    above, below = drawn.subplots(2, 1)
    epochs = [epoch["epoch"] for epoch in history]
    rates = [epoch["learning_rate"] for epoch in history]
    above.plot(epochs, rates, color=BLUE, marker="o", markersize=3)
    if min(rates) > 0 and max(rates) > 20 * min(rates):
        above.set_yscale("log")
    else:
        above.set_ylim(0, 1.15 * max(rates) or 1)
    _finish(above, "Learning rate", len(history))
    below.bar(epochs, [epoch["images_per_second"] for epoch in history], color=BLUE, width=0.7)
    _finish(below, "Images a second", len(history))
    waits = [
        (epoch["epoch"], epoch["input_wait"]) for epoch in history if epoch.get("input_wait") is not None
    ]
    if waits:
        other = below.twinx()
        other.plot(*zip(*waits, strict=True), color=ORANGE, marker="o", markersize=3)
        other.set_ylim(0, 1)
        other.grid(False)
        other.set_ylabel("share of time waiting for input", color=INK)
    return drawn


def _finish(axes: Axes, title: str, epochs: int) -> None:
    axes.set_title(title)
    axes.set_xlabel("epoch")
    axes.set_xlim(0.5, epochs + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
