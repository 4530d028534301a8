"""`fashion_cnn`: two 3x3 convolutions and one dense layer with dropout, for small grey images."""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


@register("fashion_cnn")
def fashion_cnn(
    options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]
) -> keras.Model:
    """Convolutions of 32 and 64 filters, 3x3 same, each with max pool; dense 100, dropout 0.4."""
    from keras import layers

    stages = [
        layers.Conv2D(32, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(100, activation="relu"),
        layers.Dropout(0.4),
    ]
    return chain([*stages, *head], input_shape, "functional", "fashion_cnn")
