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
_STACK = 128


class Figures(NamedTuple):
    """As in `modules.features`; `dhash` is a 64-bit integer."""

    brightness: float
    contrast: float
    sharpness: float
    dhash: int


def measure(greys: Sequence[np.ndarray]) -> list[Figures]:
    """Measures grey images, each uint8 of shape (height, width).

    The hash is the difference hash (N. Krawetz, "Kind of Like That", 2013): of an 8 by 9 reduction, whether
    each pixel is brighter than its left neighbour. Scaled or recompressed copies of a picture hash alike.
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
    hashes = _hashes(reduced)
    return [
        _figures(height, width, *sums)
        for sums in zip(totals.tolist(), squares.tolist(), (across + down).tolist(), hashes, strict=True)
    ]


def _measure_blocks(grey: np.ndarray) -> Figures:
    height, width = grey.shape
    total = squares = differences = 0.0
    reduced = np.zeros((8, 9), np.float32)
    tall, wide = _weights(height, 8), _weights(width, 9).T
    # Blocks of rows stay in the processor's cache, and their sums of whole numbers exact in 32-bit floats.
    rows = max(1, _BLOCK_PIXELS // width)
    for top in range(0, height, rows):
        block = grey[top : top + rows + 1].astype(np.float32)  # and the row that follows
        inner = block[:rows]
        flat = inner.ravel()
        total += float(flat @ _ones(flat.size))
        squares += float(flat @ flat)
        # One run over all rows is twice as fast as row by row; the steps from row end to row start come off.
        across = flat[1:] - flat[:-1]
        differences += float(np.abs(across, out=across) @ _ones(across.size))
        differences -= float(np.abs(inner[1:, 0] - inner[:-1, -1]).sum())
        every = block.ravel()
        down = every[width:] - every[:-width]
        differences += float(np.abs(down, out=down) @ _ones(down.size))
        reduced += (tall[:, top : top + len(inner)] @ inner) @ wide
    return _figures(height, width, total, squares, differences, _hashes(reduced[None])[0])


@lru_cache(maxsize=64)
def _ones(count: int) -> np.ndarray:
    return np.ones(count, np.float32)


def _figures(
    height: int, width: int, total: float, squares: float, differences: float, dhash: int
) -> Figures:
    count = height * width
    mean = total / count
    contrast = max(0.0, squares / count - mean * mean) ** 0.5
    neighbours = (width - 1) * height + width * (height - 1)
    return Figures(mean / 255, contrast / 255, differences / neighbours / 255 if neighbours else 0.0, dhash)


def _hashes(reduced: np.ndarray) -> list[int]:
    # Whole levels: in a plain area the rounding of the sums must not decide what is brighter.
    levels = np.rint(reduced)
    bits = (levels[:, :, 1:] > levels[:, :, :-1]).reshape(len(levels), 64)
    return np.packbits(bits, axis=1).view(">u8").ravel().tolist()


@lru_cache(maxsize=64)
def _weights(size: int, cells: int) -> np.ndarray:
    """The share of each of `size` pixels in the mean of each of `cells` equal cells: (cells, size)."""
    edges = np.linspace(0, size, cells + 1)
    pixel = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    return (np.maximum(overlap, 0) * (cells / size)).astype(np.float32)
