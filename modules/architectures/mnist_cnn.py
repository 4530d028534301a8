"""`mnist_cnn`: two 5x5 convolutions without padding, for small grey images such as digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from modules.architectures.chain import Style, chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


class Options(NetworkOptions):
    style: Style = Field("functional", description="Form of the Keras model; all three compute the same.")


@register("mnist_cnn", options=Options)
def mnist_cnn(options: Options, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """Convolutions of 32 and 64 filters, 5x5 valid, each with max pool; dense 64."""
    from keras import layers

    stages = [
        layers.Conv2D(32, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 5, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
    ]
    return chain([*stages, *head], input_shape, options.style, "mnist_cnn")
