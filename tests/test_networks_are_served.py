"""Every registered network, exported by the pipeline, runs in a session as TensorFlow Serving runs it."""

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

from modules import classifier, export, features, preprocessing
from modules.architectures import registry
from modules.settings import ModelSettings, PixelSettings, TransformSettings
from modules.transform_graph import TransformGraph
from serving.batching import Call
from serving.loader import SessionOptions, load

PIXELS = PixelSettings(image_size=(33, 32), channels=3)  # the least that five pools which halve take
CLASSES = ("ant", "bee", "cat")
OPTIONS = {"transfer": {"backbone": "MobileNet", "weights": "none"}}  # no download


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> TransformGraph:
    directory = tmp_path_factory.mktemp("transform")
    settings = preprocessing.PreprocessingSettings(
        pixels=PIXELS, transform=TransformSettings(), background=(255, 255, 255)
    )
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (features.IMAGE, features.LABEL)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    examples = [{features.IMAGE: _encoded(0), features.LABEL: name.encode()} for name in CLASSES]
    function = functools.partial(
        preprocessing.preprocessing_fn, custom_config={"settings": settings.model_dump_json()}
    )
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner", "--direct_running_mode=in_memory"]
    )
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(directory / "temp")):
        analyzed = (pipeline | beam.Create(examples), metadata) | tft_beam.AnalyzeDataset(function)
        analyzed | tft_beam.WriteTransformFn(str(directory / "graph"))
    return TransformGraph(str(directory / "graph"))


def _pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*PIXELS.image_size, 3), np.uint8)


def _encoded(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(_pixels(seed)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.slow
@pytest.mark.parametrize("name", registry.names())
def test_a_session_gives_what_the_network_gives(
    name: str, graph: TransformGraph, tmp_path: pathlib.Path
) -> None:
    settings = ModelSettings(architecture=name, **OPTIONS.get(name, {}))
    model = classifier.build_classifier(settings, PIXELS, len(CLASSES), graph.scale, graph.offset)
    export.export(model, graph, str(tmp_path / "1"))
    servable = load(name, 1, tmp_path / "1", SessionOptions())
    files = np.array([_encoded(seed) for seed in range(3)], object)
    outputs = ("label", "probabilities")
    labels, probabilities = servable.run("serving_default", [files], outputs, Call())
    pixels = np.stack([_pixels(seed) for seed in range(3)]).astype("float32")
    expected = classifier.probabilities(model(pixels, training=False)).numpy()
    np.testing.assert_allclose(probabilities, expected, atol=1e-4)
    assert [label.decode() for label in labels] == [CLASSES[index] for index in expected.argmax(axis=-1)]
    (names,) = servable.run("class_names", [files[:1]], ("class_names",), Call())
    assert [one.decode() for one in names[0]] == list(CLASSES)
    servable.close()
