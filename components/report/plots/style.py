"""The common look of the plots, and the way from a Figure into a page: SVG that follows light and dark."""

from __future__ import annotations

import functools
import html
import io
import re
from collections.abc import Callable

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, to_rgba
from matplotlib.figure import Figure

#: Text and axes. In a page this very colour becomes `currentColor`, so nothing else may have it.
INK = "#1f2328"
# At least 3:1 against white and against the dark page: one set of colours for both.
BLUE, ORANGE, GREEN, RED, VIOLET, GREY = "#3b82d0", "#d9701a", "#2a9363", "#d64550", "#8c6bd1", "#868b94"
SERIES = (BLUE, ORANGE, GREEN, VIOLET, RED, GREY)
#: From nothing to blue: the page shines through where a value is small.
SHADES = LinearSegmentedColormap.from_list("shades", [to_rgba(BLUE, 0.0), to_rgba(BLUE, 1.0)])

#: Width in inches of a plot that a phone shows without shrinking its letters.
WIDTH = 5.0

_STYLE = {
    "font.size": 9,
    "font.family": "sans-serif",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GREY,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    # Letters stay letters: small, searchable, and in the font of the page.
    "svg.fonttype": "none",
}


def styled(plot: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorator that draws a plot in the common look, whatever the settings around it."""

    @functools.wraps(plot)
    def draw(*arguments: object, **named: object) -> Figure:
        with mpl.rc_context(_STYLE):
            return plot(*arguments, **named)

    return draw


def figure(height: float = 3.0, width: float = WIDTH) -> Figure:
    """An empty figure of that many inches; without pyplot, so that nothing keeps it alive."""
    return Figure(figsize=(width, height))


def bare(axes: Axes) -> None:
    """Takes ticks, grid and frame from axes that show an image."""
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def to_svg(drawn: Figure, name: str, alt: str) -> str:
    """A figure as an SVG element to stand inside a page.

    Args:
      drawn: the figure.
      name: unique in the page; keeps the ids of several plots apart.
      alt: what a person who cannot see it is told.
    """
    buffer = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        drawn.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # A style for every element of the page, and a description that repeats the format.
    text = re.sub(r"<(defs|metadata)>\s*<style.*?</style>\s*</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor")
    # Letters in the font of the page.
    text = re.sub(r"font-family: [^;\"]+;? ?", "", text)
    text = re.sub(r">\s+<", "><", text)
    width, height = (round(inches * 96) for inches in drawn.get_size_inches())
    head = (
        f'<svg class="plot" role="img" aria-label="{html.escape(alt, quote=True)}" width="{width}" '
        f'viewBox="0 0 {width * 0.75:g} {height * 0.75:g}" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return re.sub(r"^<svg[^>]*>", head, text)
