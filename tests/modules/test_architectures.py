"""Every registered network: parameters, a training step, export, reload, the same answer."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

from modules import classifier
from modules.architectures import registry
from modules.settings import ModelSettings, PixelSettings

CLASSES = 3
SIZE = (32, 28)  # not square, so that height and width are not mixed up


def _build(name: str, **options: str) -> keras.Model:
    pixels = PixelSettings(image_size=SIZE, channels=3)
    settings = ModelSettings(architecture=name, **options)
    return classifier.build_classifier(settings, pixels, CLASSES, np.full(3, 1 / 255), np.zeros(3))


def _images(count: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SIZE, 3), np.uint8)


@pytest.mark.parametrize("name", registry.names())
def test_builds_trains_and_survives_export(name: str, tmp_path: pathlib.Path) -> None:
    keras.utils.set_random_seed(0)
    model = _build(name)
    before = [weight.numpy() for weight in model.trainable_weights]
    loss, metrics = classifier.loss_and_metrics(CLASSES)
    model.compile("adam", loss=loss, metrics=metrics)
    model.fit(_images(8), np.arange(8) % CLASSES, batch_size=4, verbose=0)
    moved = [not np.array_equal(a, b.numpy()) for a, b in zip(before, model.trainable_weights, strict=True)]
    assert all(moved), "a trainable weight got no gradient"

    answer = model.predict(_images(4), verbose=0)
    assert answer.shape == (4, CLASSES)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda x: model(x, training=False),
        [keras.InputSpec(shape=(None, *SIZE, 3), dtype="float32")],
    )
    archive.write_out(str(tmp_path / "1"), verbose=False)
    import tensorflow as tf

    again = tf.saved_model.load(str(tmp_path / "1"))
    np.testing.assert_allclose(again.serve(_images(4).astype("float32")), answer, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters", "trainable"),
    [
        ("simple_cnn", (256, 256, 3), 2, 277_569, 277_185),
        ("mnist_cnn", (28, 28, 1), 10, 118_346, 118_346),
        ("fashion_cnn", (28, 28, 1), 10, 333_526, 333_526),
    ],
)
def test_parameters_are_those_of_the_definition(
    name: str, shape: tuple[int, int, int], classes: int, parameters: int, trainable: int
) -> None:
    pixels = PixelSettings(image_size=shape[:2], channels=shape[2])
    model = classifier.build_network(ModelSettings(architecture=name), pixels, classes)
    assert model.count_params() == parameters
    assert sum(weight.numpy().size for weight in model.trainable_weights) == trainable


@pytest.mark.parametrize("name", ["simple_cnn", "mnist_cnn"])
def test_styles_with_equal_weights_answer_equally(name: str) -> None:
    reference = _build(name, style="functional")
    images = _images(4)
    for style in ("sequential", "subclass"):
        other = _build(name, style=style)
        other.set_weights(reference.get_weights())
        np.testing.assert_allclose(
            other.predict(images, verbose=0), reference.predict(images, verbose=0), atol=1e-6
        )


def test_two_classes_get_one_sigmoid_unit_and_two_probabilities() -> None:
    assert classifier.units(ModelSettings(), classes=2) == 1
    answer = classifier.probabilities(np.array([[0.0], [np.log(3)]], np.float32)).numpy()
    np.testing.assert_allclose(answer, [[0.5, 0.5], [0.25, 0.75]], atol=1e-6)


def test_a_sigmoid_for_three_classes_is_refused() -> None:
    with pytest.raises(ValueError, match="sigmoid needs two classes; the data has 3"):
        classifier.units(ModelSettings(head="sigmoid"), classes=3)


def test_an_image_too_small_for_the_network_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"mnist_cnn cannot be built for images of 8x8x1 \(data.image_size"):
        classifier.build_network(
            ModelSettings(architecture="mnist_cnn"), PixelSettings(image_size=(8, 8), channels=1), 10
        )
