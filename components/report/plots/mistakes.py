"""Plots of the answers on the test split: confusion, reliability, slices, what an answer looked at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from components.report.plots.data import shortened
from components.report.plots.style import BLUE, GREY, INK, ORANGE, SHADES, bare, figure, styled

#: More classes than this have neither figures in the cells nor names at the sides.
MOST_FIGURES, MOST_NAMES = 16, 50


@styled
def confusion(counts: np.ndarray, names: Sequence[str]) -> Figure:
    """Confusion matrix: rows are labels, columns answers, shades the share of the row.

    Args:
      counts: int (classes, classes), images by label and answer.
      names: the classes.
    """
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    size = min(7.0, 2.2 + 0.42 * len(names))
    drawn = figure(size, size)
    axes = drawn.add_subplot()
    axes.imshow(shares, cmap=SHADES, vmin=0, vmax=1, interpolation="none")
    axes.grid(False)
    axes.set(xlabel="answer", ylabel="label")
    if len(names) <= MOST_NAMES:
        letters = 8 if len(names) <= MOST_FIGURES else 5
        short = [shortened(name) for name in names]
        axes.set_xticks(range(len(names)), short, rotation=90, fontsize=letters)
        axes.set_yticks(range(len(names)), short, fontsize=letters)
    if len(names) <= MOST_FIGURES:
        for row, column in zip(*np.nonzero(counts), strict=True):
            share = shares[row, column]
            shown = f"{share:.0%}" if share >= 0.01 else ""
            colour = "white" if share > 0.6 else INK
            small = {"ha": "center", "color": colour}
            axes.text(column, row, f"{counts[row, column]}", va="bottom", fontsize=7, **small)
            axes.text(column, row + 0.05, shown, va="top", fontsize=5.5, **small)
    return drawn


@styled
def reliability(bins: Sequence[Mapping[str, float]], error: float) -> Figure:
    """Reliability curve: how often answers of a confidence are right, and how many there are of it.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, figure 1.

    Args:
      bins: `low`, `high`, `count`, mean `confidence` and `accuracy` of the images in it.
      error: expected calibration error.
    """
    drawn = figure(3.8)
    curve, counts = drawn.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    filled = [one for one in bins if one["count"]]
    curve.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1, label="honest")
    curve.plot(
        [one["confidence"] for one in filled],
        [one["accuracy"] for one in filled],
        color=BLUE,
        marker="o",
        markersize=4,
        label="this model",
    )
    curve.set(ylabel="accuracy", xlim=(0, 1), ylim=(0, 1.02), title=f"Calibration error {error:.4f}")
    curve.legend()
    counts.bar(
        [one["low"] for one in bins],
        [one["count"] for one in bins],
        width=[one["high"] - one["low"] for one in bins],
        align="edge",
        color=BLUE,
        edgecolor="none",
    )
    counts.set(xlabel="confidence", ylabel="images")
    return drawn


@styled
def slices(rows: Sequence[Mapping[str, Any]], most: int = 40) -> Figure:
    """Accuracy of slices with its interval, the worst first, and the baseline's where there is one.

    Args:
      rows: `slice`, `count`, `accuracy`, `low`, `high`, perhaps `baseline`.
      most: slices shown.
    """
    worst = sorted(rows, key=lambda row: row["accuracy"])[:most]
    drawn = figure(0.8 + 0.22 * len(worst))
    axes = drawn.add_subplot()
    for place, row in enumerate(worst):
        axes.plot([row["low"], row["high"]], [place, place], color=BLUE, linewidth=1.2)
        axes.plot(row["accuracy"], place, "o", color=BLUE, markersize=4, label="this model" * (place == 0))
        if row.get("baseline") is not None:
            label = "in production" * (place == 0)
            axes.plot(row["baseline"], place, "d", color=ORANGE, markersize=4, label=label)
    names = [f"{shortened(str(row['slice']), 30)} ({row['count']})" for row in worst]
    axes.set_yticks(range(len(worst)), names)
    axes.invert_yaxis()
    axes.set_xlabel("accuracy, with its interval")
    if any(row.get("baseline") is not None for row in worst):
        drawn.legend(loc="outside upper left", ncols=2)
    return drawn


@styled
def coverage(rows: Sequence[Mapping[str, float]]) -> Figure:
    """Accuracy of the answers that remain when those of low confidence are withheld.

    Args:
      rows: `coverage` (share of images answered) and `accuracy` among them.
    """
    drawn = figure(2.6)
    axes = drawn.add_subplot()
    points = sorted((row["coverage"], row["accuracy"]) for row in rows if row.get("accuracy") is not None)
    axes.plot(*zip(*points, strict=True), color=BLUE, marker="o", markersize=3)
    axes.set(
        title="What abstaining brings",
        xlabel="share of the images answered",
        ylabel="accuracy among them",
        xlim=(0, 1.02),
    )
    return drawn


@styled
def seconds(nodes: Sequence[tuple[str, float]]) -> Figure:
    """Wall time of every node.

    Args:
      nodes: name and seconds, in the order of the run.
    """
    drawn = figure(0.6 + 0.22 * len(nodes))
    axes = drawn.add_subplot()
    axes.barh([name for name, _ in nodes], [spent for _, spent in nodes], color=BLUE)
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.grid(axis="y", visible=False)
    return drawn


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image with a heat map over it.

    Args:
      image: uint8 (height, width, channels).
      heat: float (height, width), 0 to 1.

    Returns:
      uint8 (height, width, 3).
    """
    colour = mpl.colormaps["inferno"](heat)[..., :3] * 255
    grey = image.astype(np.float32).mean(axis=-1, keepdims=True)
    return (0.45 * grey + 0.55 * colour).clip(0, 255).astype(np.uint8)


@styled
def gallery(pictures: Sequence[tuple[Sequence[np.ndarray], Sequence[str]]]) -> Figure:
    """Pictures with lines of text above them.

    Args:
      pictures: images uint8 (height, width, channels) that stand side by side, and the lines.
    """
    columns = min(4, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    drawn = figure(1.7 * rows, 2.3 * columns)
    grid = drawn.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        bare(axes)
    for axes, (images, lines) in zip(grid.flat, pictures, strict=False):
        colour = [image if image.shape[-1] == 3 else np.repeat(image, 3, axis=-1) for image in images]
        axes.imshow(np.concatenate(colour, axis=1), interpolation="none")
        title = "\n".join(shortened(line, 34) for line in lines[:2])
        axes.set_title(title, fontsize=7, fontweight="normal")
    return drawn
