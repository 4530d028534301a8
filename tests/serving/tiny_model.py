"""A small image classifier, exported as the pipeline exports its own, with signatures for every kind of call.

`python -m tests.serving.tiny_model DIR` writes it as version 7 with a model config file, to be served by any
server that the conformance tests are pointed at.
"""

import sys
from pathlib import Path

#: Names of the classes, in the model's order. The brightest of the three channels decides.
CLASSES = ("red", "green", "blue")
MODEL = "tiny"
VERSION = 7
LABEL = "stable"


def export(path: Path, classes: tuple[str, ...] = CLASSES) -> None:
    """Writes the SavedModel."""
    import keras
    import tensorflow as tf

    network = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(classes), kernel_initializer="identity"),
        ]
    )
    names = tf.constant(classes)

    def pixels(encoded: tf.Tensor) -> tf.Tensor:
        image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
        image.set_shape([None, None, 3])
        return tf.image.resize(tf.cast(image, tf.float32) / 16, (8, 8))

    def classify(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        images = tf.map_fn(pixels, image_bytes, fn_output_signature=tf.TensorSpec([8, 8, 3], tf.float32))
        probabilities = tf.nn.softmax(network(images))
        return {
            "probabilities": probabilities,
            "label": tf.gather(names, tf.argmax(probabilities, axis=-1)),
            "confidence": tf.reduce_max(probabilities, axis=-1),
        }

    def parsed(examples: tf.Tensor) -> tf.Tensor:
        return tf.io.parse_example(examples, {"image/encoded": tf.io.FixedLenFeature([], tf.string)})[
            "image/encoded"
        ]

    def classify_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return classify(parsed(examples))

    def classes_and_scores(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = classify(parsed(inputs))["probabilities"]
        return {"classes": tf.tile(names[tf.newaxis], [tf.shape(scores)[0], 1]), "scores": scores}

    def class_names(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"class_names": tf.tile(names[tf.newaxis], [tf.size(image_bytes), 1])}

    def regress(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": classify(parsed(inputs))["confidence"]}

    def arithmetic(x: tf.Tensor, y: tf.Tensor) -> dict[str, tf.Tensor]:
        text = tf.strings.as_string(y)
        return {"total": x + tf.cast(y, tf.float32)[:, tf.newaxis], "text": text, "text_bytes": text}

    def mean(x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"mean": tf.reduce_mean(x)}

    strings = [None]
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serving_default", classify, [tf.TensorSpec(strings, tf.string, "image_bytes")])
    archive.add_endpoint(
        "serving_examples", classify_examples, [tf.TensorSpec(strings, tf.string, "examples")]
    )
    archive.add_endpoint("class_names", class_names, [tf.TensorSpec(strings, tf.string, "image_bytes")])
    archive.add_endpoint("classify", classes_and_scores, [tf.TensorSpec(strings, tf.string, "inputs")])
    archive.add_endpoint("regress", regress, [tf.TensorSpec(strings, tf.string, "inputs")])
    archive.add_endpoint(
        "arithmetic",
        arithmetic,
        [tf.TensorSpec([None, 2], tf.float32, "x"), tf.TensorSpec([None], tf.int64, "y")],
    )
    archive.add_endpoint("mean", mean, [tf.TensorSpec([None], tf.float32, "x")])
    archive.write_out(str(path), verbose=False)


def write_config(base_path: Path, config_file: Path) -> None:
    """Writes a model config file that serves the folder with a label."""
    config_file.write_text(
        f"""model_config_list {{ config {{
          name: "{MODEL}" base_path: "{base_path}" model_platform: "tensorflow"
          version_labels {{ key: "{LABEL}" value: {VERSION} }}
        }} }}""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1]).resolve()
    export(folder / MODEL / str(VERSION))
    write_config(folder / MODEL, folder / "models.config")
