"""Augmentations that mix the images of a batch, and their labels in the same proportion."""

from __future__ import annotations

import keras
from keras import ops

from modules.augmentation import steps
from modules.augmentation.layer import AugmentationLayer, Tensor, augments, clip


@augments(steps.MixUp)
class MixUp(AugmentationLayer):
    """Keras' MixUp."""

    def __init__(self, settings: steps.MixUp):
        super().__init__(settings)
        self.wrapped = keras.layers.MixUp(settings.alpha, seed=0, dtype="float32")
        self.wrapped.built = True  # it has nothing to build, and is not called as a layer

    def call(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        mix = self.wrapped.get_random_transformation(images)
        mix["mix_weight"] = _finite(mix["mix_weight"])
        return (
            clip(self.wrapped.transform_images(images, mix)),  # two weights may sum to a bit more than 1
            self.wrapped.transform_labels(ops.cast(labels, "float32"), mix),
        )


@augments(steps.CutMix)
class CutMix(AugmentationLayer):
    """Keras' CutMix draws one alpha for the batch, and its labels miss the share of pixels by up to a row."""

    def call(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        batch, height, width = ops.shape(images)[0], *images.shape[1:3]
        order = keras.random.shuffle(ops.arange(batch, dtype="int32"), seed=self.random)
        alpha = self.settings.alpha
        kept = _finite(keras.random.beta((batch, 1, 1, 1), alpha, alpha, dtype="float32", seed=self.random))
        side = ops.sqrt(1 - kept)
        rows = self._span(images, height, side)[:, :, None, None]
        columns = self._span(images, width, side)[:, None, :, None]
        pasted = rows & columns
        share = ops.mean(ops.cast(pasted, "float32"), axis=(1, 2))
        labels = ops.cast(labels, "float32")
        return (
            ops.where(pasted, ops.take(images, order, axis=0), images),
            labels + share * (ops.take(labels, order, axis=0) - labels),
        )

    def _span(self, images: Tensor, length: int, side: Tensor) -> Tensor:
        """A stretch of that part of an axis, about any of its pixels and cut at the ends: (batch, length)."""
        middle = length * self.uniform(images, 0.0, 1.0)
        distance = ops.arange(length, dtype="float32") + 0.5 - middle
        return (ops.abs(distance) < length * side / 2)[:, 0, 0, :]


def _finite(weight: Tensor) -> Tensor:
    # For a small alpha both gamma variates behind a beta variate may underflow, and 0 / 0 is no number.
    return ops.where(ops.isfinite(weight), weight, ops.ones_like(weight))
