"""`rgb_cnn`: six convolutions in three stages, for small colour images such as CIFAR-10.

Source: the stages of VGG (Simonyan and Zisserman, 2015) at a width for 32x32 pixels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.architectures.blocks import conv_stage, dense_between_dropouts
from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


@register("rgb_cnn")
def rgb_cnn(
    options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]
) -> keras.Model:
    """Three stages of two convolutions (32, 64, 128 filters) and max pool; dense 300, dropout 0.5."""
    from keras import layers

    stages = [
        layers.Conv2D(32, 5, activation="relu"),
        *conv_stage(32, 1),
        *conv_stage(64, 2),
        *conv_stage(128, 2),
        layers.Flatten(),
        *dense_between_dropouts(300),
    ]
    return chain([*stages, *head], input_shape, "functional", "rgb_cnn")
