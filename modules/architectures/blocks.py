"""Runs of layers that several families share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import keras


def conv_stage(filters: int, convolutions: int, pool_stride: int = 2) -> list[keras.Layer]:
    """That many 3x3 same convolutions with relu, then a 2x2 max pool; the stage of VGG networks.

    Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition",
    2015, section 2.1.
    """
    from keras import layers

    stage = [layers.Conv2D(filters, 3, padding="same", activation="relu") for _ in range(convolutions)]
    return [*stage, layers.MaxPooling2D(2, strides=pool_stride)]


def dense_between_dropouts(units: int, **dense: Any) -> list[keras.Layer]:
    """Dropout .5, dense with relu, dropout .5: what stands between features (batch, n) and the head.

    Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting", 2014.

    Args:
      units: units of the dense layer.
      dense: further arguments of the dense layer.
    """
    from keras import layers

    return [layers.Dropout(0.5), layers.Dense(units, activation="relu", **dense), layers.Dropout(0.5)]
