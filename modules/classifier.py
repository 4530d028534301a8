"""The trained model: scaling, network and head in one Keras model from pixels to logits."""

from __future__ import annotations

import re

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
    head = [keras.layers.Dense(units(model, classes), name="logits")]
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
      float32 (batch, units).
    """
    inputs = keras.Input((*pixels.image_size, pixels.channels), name="pixels")
    scaled = keras.layers.Rescaling(scale.tolist(), offset.tolist(), name="scaling")(inputs)
    outputs = build_network(model, pixels, classes)(scaled)
    return keras.Model(inputs, outputs, name="classifier")


def probabilities(logits: tf.Tensor) -> tf.Tensor:
    """Probabilities float32 (batch, classes) of logits (batch, units); one unit means the second class."""
    logits = tf.cast(logits, tf.float32)
    if logits.shape[-1] == 1:
        positive = tf.sigmoid(logits)
        return tf.concat([1 - positive, positive], axis=-1)
    return tf.nn.softmax(logits)


def loss_and_metrics(head_units: int) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
    """Loss and metrics that fit a head of that many units, for labels given as class indices."""
    if head_units == 1:
        # Logits above 0 are probabilities above one half.
        return keras.losses.BinaryCrossentropy(from_logits=True), [
            keras.metrics.BinaryAccuracy(threshold=0.0, name="accuracy")
        ]
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True), [
        keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    ]
