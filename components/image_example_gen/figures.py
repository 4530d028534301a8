"""Measures grey images: brightness, contrast, sharpness, and a perceptual hash; small ones many at a time.

For a 28x28 image the overhead of a dozen numpy calls is longer than decoding it, so images of one size
are measured as one stack.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

_STACKED_PIXELS = 4096
_BLOCK_PIXELS = 1 << 16
_SAMPLED_PIXELS = 1 << 15
_STACK = 128


class Figures(NamedTuple):
    """As in `modules.features`; `dhash` is a 64-bit integer, `thumbnail` 8 rows of 9 grey levels."""

    brightness: float
    contrast: float
    sharpness: float
    dhash: int
    thumbnail: bytes


def measure(greys: Sequence[np.ndarray]) -> list[Figures]:
    """Measures grey images, each uint8 of shape (height, width).

    The hash is the difference hash (N. Krawetz, "Kind of Like That", 2013): of an 8 by 9 reduction, whether
    each pixel is brighter than its left neighbour. Scaled or recompressed copies of a picture hash alike.
    The sharpness of images above 32,768 pixels is estimated from evenly spaced rows.
    """
    figures: list[Figures | None] = [None] * len(greys)
    stacks: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for index, grey in enumerate(greys):
        if grey.size <= _STACKED_PIXELS:
            stacks[grey.shape].append(index)
        else:
            figures[index] = _measure_blocks(grey)
    for indices in stacks.values():
        for start in range(0, len(indices), _STACK):
            part = indices[start : start + _STACK]
            for index, measured in zip(part, _measure_stack(np.stack([greys[i] for i in part])), strict=True):
                figures[index] = measured
    return figures  # type: ignore[return-value]  # every index was filled


def _measure_stack(stack: np.ndarray) -> list[Figures]:
    _, height, width = stack.shape
    values = stack.astype(np.int32)
    flat = values.reshape(len(values), -1)
    totals = flat.sum(axis=1)
    squares = np.einsum("ij,ij->i", flat, flat)
    across = np.abs(values[:, :, 1:] - values[:, :, :-1]).sum(axis=(1, 2))
    down = np.abs(values[:, 1:] - values[:, :-1]).sum(axis=(1, 2))
    reduced = _weights(height, 8) @ stack.astype(np.float32) @ _weights(width, 9).T
    sums = zip(
        totals.tolist(), squares.tolist(), (across + down).tolist(), *_signatures(reduced), strict=True
    )
    return [_figures(height, width, *one) for one in sums]


def _measure_blocks(grey: np.ndarray) -> Figures:
    height, width = grey.shape
    squares = 0.0
    reduced = np.zeros((8, 9), np.float32)
    tall, wide = _weights(height, 8), _weights(width, 9).T
    # Blocks of rows keep the working memory small, and in the processor's cache, whatever the size.
    rows = max(1, _BLOCK_PIXELS // width)
    for top in range(0, height, rows):
        block = grey[top : top + rows].astype(np.float32)
        flat = block.ravel()
        squares += float(flat @ flat)
        reduced += (tall[:, top : top + rows] @ block) @ wide
    total = float(reduced.mean(dtype=np.float64)) * height * width  # equal cells: their mean is that of all
    (dhash,), (thumbnail,) = _signatures(reduced[None])
    return _figures(height, width, total, squares, _differences(grey), dhash, thumbnail)


def _differences(grey: np.ndarray) -> float:
    """Sum of the absolute differences of neighbours, estimated from evenly spaced rows of large images."""
    height = len(grey)
    step = max(1, grey.size // _SAMPLED_PIXELS)
    # Runs over several rows at once are twice as fast as row by row; the steps from row end to row start
    # come off again.
    upper = grey[::step]
    flat = upper.ravel()
    across = _distance(flat[1:], flat[:-1]) - _distance(upper[1:, 0], upper[:-1, -1])
    scaled = across * height / len(upper)
    if height == 1:
        return scaled
    lower = grey[1::step]
    return scaled + _distance(lower, upper[: len(lower)]) * (height - 1) / len(lower)


def _distance(first: np.ndarray, second: np.ndarray) -> int:
    """Sum of absolute differences of bytes, in bytes: a fifth of the time that it takes in float32."""
    return int(
        np.add.reduce(np.maximum(first, second) - np.minimum(first, second), axis=None, dtype=np.uint32)
    )


def _figures(
    height: int,
    width: int,
    total: float,
    squares: float,
    differences: float,
    dhash: int,
    thumbnail: bytes,
) -> Figures:
    count = height * width
    mean = total / count
    contrast = max(0.0, squares / count - mean * mean) ** 0.5
    neighbours = (width - 1) * height + width * (height - 1)
    sharpness = differences / neighbours if neighbours else 0.0
    return Figures(mean / 255, contrast / 255, sharpness / 255, dhash, thumbnail)


def _signatures(reduced: np.ndarray) -> tuple[list[int], list[bytes]]:
    """Difference hashes and thumbnails of reductions, float32 (n, 8, 9)."""
    # Whole levels: in a plain area the rounding of the sums must not decide what is brighter.
    levels = np.rint(reduced)
    bits = (levels[:, :, 1:] > levels[:, :, :-1]).reshape(len(levels), 64)
    hashes = np.packbits(bits, axis=1).view(">u8").ravel().tolist()
    return hashes, [thumbnail.tobytes() for thumbnail in levels.astype(np.uint8)]


@lru_cache(maxsize=64)
def _weights(size: int, cells: int) -> np.ndarray:
    """The share of each of `size` pixels in the mean of each of `cells` equal cells: (cells, size)."""
    edges = np.linspace(0, size, cells + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.maximum(overlap, 0) * (cells / size)).astype(np.float32)
