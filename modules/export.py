"""The SavedModel that is evaluated and served: signatures over encoded images, class names inside.

`keras.export.ExportArchive` writes it. `tf.saved_model.save` of a Keras 3 model would load in Python but
fail in TensorFlow Serving, which restores variables by name in a session.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

import keras
import tensorflow as tf

from modules import features, preprocessing
from modules.classifier import probabilities
from modules.transform_graph import TransformGraph

#: Encoded images `image_bytes` string (n,) to `probabilities`, `label`, `confidence`, and `abstained` where
#: the model may abstain.
SERVING = "serving_default"
#: Serialized Examples `examples` string (n,) to the same outputs.
SERVING_EXAMPLES = "serving_examples"
#: Serialized Examples to `class_index` int64 (n,), the label as the evaluation needs it.
LABELS = "labels"

# Model servers read `assets.extra` for the warm-up requests alone, and carry the rest along.
_NOTES = "assets.extra/imagemill.json"


@dataclass(frozen=True)
class Notes:
    """What the graph of a SavedModel does and does not tell.

    Attributes:
      temperature: that the logits are divided by.
      abstain_below: confidence below which the label is empty; 0 where the model always answers.
    """

    temperature: float = 1.0
    abstain_below: float = 0.0


def export(classifier: keras.Model, graph: TransformGraph, directory: str, notes: Notes = Notes()) -> None:
    """Writes the SavedModel.

    Args:
      classifier: from pixels (n, height, width, channels) to logits (n, units).
      graph: Transform's graph; its decode and resize stand before the classifier.
      directory: where to; must not exist.
      notes: temperature and abstention, built into the graph and noted beside it.
    """
    names = tf.constant(graph.class_names)

    def classify(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        logits = tf.cast(classifier(graph.pixels(image_bytes), training=False), tf.float32)
        answer = probabilities(logits / notes.temperature)
        label = tf.gather(names, tf.argmax(answer, axis=-1))
        confidence = tf.reduce_max(answer, axis=-1)
        if not notes.abstain_below:
            return {"probabilities": answer, "label": label, "confidence": confidence}
        abstained = confidence < notes.abstain_below
        # No label rather than a doubtful one: whoever overlooks the flag must not take it for an answer.
        label = tf.where(abstained, "", label)
        return {"probabilities": answer, "label": label, "confidence": confidence, "abstained": abstained}

    def parse(examples: tf.Tensor, feature: str) -> tf.Tensor:
        return tf.io.parse_example(examples, {feature: tf.io.FixedLenFeature([], tf.string)})[feature]

    def classify_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(parse(examples, features.IMAGE))

    def labels(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return {preprocessing.CLASS_INDEX: graph.class_index(parse(examples, features.LABEL))}

    archive = keras.export.ExportArchive()
    archive.track(classifier)
    archive.track(graph.trackable)
    strings = [None]
    archive.add_endpoint(SERVING, classify, [tf.TensorSpec(strings, tf.string, "image_bytes")])
    archive.add_endpoint(SERVING_EXAMPLES, classify_examples, [tf.TensorSpec(strings, tf.string, "examples")])
    archive.add_endpoint(LABELS, labels, [tf.TensorSpec(strings, tf.string, "examples")])
    archive.write_out(directory, verbose=False)
    tf.io.gfile.makedirs(f"{directory}/{_NOTES.rpartition('/')[0]}")
    with tf.io.gfile.GFile(f"{directory}/{_NOTES}", "w") as file:
        file.write(json.dumps(asdict(notes)))


def read_notes(directory: str) -> Notes:
    """The notes of a SavedModel; those of a plain one where there are none."""
    path = f"{directory}/{_NOTES}"
    if not tf.io.gfile.exists(path):
        return Notes()
    with tf.io.gfile.GFile(path) as file:
        return Notes(**json.loads(file.read()))
