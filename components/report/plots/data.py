"""Plots of the data: balance of the classes, samples, levels of the pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from components.report.plots.style import BLUE, GREEN, GREY, ORANGE, RED, bare, figure, styled

_SPLIT_COLOURS = {"train": BLUE, "validation": ORANGE, "test": GREEN}
#: More bars than this become a curve, whose classes cannot be named one by one.
MOST_BARS = 60


@styled
def balance(counts: dict[str, dict[str, int]]) -> Figure:
    """Images of every class by split.

    Args:
      counts: images by split and class.
    """
    classes = sorted({name for by_class in counts.values() for name in by_class})
    if len(classes) > MOST_BARS:
        return _many_classes(counts, classes)
    drawn = figure(0.9 + 0.22 * len(classes))
    axes = drawn.add_subplot()
    left = np.zeros(len(classes))
    for split, by_class in counts.items():
        widths = np.array([by_class.get(name, 0) for name in classes])
        axes.barh(range(len(classes)), widths, left=left, label=split, color=_SPLIT_COLOURS.get(split, GREY))
        left += widths
    axes.set_yticks(range(len(classes)), [shortened(name) for name in classes])
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.grid(axis="y", visible=False)
    drawn.legend(loc="outside upper left", ncols=3)
    return drawn


def _many_classes(counts: dict[str, dict[str, int]], classes: list[str]) -> Figure:
    drawn = figure()
    axes = drawn.add_subplot()
    for split, by_class in counts.items():
        ordered = sorted((by_class.get(name, 0) for name in classes), reverse=True)
        axes.plot(ordered, label=split, color=_SPLIT_COLOURS.get(split, GREY))
    axes.set(xlabel=f"{len(classes)} classes, the largest first", ylabel="images", ylim=(0, None))
    axes.legend()
    return drawn


@styled
def samples(images: Sequence[np.ndarray], names: Sequence[str]) -> Figure:
    """Samples of every class, a row each.

    Args:
      images: a class each, uint8 (n, height, width, channels); all of one size, n may differ.
      names: the classes.
    """
    most = max(len(rows) for rows in images)
    height, width, channels = images[0].shape[1:]
    gap = max(1, round(0.04 * height))
    sheet = np.zeros((len(images) * (height + gap) - gap, most * (width + gap) - gap, channels + 1), np.uint8)
    for row, of_class in enumerate(images):
        for column, image in enumerate(of_class):
            top, left = row * (height + gap), column * (width + gap)
            sheet[top : top + height, left : left + width, :channels] = image
            sheet[top : top + height, left : left + width, channels] = 255
    if channels == 1:
        sheet = np.concatenate([sheet[..., :1]] * 3 + [sheet[..., 1:]], axis=-1)
    room = 1.2  # inches for the names
    scale = (6.6 - room) / sheet.shape[1]
    drawn = figure(sheet.shape[0] * scale + 0.1, 6.6)
    axes = drawn.add_subplot()
    axes.imshow(sheet, interpolation="none")
    bare(axes)
    axes.set_yticks(
        [row * (height + gap) + height / 2 for row in range(len(names))], [shortened(name) for name in names]
    )
    axes.tick_params(length=0)
    return drawn


@styled
def histograms(pixels: np.ndarray, scale: np.ndarray, offset: np.ndarray) -> Figure:
    """How often each level of a pixel occurs, a channel a line, as read and as the network sees it.

    Args:
      pixels: uint8 (n, height, width, channels).
      scale, offset: float32 (channels,); the network sees `pixels * scale + offset`.
    """
    drawn = figure(2.4)
    before, after = drawn.subplots(1, 2)
    channels = pixels.shape[-1]
    names, colours = (("grey",), (GREY,)) if channels == 1 else (("red", "green", "blue"), (RED, GREEN, BLUE))
    for channel, (name, colour) in enumerate(zip(names, colours, strict=True)):
        share = np.bincount(pixels[..., channel].ravel(), minlength=256) / pixels[..., channel].size
        # Bins of 4 levels: single levels of compressed photos jump up and down.
        share = share.reshape(64, 4).sum(axis=1)
        levels = np.arange(64) * 4 + 1.5
        before.step(levels, share, where="mid", color=colour, label=name)
        after.step(levels * scale[channel] + offset[channel], share, where="mid", color=colour, label=name)
    before.set(title="As read", xlabel="level", ylabel="share of the pixels", yscale="log")
    after.set(title="Scaled", xlabel="value that the network sees", yscale="log")
    after.tick_params(labelleft=False)
    for axes in (before, after):
        axes.yaxis.set_minor_formatter(NullFormatter())
    before.legend(fontsize=8)
    return drawn


def shortened(name: str, most: int = 22) -> str:
    """A name that fits beside a plot; a dollar sign in it begins no formula."""
    short = name if len(name) <= most else name[: most - 1] + "…"
    return short.replace("$", r"\$")
