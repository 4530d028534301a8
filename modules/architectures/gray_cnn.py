"""`gray_cnn`: three convolutions and one pool, for small grey images such as clothes and letters.

Source: the plan of LeNet-5 (LeCun et al., "Gradient-Based Learning Applied to Document Recognition", 1998),
convolutions before two dense layers, with relu, wider convolutions and a single pool.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from modules.architectures.chain import chain
from modules.architectures.registry import NetworkOptions, register

if TYPE_CHECKING:
    import keras


class Options(NetworkOptions):
    dropout: float = Field(0.5, ge=0, lt=1, description="Dropout before the dense layers; 0 for none.")


@register("gray_cnn", options=Options)
def gray_cnn(options: Options, input_shape: tuple[int, int, int], head: list[keras.Layer]) -> keras.Model:
    """Convolutions of 16 (3x3 same), 32 (4x4 same) and 64 (4x4 valid) filters, max pool, dense 50 and 20."""
    from keras import layers

    stages = [
        layers.Conv2D(16, 3, padding="same", activation="relu"),
        layers.Conv2D(32, 4, padding="same", activation="relu"),
        layers.Conv2D(64, 4, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(options.dropout),
        layers.Dense(50, activation="relu"),
        layers.Dense(20, activation="relu"),
    ]
    return chain([*stages, *head], input_shape, "functional", "gray_cnn")
