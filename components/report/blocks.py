"""What a section of the page is made of."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

#: Pictures are shown at most this large, so more pixels would only weigh.
_LARGEST = 160
#: From this side on a picture is a photo, for which JPEG is a fifth of PNG.
_PHOTO = 64


@dataclass(frozen=True)
class Text:
    """A paragraph; `tone` colours it."""

    text: str
    tone: Literal["", "good", "bad", "note"] = ""
    kind: str = "text"


@dataclass(frozen=True)
class Facts:
    """Names and values; `short` ones stand side by side even on a phone."""

    rows: Sequence[tuple[str, Any]]
    short: bool = False
    kind: str = "facts"


@dataclass(frozen=True)
class Plot:
    """A figure with what is said to those who cannot see it; `wide` takes the whole width.

    `svg` is the figure drawn for the page.
    """

    figure: Figure
    alt: str
    caption: str = ""
    wide: bool = False
    svg: str = ""
    kind: str = "plot"


@dataclass(frozen=True)
class Table:
    """Rows of cells.

    Attributes:
      columns: their headings.
      rows: cells; numbers are formatted, `True` and `False` become a tick and a cross.
      caption: said above.
      folded: shown only when asked for.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""
    folded: bool = False
    kind: str = "table"

    @property
    def narrow(self) -> bool:
        """Whether it needs no more than half the width of a screen."""
        if self.folded:
            return True
        widths = [max(map(len, map(number, column))) for column in zip(self.columns, *self.rows, strict=True)]
        return sum(widths) + 3 * len(widths) <= 70


@dataclass(frozen=True)
class Picture:
    """One image, or several beside each other, with lines of text below.

    Attributes:
      images: uint8 (height, width, channels) each.
      lines: the first stands out.
      alt: what is said to those who cannot see it.
    """

    images: Sequence[np.ndarray]
    lines: Sequence[str]
    alt: str

    @property
    def uris(self) -> list[str]:
        return [data_uri(image) for image in self.images]


@dataclass(frozen=True)
class Gallery:
    """Pictures that flow into as many columns as fit."""

    pictures: Sequence[Picture]
    caption: str = ""
    kind: str = "gallery"


@dataclass(frozen=True)
class Code:
    """Text as it is, shown only when asked for."""

    title: str
    text: str
    kind: str = "code"


Block = Text | Facts | Plot | Table | Gallery | Code


@dataclass(frozen=True)
class Part:
    """A titled piece of a section."""

    title: str
    blocks: Sequence[Block]

    @property
    def half(self) -> bool:
        """Whether it is narrow enough to stand beside another one."""
        if sum(block.kind == "plot" for block in self.blocks) > 1:
            return False
        return all(
            block.kind in ("text", "facts", "code")
            or (block.kind == "plot" and not block.wide)
            or (block.kind == "table" and block.narrow)
            for block in self.blocks
        )


@dataclass(frozen=True)
class Section:
    """A section of the page; `anchor` is its id."""

    anchor: str
    title: str
    parts: list[Part] = field(default_factory=list)


def data_uri(image: np.ndarray) -> str:
    """An image uint8 (height, width, 1 or 3) inside an address: PNG when it is small, JPEG for a photo."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    photo = max(picture.size) >= _PHOTO
    if max(picture.size) > _LARGEST:
        picture.thumbnail((_LARGEST, _LARGEST))
    buffer = io.BytesIO()
    if photo:
        picture.save(buffer, "JPEG", quality=80)
    else:
        picture.save(buffer, "PNG", optimize=True)
    text = base64.b64encode(buffer.getvalue()).decode("ascii")
    return f"data:image/{'jpeg' if photo else 'png'};base64,{text}"


def number(value: Any) -> str:
    """A cell's text: thousands in groups, four digits after the point, a dash for what does not exist."""
    if isinstance(value, float) and 0 < abs(value) < 0.001:
        return f"{value:.3g}"
    match value:
        case None:
            return "–"
        case bool():
            return "✓" if value else "✗"
        case int() | np.integer():
            return f"{value:,}"
        case float() | np.floating():
            return f"{value:.4f}" if abs(value) < 10 else f"{value:,.1f}"
    return str(value)


def is_number(value: Any) -> bool:
    """Whether a cell belongs to the right side."""
    if isinstance(value, str):
        return re.fullmatch(r"[\d.,]+%", value) is not None
    return value is None or (isinstance(value, int | float | np.number) and not isinstance(value, bool))
