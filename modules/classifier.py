"""The trained model: scaling, network and head in one Keras model from pixels to logits."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from modules.architectures import registry
from modules.errors import InputError
from modules.settings import ModelSettings, PixelSettings


def units(model: ModelSettings, classes: int) -> int:
    """Output units of the head: 1 for a sigmoid, else one a class.

    Raises:
      InputError: when a sigmoid head is asked for with more than two classes.
    """
    if model.head == "sigmoid" and classes != 2:
        raise InputError(
            f"model.head: sigmoid needs two classes; the data has {classes}. Use softmax or auto."
        )
    return 1 if model.head == "sigmoid" or (model.head == "auto" and classes == 2) else classes


def build_network(model: ModelSettings, pixels: PixelSettings, classes: int) -> keras.Model:
    """The chosen network with its head.

    Returns:
      Model from float32 (batch, height, width, channels), scaled, to logits (batch, units).

    Raises:
      ValueError: when the network cannot take images of that size, or the head does not fit.
    """
    # float32 also where the network computes in less: a softmax over half precision loses the small ones.
    head = [keras.layers.Dense(units(model, classes), name="logits", dtype="float32")]
    architecture = registry.get(model.architecture)
    shape = (*pixels.image_size, pixels.channels)
    try:
        return architecture.build(model.options, shape, head)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        raise ValueError(
            f"{model.architecture} cannot be built for images of {shape[0]}x{shape[1]}x{shape[2]} "
            f"(data.image_size, data.channels): {_reason(error)}"
        ) from error


def _reason(error: Exception) -> str:
    """The line of Keras' message that says what was wrong, not the one that says where Keras was."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # Keras prints some of its messages in bold
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return next((line for line in lines if not line.startswith("Exception encountered")), "no reason given")


def build_classifier(
    model: ModelSettings, pixels: PixelSettings, classes: int, scale: np.ndarray, offset: np.ndarray
) -> keras.Model:
    """The network behind its scaling.

    Args:
      scale, offset: float32 (channels,); the network sees `pixels * scale + offset`.

    Returns:
      Model from pixels of 0 to 255, uint8 or float32 (batch, height, width, channels), to logits
      float32 (batch, units). A network that scales pixels itself gets them as they are.
    """
    inputs = keras.Input((*pixels.image_size, pixels.channels), name="pixels")
    if registry.get(model.architecture).raw_pixels:
        scale, offset = np.ones_like(scale), np.zeros_like(offset)
    scaling = keras.layers.Rescaling(_figure(scale), _figure(offset), name="scaling", dtype="float32")
    outputs = build_network(model, pixels, classes)(scaling(inputs))
    return keras.Model(inputs, outputs, name="classifier")


def _figure(values: np.ndarray) -> float | list[float]:
    """One number where all channels have the same: three would be broadcast, as slow as decoding a JPEG."""
    return float(values[0]) if np.all(values == values[0]) else values.tolist()


@contextlib.contextmanager
def computing_in(precision: str) -> Iterator[None]:
    """Layers made inside compute in `float32`, `bfloat16` or `float16`; their variables stay float32.

    Source: Micikevicius et al., "Mixed Precision Training", 2018.
    """
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision if precision == "float32" else f"mixed_{precision}")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def compute_in_float32(model: keras.Model) -> None:
    """Makes a model compute in float32, whatever it was trained in: CPUs that serve it are slow at less."""
    for layer in model._flatten_layers():
        layer.dtype_policy = "float32"


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Probabilities float32 (batch, classes) of logits (batch, units); one unit means the second class."""
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        positive = tf.sigmoid(logits)
        return tf.concat([1 - positive, positive], axis=-1)
    return tf.nn.softmax(logits)
