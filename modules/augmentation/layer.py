"""The base of every augmentation layer, and the choice of the images that get it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from modules.augmentation.steps import Step

Tensor = Any  # of the Keras backend; float32 where nothing else is said

_layers: dict[type[Step], type[AugmentationLayer]] = {}


def augments(settings: type[Step]) -> Callable[[type[AugmentationLayer]], type[AugmentationLayer]]:
    """Decorator that makes a layer the implementation of a settings class."""

    def decorate(layer: type[AugmentationLayer]) -> type[AugmentationLayer]:
        _layers[settings] = layer
        return layer

    return decorate


def make(settings: Step) -> AugmentationLayer:
    """The layer of a step."""
    return _layers[type(settings)](settings)


class AugmentationLayer(keras.layers.Layer):
    """Changes every image of the batch; `apply` decides which images keep the change.

    A subclass implements `augment`, or `call` when it changes labels too. Amounts are drawn for each image
    from `self.random`, whose state is a variable: compiled steps and tf.data draw anew each time.

    Args:
      settings: its options.
    """

    def __init__(self, settings: Step):
        # Always float32: half precision has three digits for 256 levels. Labels are passed on as they are.
        super().__init__(dtype="float32", autocast=False)
        self.built = True  # weights are what `build` would make, and there are none
        self.settings = settings
        self.random = keras.random.SeedGenerator(0)

    def call(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (batch, height, width, channels) of 0 to 255 and labels, changed."""
        return self.augment(images), labels

    def augment(self, images: Tensor) -> Tensor:
        """Every image changed by an amount of its own; same shape, 0 to 255."""
        raise NotImplementedError

    def uniform(self, images: Tensor, low: float, high: float) -> Tensor:
        """A number for each image, shape (batch, 1, 1, 1)."""
        shape = (ops.shape(images)[0], 1, 1, 1)
        return keras.random.uniform(shape, low, high, dtype="float32", seed=self.random)

    def around(self, images: Tensor, center: float, amount: float) -> Tensor:
        """A number of `center` - `amount` to `center` + `amount` for each image, shape (batch, 1, 1, 1)."""
        return self.uniform(images, center - amount, center + amount)


class KerasLayer(AugmentationLayer):
    """Wraps one of Keras' own random layers, `self.wrapped`, which takes pixels of 0 to 255."""

    wrapped: keras.layers.Layer

    def augment(self, images: Tensor) -> Tensor:
        return clip(self.wrapped(images, training=True))


def clip(images: Tensor) -> Tensor:
    """Levels that left 0 to 255, if only by a rounding, brought back."""
    return ops.clip(images, 0.0, 255.0)


def apply(layer: AugmentationLayer, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Gives each image the augmentation with its probability."""
    probability = layer.settings.probability
    if probability == 0:
        return images, labels
    if probability == 1:
        return layer(images, labels)
    chosen = layer.uniform(images, 0.0, 1.0) < probability
    return choose(chosen, layer(images, labels), (images, labels))


def choose(
    chosen: Tensor, augmented: tuple[Tensor, Tensor], original: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Image by image the first pair or the second. `chosen` is boolean of shape (batch, 1, 1, 1)."""
    images = ops.where(chosen, augmented[0], original[0])
    if augmented[1] is original[1]:  # nothing in there mixes
        return images, original[1]
    return images, ops.where(chosen[:, :, 0, 0], augmented[1], original[1])
