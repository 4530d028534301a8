"""Losses, metrics and the form of the labels that go with a head."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from modules.errors import InputError
from modules.train_settings import TrainSettings


def loss_name(settings: TrainSettings, units: int, mixed: bool) -> str:
    """The loss that a head of that many units is trained with.

    Args:
      settings: `loss` and `label_smoothing`.
      units: outputs of the head; 1 is a sigmoid.
      mixed: whether an augmentation mixes labels.

    Raises:
      InputError: when the asked loss does not fit.
    """
    if units == 1:
        if settings.loss not in ("auto", "binary_crossentropy"):
            raise InputError(
                f"train.loss: {settings.loss} does not fit a head of one sigmoid unit; use "
                "binary_crossentropy or auto, or set model.head to softmax."
            )
        return "binary_crossentropy"
    if settings.loss == "binary_crossentropy":
        raise InputError(
            f"train.loss: binary_crossentropy does not fit a softmax head of {units} units; use auto."
        )
    soft = mixed or settings.label_smoothing > 0
    if settings.loss == "sparse_categorical_crossentropy" and mixed:
        raise InputError(
            "train.loss: sparse_categorical_crossentropy takes no mixed labels, which the augmentations "
            "mix_up and cut_mix make; use categorical_crossentropy or auto."
        )
    if settings.loss == "auto":
        return "categorical_crossentropy" if soft else "sparse_categorical_crossentropy"
    return settings.loss


def loss_and_metrics(
    name: str, settings: TrainSettings
) -> tuple[keras.losses.Loss, list[keras.metrics.Metric]]:
    """Loss and accuracy of that name over logits, for labels that `encoder` made."""
    options: dict[str, object] = {"from_logits": settings.loss_on == "logits"}
    if name == "sparse_categorical_crossentropy":
        inner: keras.losses.Loss = keras.losses.SparseCategoricalCrossentropy(**options)
        accuracy: keras.metrics.Metric = keras.metrics.SparseCategoricalAccuracy(name="accuracy")
    elif name == "categorical_crossentropy":
        inner = keras.losses.CategoricalCrossentropy(label_smoothing=settings.label_smoothing, **options)
        accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    else:
        inner = keras.losses.BinaryCrossentropy(label_smoothing=settings.label_smoothing, **options)
        accuracy = keras.metrics.MeanMetricWrapper(_sigmoid_accuracy, name="accuracy")
    return inner if settings.loss_on == "logits" else _OnProbabilities(inner, name), [accuracy]


def _sigmoid_accuracy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Right where both stand on the same side; a mixed label counts as its larger part."""
    return tf.cast(tf.equal(labels > 0.5, logits > 0), tf.float32)


class _OnProbabilities(keras.losses.Loss):
    """A loss over probabilities, given logits."""

    def __init__(self, inner: keras.losses.Loss, name: str):
        super().__init__(name=name)
        self._inner = inner
        self._activation = keras.ops.sigmoid if name == "binary_crossentropy" else keras.ops.softmax

    def call(self, y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
        return self._inner.call(y_true, self._activation(y_pred))


def encoder(name: str, classes: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Class indices int32 (n,) to what the loss wants.

    Returns:
      Function to int32 (n,) for the sparse loss, float32 (n, classes) for the categorical one, float32
      (n, 1) for the binary one.
    """
    if name == "sparse_categorical_crossentropy":
        return lambda labels: labels
    if name == "categorical_crossentropy":
        return lambda labels: tf.one_hot(labels, classes)
    return lambda labels: tf.cast(labels[:, None], tf.float32)


def class_weights(settings: TrainSettings, labels: np.ndarray, class_names: list[str]) -> np.ndarray | None:
    """Weight of each class in the loss.

    Args:
      settings: `class_weights`.
      labels: int (n,), class indices of the training split.
      class_names: names in the order of the index.

    Returns:
      float32 (classes,), or None when all weigh the same. Balanced weights are
      n / (classes * images of the class), which is 1 on average over the images.

    Raises:
      InputError: when a table names a class that does not exist.
    """
    if settings.class_weights == "none":
        return None
    if settings.class_weights == "balanced":
        counts = np.bincount(labels, minlength=len(class_names))
        return (len(labels) / (len(class_names) * np.maximum(counts, 1))).astype(np.float32)
    unknown = sorted(set(settings.class_weights) - set(class_names))
    if unknown:
        raise InputError(
            f"train.class_weights: there is no class {unknown[0]!r}; the data has {', '.join(class_names)}."
        )
    return np.array([settings.class_weights.get(name, 1.0) for name in class_names], np.float32)
