"""`simple_cnn`: two convolution blocks with batch norm and dropout, for photos and little data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from modules.architectures.chain import Style, chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


class Options(NetworkOptions):
    style: Style = Field("functional", description="Form of the Keras model; all three compute the same.")


@register("simple_cnn", options=Options)
def simple_cnn(options: Options, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """Two blocks of two 3x3 convolutions (64, then 128 filters), global max pool, dense 128."""
    from keras import layers

    def block(filters: int, dropout: float) -> list[keras.Layer]:
        return [
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.Conv2D(filters, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(2),
            layers.BatchNormalization(),
            layers.Dropout(dropout),
        ]

    stages = [
        *block(64, dropout=0.5),
        *block(128, dropout=0.3),
        layers.GlobalMaxPooling2D(),
        layers.Dense(128, activation="relu"),
    ]
    return chain([*stages, *head], input_shape, options.style, "simple_cnn")
