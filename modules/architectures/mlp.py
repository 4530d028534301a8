"""`mlp`: a multilayer perceptron without convolutions, the baseline that any other network must beat.

Source: Goodfellow, Bengio and Courville, "Deep Learning", 2016, chapter 6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


@register("mlp")
def mlp(options: NetworkOptions, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """The pixels in one row, dense 64, dense 128."""
    from keras import layers

    stages = [
        layers.Flatten(),
        layers.Dense(64, activation="relu"),
        layers.Dense(128, activation="relu"),
    ]
    return chain([*stages, *head], input_shape, "functional", "mlp")
