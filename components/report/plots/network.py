"""Plots of the inside of a network: kernels, feature maps, and the block diagram."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from components.report.plots.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    VIOLET,
    bare,
    figure,
    styled,
)

_COLOURS = {"convolution": BLUE, "pool": GREEN, "dense": ORANGE, "norm": VIOLET, "input": GREY, "drop": RED}


@styled
def kernels(trained: np.ndarray, untrained: np.ndarray | None, most: int = 32) -> Figure:
    """Kernels of the first layer as images, trained beside untrained, with mean and deviation of all.

    Args:
      trained: float (height, width, channels, filters).
      untrained: the same before training, or None where it is not known.
      most: kernels shown; the figures below are of all of them.
    """
    pairs = [("before training", untrained), ("after training", trained)]
    pairs = [(title, weights) for title, weights in pairs if weights is not None]
    count = min(most, trained.shape[-1])
    columns = min(8, count)
    rows = math.ceil(count / columns)
    # One range for both, or the growth of the weights would not show.
    limit = max(float(np.abs(weights[..., :count]).max()) for _, weights in pairs) or 1.0
    drawn = figure(0.75 + 3.1 * rows / columns, 3.3 * len(pairs))
    for axes, (title, weights) in zip(np.ravel(drawn.subplots(1, len(pairs))), pairs, strict=True):
        _sheet(axes, _as_images(weights[..., :count], limit), columns)
        axes.set_title(title.capitalize())
        axes.set_xlabel(f"mean {weights.mean():+.4f}, deviation {weights.std():.4f}")
    return drawn


def _as_images(weights: np.ndarray, limit: float) -> np.ndarray:
    """(height, width, channels, filters) to 0..1 (filters, height, width, 1 or 3); 0.5 is a weight of 0."""
    if weights.shape[2] not in (1, 3):
        weights = weights.mean(axis=2, keepdims=True)
    return np.moveaxis(weights, -1, 0) / (2 * limit) + 0.5


@styled
def feature_maps(stages: Sequence[tuple[str, np.ndarray]], most: int = 12) -> Figure:
    """What each stage of convolutions answers to one image.

    Args:
      stages: first the image itself, 0 to 255, then the layers: name and output float (height, width,
        filters).
      most: maps shown a stage: those that vary most over the image.
    """
    drawn = figure(1.35 * len(stages) + 0.1, 6.6)
    every = np.atleast_1d(drawn.subplots(len(stages), 1))
    for place, (axes, (name, output)) in enumerate(zip(every, stages, strict=True)):
        if place == 0 and output.shape[-1] == 3:
            axes.imshow(output / 255, interpolation="none")
            axes.set_anchor("W")
            bare(axes)
            axes.set_title(name)
            continue
        busiest = np.argsort(-output.std(axis=(0, 1)), kind="stable")[:most]
        maps = np.moveaxis(output[..., np.sort(busiest)], -1, 0)
        low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
        _sheet(axes, ((maps - low) / np.maximum(high - low, 1e-9))[..., None], 6)
        height, width, filters = output.shape
        maps_of = "" if place == 0 else f": {filters} maps of {width}×{height}"
        axes.set_title(name + maps_of)
    return drawn


def _sheet(axes: Axes, images: np.ndarray, columns: int) -> None:
    """Draws (n, height, width, 1 or 3) in rows, one pixel between them."""
    count, height, width, channels = images.shape
    rows = math.ceil(count / columns)
    gap = max(1, round(height / 12))
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), np.nan)
    for index, image in enumerate(images):
        top, left = (index // columns) * (height + gap), (index % columns) * (width + gap)
        sheet[top : top + height, left : left + width] = image
    if channels == 1:
        axes.imshow(np.ma.masked_invalid(sheet[..., 0]), cmap="gray", vmin=0, vmax=1, interpolation="none")
    else:
        alpha = np.isfinite(sheet[..., :1]).astype(float)
        colour = np.clip(np.nan_to_num(sheet), 0, 1)
        axes.imshow(np.concatenate([colour, alpha], axis=-1), interpolation="none")
    axes.set_anchor("W")
    bare(axes)


@styled
def diagram(blocks: Sequence[tuple[str, str, str]]) -> Figure:
    """A block a line, from the image down to the answer.

    Args:
      blocks: kind (a colour), what it is, the shape that leaves it.
    """
    drawn = figure(0.36 * len(blocks) + 0.1, 4.2)
    drawn.set_layout_engine("none")
    axes = drawn.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 10), ylim=(len(blocks), 0))
    for row, (kind, text, shape) in enumerate(blocks):
        box = FancyBboxPatch(
            (0.15, row + 0.17),
            6.1,
            0.62,
            boxstyle="round,pad=0,rounding_size=0.1",
            facecolor=(*_rgb(_COLOURS.get(kind, GREY)), 0.25),
            edgecolor=_COLOURS.get(kind, GREY),
            linewidth=1,
        )
        axes.add_patch(box)
        axes.text(0.35, row + 0.5, text, va="center", fontsize=8)
        axes.text(6.5, row + 0.5, shape, va="center", fontsize=8)
        if row:
            axes.plot([1, 1], [row - 0.2, row + 0.16], color=INK, linewidth=0.8)
    bare(axes)
    return drawn


def _rgb(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
