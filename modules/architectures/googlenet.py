"""`googlenet`: a stem and nine inception modules, for photos; a quarter of the weights of `resnet50`.

Source: Szegedy et al., "Going Deeper with Convolutions", 2015, table 1: every convolution with bias and relu,
no batch norm. Left out are the two auxiliary heads, and the local response normalisation of figure 3, which
table 1 does not list: it has no weights, and changes activations around 1 by a ten-thousandth.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras

# Filters of a module, in the columns of table 1: 1x1; 3x3 reduce, 3x3; 5x5 reduce, 5x5; pool projection.
_STAGES = (
    {
        "3a": (64, 96, 128, 16, 32, 32),
        "3b": (128, 128, 192, 32, 96, 64),
    },
    {
        "4a": (192, 96, 208, 16, 48, 64),
        "4b": (160, 112, 224, 24, 64, 64),
        "4c": (128, 128, 256, 24, 64, 64),
        "4d": (112, 144, 288, 32, 64, 64),
        "4e": (256, 160, 320, 32, 128, 128),
    },
    {
        "5a": (256, 160, 320, 32, 128, 128),
        "5b": (384, 192, 384, 48, 128, 128),
    },
)


@register("googlenet")
def googlenet(
    options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]
) -> keras.Model:
    """The stem and the nine inception modules of GoogLeNet, global average pool, dropout 0.5."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape)
    x = _convolution(64, 7, inputs, strides=2)
    x = _halve(x)
    x = _convolution(64, 1, x)
    x = _convolution(192, 3, x)
    for stage in _STAGES:
        x = _halve(x)
        for name, filters in stage.items():
            x = _inception(x, filters, f"inception_{name}")
    x = layers.GlobalAveragePooling2D()(x)
    x = layers.Dropout(0.5)(x)
    for layer in head:
        x = layer(x)
    return keras.Model(inputs, x, name="googlenet")


def _inception(
    x: keras.KerasTensor, filters: tuple[int, int, int, int, int, int], name: str
) -> keras.KerasTensor:
    from keras import layers

    one, reduce_three, three, reduce_five, five, projection = filters
    branches = [
        _convolution(one, 1, x),
        _convolution(three, 3, _convolution(reduce_three, 1, x)),
        _convolution(five, 5, _convolution(reduce_five, 1, x)),
        _convolution(projection, 1, layers.MaxPooling2D(3, strides=1, padding="same")(x)),
    ]
    return layers.Concatenate(name=name)(branches)


def _convolution(filters: int, size: int, x: keras.KerasTensor, strides: int = 1) -> keras.KerasTensor:
    from keras import layers

    return layers.Conv2D(filters, size, strides=strides, padding="same", activation="relu")(x)


def _halve(x: keras.KerasTensor) -> keras.KerasTensor:
    from keras import layers

    return layers.MaxPooling2D(3, strides=2, padding="same")(x)
