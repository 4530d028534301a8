"""Transform's graph as TFX runs it: vocabulary, scaling, and outputs that do not need each other's inputs."""

from __future__ import annotations

import functools
import io
import pathlib

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

from modules import features, preprocessing
from modules.settings import PixelSettings, TransformSettings
from modules.transform_graph import TransformGraph

SPEC = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.string),
}


def _png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _graph(directory: pathlib.Path, examples: list[dict[str, bytes]], **transform: str) -> TransformGraph:
    settings = preprocessing.PreprocessingSettings(
        pixels=PixelSettings(image_size=(12, 10), channels=3),
        transform=TransformSettings(**transform),
        background=(255, 255, 255),
    )
    function = functools.partial(
        preprocessing.preprocessing_fn, custom_config={"settings": settings.model_dump_json()}
    )
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
    )
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(directory / "temp")):
        data = pipeline | beam.Create(examples)
        graph = (data, metadata) | tft_beam.AnalyzeDataset(function)
        graph | tft_beam.WriteTransformFn(str(directory / "graph"))
    return TransformGraph(str(directory / "graph"))


@pytest.mark.parametrize(
    ("resize", "scaling"),
    [("stretch", "unit"), ("crop", "standardize"), ("pad", "torch"), ("stretch", "tf"), ("pad", "none")],
)
def test_graph_of_every_resize_and_scaling(tmp_path: pathlib.Path, resize: str, scaling: str) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (12, 12, 10, 3), np.uint8)
    names = [b"zebra", "émeu".encode(), b"ant"]
    examples = [
        {features.IMAGE: _png(image), features.LABEL: names[number % 3]}
        for number, image in enumerate(images)
    ]
    graph = _graph(tmp_path, examples, resize=resize, scaling=scaling)

    assert graph.class_names == ["ant", "zebra", "émeu"], "code point order, whatever occurs most"
    index = tf.function(graph.class_index)(tf.constant([b"zebra", b"unheard of", b"ant"]))
    np.testing.assert_array_equal(index, [1, -1, 0])
    pixels = tf.function(graph.pixels)(tf.constant([example[features.IMAGE] for example in examples]))
    np.testing.assert_array_equal(pixels, images)

    seen = images * graph.scale + graph.offset
    match scaling:
        case "unit":
            np.testing.assert_allclose(seen, images / 255, atol=1e-6)
        case "tf":
            np.testing.assert_allclose(seen, images / 127.5 - 1, atol=1e-6)
        case "none":
            np.testing.assert_array_equal(seen, images)
        case "torch":
            expected = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
            np.testing.assert_allclose(seen, expected, atol=1e-5)
        case "standardize":
            np.testing.assert_allclose(seen.mean(axis=(0, 1, 2)), 0, atol=1e-5)
            np.testing.assert_allclose(seen.std(axis=(0, 1, 2)), 1, atol=1e-4)


def test_a_channel_without_variation_is_not_divided_by_zero(tmp_path: pathlib.Path) -> None:
    black = _png(np.zeros((12, 10, 3), np.uint8))
    examples = [{features.IMAGE: black, features.LABEL: name} for name in (b"a", b"b")]
    graph = _graph(tmp_path, examples, scaling="standardize")
    assert np.isfinite(graph.scale).all()
    np.testing.assert_allclose(graph.offset, 0, atol=1e-6)
