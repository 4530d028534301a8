"""One chain of layers in three forms: Keras' sequential, functional and subclass styles."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import keras

Style = Literal["sequential", "functional", "subclass"]


def chain(
    layers: list[keras.Layer], input_shape: tuple[int, int, int], style: Style, name: str
) -> keras.Model:
    """A model that applies `layers` one after the other.

    The three styles hold the same layers in the same order, so weights move between them with
    `get_weights` and `set_weights`, and equal weights give equal outputs.

    Args:
      layers: fresh layers, used by this model alone.
      input_shape: (height, width, channels), float.
      style: which of Keras' three ways to make a model.
      name: name of the model.
    """
    import keras

    if style == "sequential":
        return keras.Sequential([keras.Input(input_shape), *layers], name=name)
    if style == "functional":
        outputs = inputs = keras.Input(input_shape)
        for layer in layers:
            outputs = layer(outputs)
        return keras.Model(inputs, outputs, name=name)
    model = layer_chain()(layers, name=name)
    model.build((None, *input_shape))
    return model


@functools.cache
def layer_chain() -> type[keras.Model]:
    """The class behind the subclass style; a saved model of that style loads once this was called."""
    # Defined on first use: the class statement needs Keras, and this folder is imported without it.
    import keras

    @keras.saving.register_keras_serializable(package="imagemill")
    class LayerChain(keras.Model):
        def __init__(self, layers: list[keras.Layer], name: str, **model: Any):
            super().__init__(name=name, **model)
            self.chain = layers

        def build(self, input_shape: tuple) -> None:
            shape = tuple(input_shape)  # a list when it comes from a file
            for layer in self.chain:
                if not layer.built:  # as it is when it comes from a file
                    layer.build(shape)
                shape = layer.compute_output_shape(shape)
            self.built = True

        def call(self, inputs, training=None):
            outputs = inputs
            for layer in self.chain:
                flags = {"training": training} if layer._call_has_training_arg else {}
                outputs = layer(outputs, **flags)
            return outputs

        def get_config(self) -> dict[str, Any]:
            layers = [keras.saving.serialize_keras_object(layer) for layer in self.chain]
            return {**super().get_config(), "layers": layers}

        @classmethod
        def from_config(cls, config: dict[str, Any]) -> LayerChain:
            layers = [keras.saving.deserialize_keras_object(layer) for layer in config.pop("layers")]
            return cls(layers, **config)

    return LayerChain
