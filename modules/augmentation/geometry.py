"""Augmentations that move pixels: flips, turns, shift, zoom, crops."""

from __future__ import annotations

import math

import keras
from keras import ops

from modules.augmentation import steps
from modules.augmentation.layer import AugmentationLayer, KerasLayer, Tensor, augments, clip


@augments(steps.HorizontalFlip)
class HorizontalFlip(AugmentationLayer):
    """Keras' RandomFlip flips half of the images whatever is wanted; `apply` chooses here."""

    def augment(self, images: Tensor) -> Tensor:
        return ops.flip(images, axis=2)


@augments(steps.VerticalFlip)
class VerticalFlip(AugmentationLayer):
    """As `HorizontalFlip`, upside down."""

    def augment(self, images: Tensor) -> Tensor:
        return ops.flip(images, axis=1)


@augments(steps.QuarterTurn)
class QuarterTurn(AugmentationLayer):
    """Turns without interpolation."""

    def augment(self, images: Tensor) -> Tensor:
        half = ops.flip(images, axis=(1, 2))
        if images.shape[1] != images.shape[2]:
            return half
        left = ops.flip(ops.transpose(images, (0, 2, 1, 3)), axis=1)
        turns = self.uniform(images, 0.0, 3.0)
        # The third turn is the first one upside down.
        quarter = ops.where(turns < 1, left, ops.flip(left, axis=(1, 2)))
        return ops.where(turns < 2, quarter, half)


@augments(steps.Rotation)
class Rotation(KerasLayer):
    """Keras' RandomRotation."""

    def __init__(self, settings: steps.Rotation):
        super().__init__(settings)
        self.wrapped = keras.layers.RandomRotation(
            settings.degrees / 360,
            fill_mode=settings.fill,
            fill_value=settings.fill_value,
            seed=0,
            dtype="float32",
        )


@augments(steps.Shift)
class Shift(KerasLayer):
    """Keras' RandomTranslation."""

    def __init__(self, settings: steps.Shift):
        super().__init__(settings)
        self.wrapped = keras.layers.RandomTranslation(
            settings.vertical,
            settings.horizontal,
            fill_mode=settings.fill,
            fill_value=settings.fill_value,
            seed=0,
            dtype="float32",
        )


@augments(steps.Zoom)
class Zoom(KerasLayer):
    """Keras' RandomZoom, whose factor is the step in the source a pixel of the result, less 1."""

    def __init__(self, settings: steps.Zoom):
        super().__init__(settings)
        smallest, greatest = settings.scale
        self.wrapped = keras.layers.RandomZoom(
            (1 / greatest - 1, 1 / smallest - 1),
            fill_mode=settings.fill,
            fill_value=settings.fill_value,
            seed=0,
            dtype="float32",
        )


def affine(images: Tensor, rows: tuple[Tensor, ...], fill: str, fill_value: float) -> Tensor:
    """Takes each pixel (x, y) of the result from (a x + b y + c, d x + e y + f) of the source, bilinearly.

    Args:
      images: (batch, height, width, channels).
      rows: a, b, c, d, e, f, each (batch, 1, 1, 1).
      fill: what lies around the source: `reflect`, `nearest`, `wrap` or `constant`.
      fill_value: level of the constant.
    """
    flat = [ops.reshape(row, (-1, 1)) for row in rows]
    perspective = ops.zeros_like(flat[0])
    matrix = ops.concatenate([*flat, perspective, perspective], axis=1)
    return clip(ops.image.affine_transform(images, matrix, "bilinear", fill, fill_value))


def about_center(images: Tensor, a: Tensor, b: Tensor, d: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
    """The offsets c and f with which `affine` leaves the centre of the image where it is."""
    x, y = (images.shape[2] - 1) / 2, (images.shape[1] - 1) / 2
    return x - a * x - b * y, y - d * x - e * y


@augments(steps.ShiftScaleRotate)
class ShiftScaleRotate(AugmentationLayer):
    """One interpolation in place of three, which would blur."""

    def augment(self, images: Tensor) -> Tensor:
        options = self.settings
        height, width = images.shape[1:3]
        angle = self.around(images, 0.0, math.radians(options.degrees))
        # Twice as large is as likely as half as large.
        scale = ops.exp(self.uniform(images, *map(math.log, options.scale)))
        cosine, sine = ops.cos(angle) / scale, ops.sin(angle) / scale
        x, y = about_center(images, cosine, -sine, sine, cosine)
        x = x + width * self.around(images, 0.0, options.shift)
        y = y + height * self.around(images, 0.0, options.shift)
        return affine(images, (cosine, -sine, x, sine, cosine, y), options.fill, options.fill_value)


@augments(steps.RandomCrop)
class RandomCrop(AugmentationLayer):
    """Keras' RandomCrop cuts one size at one place for the whole batch."""

    def augment(self, images: Tensor) -> Tensor:
        area = self.uniform(images, *self.settings.area)
        ratio = ops.exp(self.uniform(images, *map(math.log, self.settings.aspect_ratio)))
        zero = ops.zeros_like(area)
        down = self._axis(images, images.shape[1], ops.sqrt(area / ratio))
        across = self._axis(images, images.shape[2], ops.sqrt(area * ratio))
        return affine(images, (across[0], zero, across[1], zero, *down), "nearest", 0.0)

    def _axis(self, images: Tensor, length: int, part: Tensor) -> tuple[Tensor, Tensor]:
        """Scale and offset that spread a part of an axis, somewhere on it, over the whole."""
        part = ops.minimum(part, 1.0)
        start = length * (1 - part) * self.uniform(images, 0.0, 1.0)
        return part, start + (part - 1) / 2  # pixel centres lie at halves


@augments(steps.CenterCrop)
class CenterCrop(AugmentationLayer):
    """Keras' CenterCrop, resized back."""

    def augment(self, images: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        fraction = self.settings.fraction
        crop = keras.layers.CenterCrop(
            max(1, round(fraction * height)), max(1, round(fraction * width)), dtype="float32"
        )
        return clip(ops.image.resize(crop(images), (height, width), "bilinear"))
