"""RandAugment: operations drawn for each image, from one list and of one strength.

Keras' RandAugment draws for the whole batch, and computes all its operations for each one that it applies.
Here every image draws its own, and what operations have in common is computed once: all that move pixels are
one affine map, all that scale levels one product and sum.
"""

from __future__ import annotations

import math

from keras import ops

from modules.augmentation import steps
from modules.augmentation.geometry import about_center, affine
from modules.augmentation.histograms import equalized, luma
from modules.augmentation.layer import AugmentationLayer, Tensor, augments, clip

#: The list of the paper; behind each, what the greatest magnitude means.
OPERATIONS = (
    "identity",
    "rotate",  # 30 degrees
    "shear_x",  # 0.3
    "shear_y",
    "translate_x",  # 0.45 of the width
    "translate_y",
    "brightness",  # times 0.1 or 1.9
    "contrast",
    "color",
    "sharpness",
    "auto_contrast",  # no strength
    "posterize",  # 4 bits stay
    "solarize",  # from level 0
    "equalize",  # no strength
)
_GREATEST_MAGNITUDE = 30


@augments(steps.RandAugment)
class RandAugment(AugmentationLayer):
    """Applies `operations` of `OPERATIONS`, one after the other."""

    def augment(self, images: Tensor) -> Tensor:
        for _ in range(self.settings.operations):
            drawn = ops.floor(self.uniform(images, 0.0, float(len(OPERATIONS))))
            sign = ops.sign(self.uniform(images, -1.0, 1.0))
            images = _Drawn(drawn, sign, self.settings).apply(images)
        return images


class _Drawn:
    """One operation for each image; `drawn` and `sign` have shape (batch, 1, 1, 1)."""

    def __init__(self, drawn: Tensor, sign: Tensor, settings: steps.RandAugment):
        self._drawn = drawn
        self._sign = sign
        self._strength = settings.magnitude / _GREATEST_MAGNITUDE
        self._fill_value = settings.fill_value

    def apply(self, images: Tensor) -> Tensor:
        return clip(self._equalized(self._cut(self._blended(self._scaled(self._moved(images))))))

    def _is(self, operation: str) -> Tensor:
        return ops.equal(self._drawn, OPERATIONS.index(operation))

    def _amount(self, operation: str, greatest: float) -> Tensor:
        """The strength of an operation, either way: 0 for images that drew another."""
        return ops.where(self._is(operation), self._sign * self._strength * greatest, 0.0)

    def _moved(self, images: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        angle = self._amount("rotate", math.radians(30))
        a, b = ops.cos(angle), self._amount("shear_x", 0.3) - ops.sin(angle)
        d, e = self._amount("shear_y", 0.3) + ops.sin(angle), ops.cos(angle)
        x, y = about_center(images, a, b, d, e)
        x += self._amount("translate_x", 0.45 * width)
        y += self._amount("translate_y", 0.45 * height)
        return affine(images, (a, b, x, d, e, y), "constant", self._fill_value)

    def _scaled(self, images: Tensor) -> Tensor:
        """Brightness about black, contrast about the mean, auto contrast to the full range."""
        contrast = self._amount("contrast", 0.9)
        factor = 1 + self._amount("brightness", 0.9) + contrast
        offset = -contrast * ops.mean(luma(images), axis=(1, 2), keepdims=True)
        # Axis by axis: over both at once is ten times slower in TensorFlow.
        least = ops.min(ops.min(images, axis=1, keepdims=True), axis=2, keepdims=True)
        span = ops.max(ops.max(images, axis=1, keepdims=True), axis=2, keepdims=True) - least
        automatic = ops.logical_and(self._is("auto_contrast"), span > 0)
        stretch = 255 / ops.maximum(span, 1e-3)
        factor = ops.where(automatic, stretch, factor)
        return clip(images * factor + ops.where(automatic, -least * stretch, offset))

    def _blended(self, images: Tensor) -> Tensor:
        """Colour and sharpness: away from, or towards, an image without it."""
        factor = self._amount("color", 0.9) + self._amount("sharpness", 0.9)
        plain = ops.where(self._is("color"), luma(images), _smoothed(images))
        return clip(images + factor * (images - plain))

    def _cut(self, images: Tensor) -> Tensor:
        """Posterize: the lower bits go. Solarize: what is above a level becomes its negative."""
        # A float32 below 256 has no digits beyond 1/65536 that a picture needs.
        step = ops.where(self._is("posterize"), 2.0 ** round(4 * self._strength), 1 / 65536)
        images = step * ops.floor(images / step)
        level = ops.where(self._is("solarize"), 256 * (1 - self._strength), 256.0)
        return ops.where(images >= level, 255 - images, images)

    def _equalized(self, images: Tensor) -> Tensor:
        brightness = luma(images)[..., 0]
        change = equalized(brightness) - ops.floor(brightness)
        return ops.where(self._is("equalize"), images + change[..., None], images)


def _smoothed(images: Tensor) -> Tensor:
    """Pillow's SMOOTH: a pixel weighs 5, each of its eight neighbours 1."""
    window = ops.convert_to_tensor([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13
    kernel = ops.tile(window[:, :, None, None], (1, 1, images.shape[-1], 1))
    padded = ops.pad(images, [[0, 0], [1, 1], [1, 1], [0, 0]], mode="symmetric")
    return ops.depthwise_conv(padded, kernel, padding="valid")
