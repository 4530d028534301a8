"""Brightness, and its equalization by histograms: over the image, or in tiles (CLAHE)."""

from __future__ import annotations

from keras import ops

from modules.augmentation.layer import Tensor


def luma(images: Tensor) -> Tensor:
    """ITU-R 601-2 luma (batch, height, width, 1) of images of 1 or 3 channels."""
    if images.shape[-1] == 1:
        return images
    red, green, blue = ops.split(images, 3, axis=-1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def equalized(levels: Tensor) -> Tensor:
    """Histogram equalization of (batch, height, width), 0 to 255, each image for itself."""
    height, width = levels.shape[1:]
    image = ops.arange(ops.shape(levels)[0], dtype="int32")[:, None, None]
    level = ops.cast(levels, "int32")
    tables = _table(_counts(level, ops.zeros((1, 1), dtype="int32"), 1), height * width)
    return ops.take(ops.reshape(tables, (-1,)), image * 256 + level)


def equalized_in_tiles(levels: Tensor, clip_limit: Tensor, down: int, across: int) -> Tensor:
    """CLAHE (Zuiderveld 1994, in Graphics Gems IV).

    Args:
      levels: (batch, height, width), 0 to 255.
      clip_limit: (batch, 1, 1); what a bin holds above that many times the mean goes to all bins.
      down, across: number of tiles along each side.

    Returns:
      (batch, height, width), 0 to 255.
    """
    height, width = levels.shape[1:]
    tile_height, tile_width = -(-height // down), -(-width // across)
    tiles, pixels = down * across, tile_height * tile_width
    padding = [[0, 0], [0, tile_height * down - height], [0, tile_width * across - width]]
    padded = ops.cast(ops.pad(levels, padding, mode="symmetric"), "int32")

    row = ops.arange(tile_height * down, dtype="int32") // tile_height
    column = ops.arange(tile_width * across, dtype="int32") // tile_width
    histograms = _counts(padded, row[:, None] * across + column, tiles)  # (batch, tiles, 256)
    clipped = ops.minimum(histograms, clip_limit * pixels / 256)
    clipped += ops.sum(histograms - clipped, axis=-1, keepdims=True) / 256
    tables = ops.reshape(_table(clipped, pixels), (-1,))

    # Each pixel between the centres of four tiles takes the mean of what the four make of its level.
    y, x = _between(height, tile_height), _between(width, tile_width)
    image = ops.arange(ops.shape(levels)[0], dtype="int32")[:, None, None] * tiles
    level = ops.cast(levels, "int32")
    result = 0.0
    for row, row_weight in _neighbours(y, down):
        for column, column_weight in _neighbours(x, across):
            tile = row[:, None] * across + column
            weight = row_weight[:, None] * column_weight
            result += weight * ops.take(tables, (image + tile) * 256 + level)
    return result


def _between(length: int, tile: int) -> Tensor:
    """Where each pixel lies, in tiles, from the centre of the first."""
    return ops.arange(length, dtype="float32") / tile - 0.5


def _neighbours(place: Tensor, tiles: int) -> list[tuple[Tensor, Tensor]]:
    """The tile before and the tile behind each place, with their weights."""
    before = ops.floor(place)
    behind_weight = place - before
    return [
        (ops.cast(ops.clip(before, 0, tiles - 1), "int32"), 1 - behind_weight),
        (ops.cast(ops.clip(before + 1, 0, tiles - 1), "int32"), behind_weight),
    ]


def _counts(levels: Tensor, region: Tensor, regions: int) -> Tensor:
    """Histograms of the regions of each image.

    Args:
      levels: int32 (batch, height, width), 0 to 255.
      region: int32, broadcast to (height, width), the region of each pixel.
      regions: how many there are.

    Returns:
      (batch, regions, 256).
    """
    batch = ops.shape(levels)[0]
    image = ops.arange(batch, dtype="int32")[:, None, None] * regions
    bins = ops.reshape((image + region) * 256 + levels, (-1,))
    found = ops.segment_sum(ops.ones_like(bins, dtype="float32"), bins, batch * regions * 256)
    return ops.reshape(found, (batch, regions, 256))


def _table(histograms: Tensor, pixels: int) -> Tensor:
    """For each level the one that makes all levels as frequent; histograms (..., 256) of so many pixels."""
    below = ops.cumsum(histograms, axis=-1)
    first = below[..., :1]
    # A region of level 0 alone has nothing to spread.
    return ops.clip((below - first) * 255 / ops.maximum(pixels - first, 1e-3), 0.0, 255.0)
