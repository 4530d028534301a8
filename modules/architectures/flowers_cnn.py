"""`flowers_cnn`: three convolutions and one dense layer, a first network for photos.

Source: TensorFlow's tutorial "Image classification" (tensorflow.org/tutorials/images/classification).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from modules.architectures.blocks import conv_stage
from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


class Options(NetworkOptions):
    dropout: float = Field(0.2, ge=0, lt=1, description="Dropout before the dense layer; 0 for none.")


@register("flowers_cnn", options=Options)
def flowers_cnn(options: Options, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """Convolutions of 16, 32 and 64 filters, 3x3 same, each with max pool; dense 128."""
    from keras import layers

    stages = [
        *conv_stage(16, 1),
        *conv_stage(32, 1),
        *conv_stage(64, 1),
        layers.Dropout(options.dropout),
        layers.Flatten(),
        layers.Dense(128, activation="relu"),
    ]
    return chain([*stages, *head], input_shape, "functional", "flowers_cnn")
