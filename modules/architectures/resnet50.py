"""`resnet50`: fifty layers in bottleneck blocks with shortcuts, for photos.

Source: He et al., "Deep Residual Learning for Image Recognition", 2016, table 1, with the stride in the
first 1x1 convolution of a stage. Its layers are those of `keras.applications.ResNet50`, one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.architectures.blocks import dense_between_dropouts
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras

# Blocks of the stages conv2 to conv5.
_BLOCKS = (3, 4, 6, 3)


@register("resnet50")
def resnet50(
    options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]
) -> keras.Model:
    """Bottleneck stages of 3, 4, 6 and 3 blocks, global average pool, dense 200, dropout 0.5."""
    import keras
    from keras import layers

    inputs = keras.Input(input_shape)
    # Equal zeros on all sides: "same" with a stride would put more of them below and to the right.
    x = layers.ZeroPadding2D(3)(inputs)
    x = layers.ReLU()(_convolution(x, 64, 7, strides=2, padding="valid"))
    x = layers.ZeroPadding2D(1)(x)
    x = layers.MaxPooling2D(3, strides=2)(x)
    for stage, blocks in enumerate(_BLOCKS):
        for block in range(blocks):
            strides = 2 if stage > 0 and block == 0 else 1
            x = _bottleneck(x, 64 * 2**stage, strides, project=block == 0)
    x = layers.GlobalAveragePooling2D()(x)
    for layer in [*dense_between_dropouts(200), *head]:
        x = layer(x)
    return keras.Model(inputs, x, name="resnet50")


def _bottleneck(x: keras.KerasTensor, filters: int, strides: int, project: bool) -> keras.KerasTensor:
    """1x1, 3x3 and 1x1 convolution to four times the filters, added to the input or its projection."""
    from keras import layers

    shortcut = _convolution(x, 4 * filters, 1, strides) if project else x
    x = layers.ReLU()(_convolution(x, filters, 1, strides))
    x = layers.ReLU()(_convolution(x, filters, 3))
    x = _convolution(x, 4 * filters, 1)
    return layers.ReLU()(layers.Add()([shortcut, x]))


def _convolution(
    x: keras.KerasTensor, filters: int, size: int, strides: int = 1, padding: str = "same"
) -> keras.KerasTensor:
    """Convolution with batch norm; the caller says whether a relu follows."""
    from keras import layers

    x = layers.Conv2D(filters, size, strides=strides, padding=padding)(x)
    # The epsilon of `keras.applications`, so that its weights give its answers.
    return layers.BatchNormalization(epsilon=1.001e-5)(x)
