"""One chain of layers in three forms: Keras' sequential, functional and subclass styles."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Literal

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
    """The class of the subclass style; called once, Keras can load a saved model that holds one."""
    # Not at the top of the file: the class statement needs Keras, and this folder is imported without it.
    import keras

    @keras.saving.register_keras_serializable("imagemill")
    class LayerChain(keras.Model):
        def __init__(self, layers: list[keras.Layer], name: str):
            super().__init__(name=name)
            self.chain = layers

        def build(self, input_shape: tuple) -> None:
            shape = input_shape
            for layer in self.chain:
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
            self.built = True

        def call(self, inputs, training=None):
            outputs = inputs
            for layer in self.chain:
                flags = {"training": training} if layer._call_has_training_arg else {}
                outputs = layer(outputs, **flags)
            return outputs

        def get_config(self) -> dict:
            return {
                "layers": [keras.saving.serialize_keras_object(layer) for layer in self.chain],
                "name": self.name,
            }

        @classmethod
        def from_config(cls, config: dict, custom_objects: dict | None = None) -> LayerChain:
            layers = [keras.saving.deserialize_keras_object(layer) for layer in config["layers"]]
            return cls(layers, config["name"])

    return LayerChain
