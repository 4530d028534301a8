"""`vgg16`: thirteen 3x3 convolutions in five stages, for photos.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2015,
configuration D. Global average pool and one small dense layer replace the two dense layers of 4096.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from modules.architectures.blocks import conv_stage, dense_between_dropouts
from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


class Options(NetworkOptions):
    first_pool_stride: Literal[1, 2] = Field(
        2,
        description=(
            "Stride of the first max pool: 2 as published; 1 keeps twice the resolution behind it, for small "
            "images, at four times the work."
        ),
    )


@register("vgg16", options=Options)
def vgg16(options: Options, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """The 13 convolutions of VGG-16, global average pool, dense 120, dropout 0.5; 32x32 pixels or more."""
    from keras import layers

    stages = [
        *conv_stage(64, 2, pool_stride=options.first_pool_stride),
        *conv_stage(128, 2),
        *conv_stage(256, 3),
        *conv_stage(512, 3),
        *conv_stage(512, 3),
        layers.GlobalAveragePooling2D(),
        *dense_between_dropouts(120),
    ]
    return chain([*stages, *head], input_shape, "functional", "vgg16")
