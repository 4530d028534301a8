"""The SavedModel that is evaluated and served: signatures over encoded images, class names inside.

`keras.export.ExportArchive` writes it. `tf.saved_model.save` of a Keras 3 model would load in Python but
fail in TensorFlow Serving, which restores variables by name in a session.
"""

from __future__ import annotations

import keras
import tensorflow as tf

from modules import features, preprocessing
from modules.classifier import probabilities
from modules.transform_graph import TransformGraph

#: Encoded images `image_bytes` string (n,) to `probabilities`, `label`, `confidence`.
SERVING = "serving_default"
#: Serialized Examples `examples` string (n,) to the same outputs.
SERVING_EXAMPLES = "serving_examples"
#: Any strings (n,) to `class_names` string (n, classes): a client asks once, with one empty string.
CLASS_NAMES = "class_names"
#: Serialized Examples to `class_index` int64 (n,), the label as the evaluation needs it.
LABELS = "labels"


def export(classifier: keras.Model, graph: TransformGraph, directory: str) -> None:
    """Writes the SavedModel.

    Args:
      classifier: from pixels (n, height, width, channels) to logits (n, units).
      graph: Transform's graph; its decode and resize stand before the classifier.
      directory: where to; must not exist.
    """
    names = tf.constant(graph.class_names)

    def classify(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        answer = probabilities(classifier(graph.pixels(image_bytes), training=False))
        return {
            "probabilities": answer,
            "label": tf.gather(names, tf.argmax(answer, axis=-1)),
            "confidence": tf.reduce_max(answer, axis=-1),
        }

    def parse(examples: tf.Tensor, feature: str) -> tf.Tensor:
        return tf.io.parse_example(examples, {feature: tf.io.FixedLenFeature([], tf.string)})[feature]

    def classify_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(parse(examples, features.IMAGE))

    def labels(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {preprocessing.CLASS_INDEX: graph.class_index(parse(examples, features.LABEL))}

    def class_names(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {CLASS_NAMES: tf.tile(names[tf.newaxis], [tf.size(image_bytes), 1])}

    archive = keras.export.ExportArchive()
    archive.track(classifier)
    archive.track(graph.trackable)
    strings = [None]
    archive.add_endpoint(SERVING, classify, [tf.TensorSpec(strings, tf.string, "image_bytes")])
    archive.add_endpoint(SERVING_EXAMPLES, classify_examples, [tf.TensorSpec(strings, tf.string, "examples")])
    archive.add_endpoint(CLASS_NAMES, class_names, [tf.TensorSpec(strings, tf.string, "image_bytes")])
    archive.add_endpoint(LABELS, labels, [tf.TensorSpec(strings, tf.string, "examples")])
    archive.write_out(directory, verbose=False)
