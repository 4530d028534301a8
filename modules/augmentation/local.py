"""Augmentations of neighbourhoods: blur, covered rectangles, local contrast."""

from __future__ import annotations

import keras
from keras import ops

from modules.augmentation import steps
from modules.augmentation.histograms import equalized_in_tiles, luma
from modules.augmentation.layer import AugmentationLayer, Tensor, augments, clip


@augments(steps.Blur)
class Blur(AugmentationLayer):
    """Keras' RandomGaussianBlur has one deviation for the batch, and darkens the borders.

    Blurring along an axis is a product with a matrix of Gaussian weights; its rows sum to 1, so that pixels
    beyond the border count for nothing.
    """

    def augment(self, images: Tensor) -> Tensor:
        sigma = self.uniform(images, *self.settings.sigma)[:, :, :, 0]
        height, width, channels = images.shape[1:]
        rows = ops.reshape(images, (-1, height, width * channels))
        rows = ops.matmul(self._weights(height, sigma), rows)
        columns = ops.transpose(ops.reshape(rows, (-1, height, width, channels)), (0, 2, 1, 3))
        columns = ops.reshape(columns, (-1, width, height * channels))
        columns = ops.matmul(self._weights(width, sigma), columns)
        # Sums of weights may exceed 1 by a rounding.
        return clip(ops.transpose(ops.reshape(columns, (-1, width, height, channels)), (0, 2, 1, 3)))

    @staticmethod
    def _weights(length: int, sigma: Tensor) -> Tensor:
        place = ops.arange(length, dtype="float32")
        distance = (place[:, None] - place) / sigma
        return ops.softmax(-ops.square(distance) / 2, axis=-1)


@augments(steps.CoarseDropout)
class CoarseDropout(AugmentationLayer):
    """Keras' RandomErasing has one rectangle."""

    def augment(self, images: Tensor) -> Tensor:
        fewest, most = self.settings.holes
        count = ops.floor(self.uniform(images, fewest, most + 1))
        shown = ops.arange(most, dtype="float32") < count[:, 0, 0]  # (batch, holes)
        height, width = images.shape[1:3]
        rows = self._spans(images, height) & shown[:, :, None]
        columns = self._spans(images, width)
        covered = ops.any(rows[:, :, :, None] & columns[:, :, None, :], axis=1)
        return ops.where(covered[..., None], self.settings.fill_value, images)

    def _spans(self, images: Tensor, length: int) -> Tensor:
        """For each hole a stretch of an axis, boolean (batch, holes, length)."""
        shape = (ops.shape(images)[0], self.settings.holes[1], 1)
        size = keras.random.uniform(shape, *self.settings.size, dtype="float32", seed=self.random)
        start = (1 - size) * keras.random.uniform(shape, dtype="float32", seed=self.random)
        place = (ops.arange(length, dtype="float32") + 0.5) / length
        return (place >= start) & (place < start + size)


@augments(steps.Clahe)
class Clahe(AugmentationLayer):
    """Keras' ContrastLimitedAdaptiveHistogramEqualization, on the brightness and in little memory.

    The layer of Keras counts with one-hot vectors of 256, 4.9 GB for 32 images of 224x224x3, and equalizes
    each channel for itself, which changes the hues. On grey images the two give the same.
    """

    def augment(self, images: Tensor) -> Tensor:
        brightness = luma(images)[..., 0]
        clip_limit = self.uniform(images, *self.settings.clip_limit)[..., 0]
        change = equalized_in_tiles(brightness, clip_limit, *self.settings.tiles) - ops.floor(brightness)
        return clip(images + change[..., None])
