"""Transform's exported graph, applied to raw features: the same in tf.data and in the served model."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform.saved import saved_transform_io_v2

from modules import features, preprocessing


class TransformGraph:
    """The graph that Transform wrote, with the class names and the scaling that it computed.

    The methods belong inside a `tf.function` (a tf.data map, an exported signature): there TensorFlow
    prunes what an output does not need, while an eager call would run the whole graph on empty inputs.

    Attributes:
      class_names: class names in the order of the class index.
      scale, offset: float32 numpy arrays (channels,); a network sees `pixels * scale + offset`.
      trackable: what an export must track, so that tables and assets travel with the model.
    """

    def __init__(self, directory: str):
        """Loads the graph.

        Args:
          directory: URI of Transform's `transform_graph` artifact.
        """
        output = tft.TFTransformOutput(directory)
        self._loader = saved_transform_io_v2.SavedModelLoader(output.transform_savedmodel_dir)
        self.trackable = self._loader._imported
        names = output.vocabulary_by_name(preprocessing.CLASS_NAMES)
        self.class_names = [name.decode("utf-8") for name in names]
        self.scale, self.offset = self.scaling()

    def pixels(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes and resizes: string (batch,) to float32 (batch, height, width, channels), 0 to 255."""
        return self._loader.apply_transform_model({features.IMAGE: encoded})[preprocessing.PIXELS]

    def class_index(self, labels: tf.Tensor) -> tf.Tensor:
        """Class index int64 (batch,) of labels string (batch,); -1 for one outside the vocabulary."""
        return self._loader.apply_transform_model({features.LABEL: labels})[preprocessing.CLASS_INDEX]

    def scaling(self, name: str | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Scale and offset, float32 (channels,) each; None for the scaling that the graph was made for.

        Raises:
          KeyError: for a scaling that Transform was not asked for.
        """
        suffix = "" if name is None else f"_{name}"
        wanted = (f"{preprocessing.SCALE}{suffix}", f"{preprocessing.OFFSET}{suffix}")

        @tf.function(autograph=False)
        def figures(encoded: tf.Tensor) -> list[tf.Tensor]:
            outputs = self._loader.apply_transform_model({features.IMAGE: encoded})
            return [outputs[one][0] for one in wanted]

        scale, offset = figures(tf.constant([b""]))
        return scale.numpy(), offset.numpy()
