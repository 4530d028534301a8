"""`bn_cnn`: six convolutions with batch norm and weight decay, for small colour images such as CIFAR-10.

Sources: Ioffe and Szegedy, "Batch Normalization", 2015, for the order convolution, batch norm, relu;
He et al., "Delving Deep into Rectifiers", 2015, for the initial weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.architectures.blocks import dense_between_dropouts
from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


@register("bn_cnn")
def bn_cnn(
    options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]
) -> keras.Model:
    """Three stages of two 3x3 convolutions with batch norm (64, 128, 256 filters), dense 300, L2 1e-5.

    The head keeps Glorot's initial weights, since no relu follows it.
    """
    import keras
    from keras import layers

    he = {"kernel_initializer": "he_normal", "kernel_regularizer": keras.regularizers.L2(1e-5)}

    def convolution(filters: int) -> list[keras.Layer]:
        return [
            layers.Conv2D(filters, 3, padding="same", **he),
            layers.BatchNormalization(),
            layers.ReLU(),
        ]

    stages: list[keras.Layer] = []
    for filters in (64, 128, 256):
        stages += [*convolution(filters), *convolution(filters), layers.MaxPooling2D(2)]
    stages += [layers.GlobalAveragePooling2D(), *dense_between_dropouts(300, **he)]
    return chain([*stages, *head], input_shape, "functional", "bn_cnn")
