"""Augmentations of levels and colours: brightness, contrast, hue, channels, noise."""

from __future__ import annotations

import keras
from keras import ops

from modules.augmentation import steps
from modules.augmentation.layer import AugmentationLayer, Tensor, augments, clip


@augments(steps.BrightnessContrast)
class BrightnessContrast(AugmentationLayer):
    """Keras' RandomBrightness and RandomContrast."""

    def __init__(self, settings: steps.BrightnessContrast):
        super().__init__(settings)
        self.brightness = keras.layers.RandomBrightness(settings.brightness, seed=0, dtype="float32")
        # Given one number, the layer would only ever raise the contrast.
        contrast = (settings.contrast, settings.contrast)
        self.contrast = keras.layers.RandomContrast(contrast, seed=0, dtype="float32")

    def augment(self, images: Tensor) -> Tensor:
        return self.contrast(self.brightness(images, training=True), training=True)


@augments(steps.ColorJitter)
class ColorJitter(BrightnessContrast):
    """Keras' RandomColorJitter lets half precision in, and its saturation leaves the range of 0 to 255."""

    def augment(self, images: Tensor) -> Tensor:
        hue = self.around(images, 0.0, self.settings.hue_degrees / 360)
        saturation = self.around(images, 1.0, self.settings.saturation)
        return _in_hsv(super().augment(images), hue, saturation, 1.0)


@augments(steps.HueSaturationValue)
class HueSaturationValue(AugmentationLayer):
    """One conversion to HSV and back, where Keras' RandomHue and RandomSaturation take one each."""

    def augment(self, images: Tensor) -> Tensor:
        hue = self.around(images, 0.0, self.settings.hue_degrees / 360)
        saturation = self.around(images, 1.0, self.settings.saturation)
        return _in_hsv(images, hue, saturation, self.around(images, 1.0, self.settings.value))


def _in_hsv(images: Tensor, turn: Tensor, saturation_factor: Tensor, value_factor: Tensor | float) -> Tensor:
    """Hue turned by a part of the circle, saturation and value scaled; each (batch, 1, 1, 1)."""
    hue, saturation, value = ops.split(ops.image.rgb_to_hsv(images / 255), 3, axis=-1)
    hue = hue + turn
    hsv = [hue - ops.floor(hue), ops.minimum(saturation * saturation_factor, 1.0), value * value_factor]
    return clip(255 * ops.image.hsv_to_rgb(ops.concatenate(hsv, axis=-1)))


@augments(steps.ChannelShuffle)
class ChannelShuffle(AugmentationLayer):
    """Every order of the channels is as likely."""

    def augment(self, images: Tensor) -> Tensor:
        shape = (ops.shape(images)[0], 1, 1, images.shape[-1])
        order = ops.argsort(keras.random.uniform(shape, dtype="float32", seed=self.random), axis=-1)
        channels = ops.split(images, images.shape[-1], axis=-1)
        # Selects, as gathering along the last axis is many times slower.
        shuffled = channels[-1]
        for number, channel in enumerate(channels[:-1]):
            shuffled = ops.where(order == number, channel, shuffled)
        return shuffled


@augments(steps.GaussianNoise)
class GaussianNoise(AugmentationLayer):
    """Keras' GaussianNoise has one deviation for all images."""

    def augment(self, images: Tensor) -> Tensor:
        deviation = self.uniform(images, *self.settings.deviation)
        noise = keras.random.normal(ops.shape(images), dtype="float32", seed=self.random)
        return clip(images + deviation * noise)
