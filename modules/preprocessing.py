"""`preprocessing_fn` of TFX Transform: class vocabulary, scaling figures, and the graph of the pixels.

Nothing is materialized. The graph is applied by the trainer in tf.data and travels inside the served
model; what Transform computes over the training split is the vocabulary and, for `standardize`, mean
and deviation a channel.
"""

from __future__ import annotations

from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_transform as tft
import tensorflow_transform.beam as tft_beam
from pydantic import BaseModel

from modules import features
from modules.pixels import MAX_PIXELS, decode_batch
from modules.settings import PixelSettings, Scaling, TransformSettings

#: Outputs of the graph.
PIXELS = "pixels"  # float32 (batch, height, width, channels), whole numbers of 0 to 255
CLASS_INDEX = "class_index"  # int64 (batch,), -1 for a label outside the vocabulary
SCALE = "scale"  # float32 (batch, channels): the network sees pixels * scale + offset
OFFSET = "offset"  # float32 (batch, channels)

#: Name under which the vocabulary, class names in code point order, is found in the graph's assets.
CLASS_NAMES = "class_names"

# Mean and deviation of ImageNet, red, green, blue, for pixels of 0 to 1 (torchvision's constants).
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_DEVIATION = (0.229, 0.224, 0.225)


class PreprocessingSettings(BaseModel):
    """What `preprocessing_fn` needs, as it travels in TFX's `custom_config`."""

    pixels: PixelSettings
    transform: TransformSettings
    background: tuple[int, int, int]
    max_pixels: int = MAX_PIXELS
    #: Scalings beside that of `transform`, of which tuning chooses one.
    scalings: tuple[Scaling, ...] = ()


def preprocessing_fn(inputs: dict[str, tf.Tensor], custom_config: dict[str, Any]) -> dict[str, tf.Tensor]:
    """Builds the graph from an Example's features to pixels, class index and scaling.

    Args:
      inputs: `image/encoded` and `image/label`, string (batch, 1) or (batch,); the rest is ignored.
      custom_config: `settings`, the JSON of `PreprocessingSettings`.

    Returns:
      `pixels` float32 (batch, height, width, channels), `class_index` int64 (batch,), `scale` and `offset`
      float32 (batch, channels), and the same of every further scaling, such as `scale_tf`.
    """
    settings = PreprocessingSettings.model_validate_json(custom_config["settings"])
    encoded = tf.reshape(inputs[features.IMAGE], [-1])
    labels = tf.reshape(inputs[features.LABEL], [-1])
    pixels = decode_batch(
        encoded, settings.pixels, settings.transform, settings.background, settings.max_pixels
    )
    # Outputs of Transform have a batch dimension; the figures are the same in every row.
    rows = [tf.shape(encoded)[0], 1]
    figures = {}
    for suffix, scaling in [
        ("", settings.transform.scaling),
        *((f"_{one}", one) for one in settings.scalings),
    ]:
        for name, figure in zip(
            (SCALE, OFFSET), _scaling(pixels, scaling, settings.pixels.channels), strict=True
        ):
            row = tf.ensure_shape(figure, [settings.pixels.channels])[tf.newaxis]
            figures[f"{name}{suffix}"] = tf.tile(row, rows)
    return {
        # TFX features are float32, int64 or string; callers that keep pixels cast them back to uint8.
        PIXELS: tf.cast(pixels, tf.float32),
        CLASS_INDEX: _class_index(labels),
        **figures,
    }


def _class_index(labels: tf.Tensor) -> tf.Tensor:
    """Position of each label among the sorted class names of the training split."""
    (vocabulary,) = tft.experimental.ptransform_analyzer(
        inputs=[labels],
        ptransform=_WriteSortedNames(),
        output_dtypes=[tf.string],
        output_shapes=[[]],
        output_asset_default_values=[b"-\n"],  # stands in while the graph is traced; a table may not be empty
        name=CLASS_NAMES,
    )
    tft.annotate_asset(CLASS_NAMES, _WriteSortedNames.FILE)
    return tft.apply_vocabulary(labels, vocabulary, default_value=-1)


class _WriteSortedNames(tft_beam.experimental.PTransformAnalyzer):
    """Distinct labels, in code point order, a line each.

    `tft.vocabulary` orders by frequency, so that one more photo could renumber every class.
    """

    FILE = "class_names"

    def expand(self, batches: beam.PCollection) -> beam.PCollection:
        path = f"{self.base_temp_dir}/{self.FILE}"
        return (
            batches
            | "DistinctInBatch" >> beam.FlatMap(lambda batch: np.unique(batch[0].astype(object)).tolist())
            | "Distinct" >> beam.Distinct()
            | "All" >> beam.combiners.ToList()
            | "Write" >> beam.Map(_write_lines, path)
        )


def _write_lines(names: list[bytes], path: str) -> np.ndarray:
    tf.io.gfile.makedirs(path.rpartition("/")[0])
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(b"".join(name + b"\n" for name in sorted(names)))
    return np.array(path.encode(), dtype=object)


def _scaling(pixels: tf.Tensor, scaling: str, channels: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale and offset a channel, float32 (channels,) each, for pixels of 0 to 255."""
    match scaling:
        case "none":
            mean, deviation = np.zeros(channels), np.ones(channels)
        case "unit":
            mean, deviation = np.zeros(channels), np.full(channels, 255.0)
        case "tf":
            mean, deviation = np.full(channels, 127.5), np.full(channels, 127.5)
        case "torch":
            mean, deviation = 255 * np.array(_IMAGENET_MEAN), 255 * np.array(_IMAGENET_DEVIATION)
            if channels == 1:
                mean, deviation = mean.mean(keepdims=True), deviation.mean(keepdims=True)
        case "standardize":
            return _standardizing(pixels)
    return tf.constant(1 / deviation, tf.float32), tf.constant(-mean / deviation, tf.float32)


def _standardizing(pixels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale and offset that bring each channel of the training split to mean 0 and deviation 1."""
    # All images have one size, so the mean over images of their means is the mean over all pixels.
    unit = tf.cast(pixels, tf.float32) / 255
    mean = tft.mean(tf.reduce_mean(unit, axis=[1, 2]), reduce_instance_dims=False)
    mean_square = tft.mean(tf.reduce_mean(tf.square(unit), axis=[1, 2]), reduce_instance_dims=False)
    # A channel without any variation (all images black, say) must not divide by zero.
    deviation = tf.maximum(tf.sqrt(tf.maximum(mean_square - tf.square(mean), 0)), 1 / 255)
    return 1 / (255 * deviation), -mean / deviation
