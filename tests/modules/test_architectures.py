"""Every registered network: parameters, a training step, export, reload, the same answer."""

from __future__ import annotations

import pathlib

import keras
import numpy as np
import pytest

from modules import classifier
from modules.architectures import registry
from modules.errors import InputError
from modules.settings import ModelSettings, PixelSettings

CLASSES = 3
SIZE = (32, 28)  # not square, so that height and width are not mixed up
# Networks that need more pixels: five pools that halve take 32.
LARGER = {"vgg16": (33, 32)}


def _build(name: str, size: tuple[int, int] = SIZE, **options: object) -> keras.Model:
    pixels = PixelSettings(image_size=size, channels=3)
    settings = ModelSettings(architecture=name, **options)
    return classifier.build_classifier(settings, pixels, CLASSES, np.full(3, 1 / 255), np.zeros(3))


def _images(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


@pytest.mark.parametrize("name", registry.names())
def test_builds_trains_and_survives_export(name: str, tmp_path: pathlib.Path) -> None:
    size = LARGER.get(name, SIZE)
    keras.utils.set_random_seed(0)
    model = _build(name, size)
    before = [weight.numpy() for weight in model.trainable_weights]
    loss, metrics = classifier.loss_and_metrics(CLASSES)
    model.compile("adam", loss=loss, metrics=metrics, jit_compile=False)  # as the trainer does
    # Built inside the first step, the optimizer has Keras trace the step twice: 9 s more for `resnet50`.
    model.optimizer.build(model.trainable_variables)
    model.fit(_images(8, size), np.arange(8) % CLASSES, batch_size=4, verbose=0)
    moved = [not np.array_equal(a, b.numpy()) for a, b in zip(before, model.trainable_weights, strict=True)]
    assert all(moved), "a trainable weight got no gradient"

    answer = model.predict(_images(4, size), verbose=0)
    assert answer.shape == (4, CLASSES)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda x: model(x, training=False),
        [keras.InputSpec(shape=(None, *size, 3), dtype="float32")],
    )
    archive.write_out(str(tmp_path / "1"), verbose=False)
    import tensorflow as tf

    again = tf.saved_model.load(str(tmp_path / "1"))
    np.testing.assert_allclose(again.serve(_images(4, size).astype("float32")), answer, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "classes", "parameters", "trainable"),
    [
        ("simple_cnn", (256, 256, 3), 2, 277_569, 277_185),
        ("mnist_cnn", (28, 28, 1), 10, 118_346, 118_346),
        ("fashion_cnn", (28, 28, 1), 10, 333_526, 333_526),
        ("mlp", (28, 28, 1), 10, 59_850, 59_850),
        ("gray_cnn", (28, 28, 1), 10, 503_296, 503_296),
        ("rgb_cnn", (32, 32, 3), 10, 637_454, 637_454),
        ("bn_cnn", (32, 32, 3), 10, 1_229_102, 1_227_310),
        ("flowers_cnn", (180, 180, 3), 5, 3_989_285, 3_989_285),
        ("vgg16", (224, 224, 3), 10, 14_777_458, 14_777_458),
        ("googlenet", (224, 224, 3), 10, 5_983_802, 5_983_802),
        ("resnet50", (224, 224, 3), 10, 23_999_522, 23_946_402),
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


@pytest.mark.parametrize(("name", "reference"), [("vgg16", "VGG16"), ("resnet50", "ResNet50")])
def test_features_are_those_of_keras_applications(name: str, reference: str) -> None:
    size = (33, 32)
    ours = classifier.build_network(ModelSettings(architecture=name), PixelSettings(image_size=size), CLASSES)
    pooled = next(layer for layer in ours.layers if isinstance(layer, keras.layers.GlobalAveragePooling2D))
    features = keras.Model(ours.input, pooled.output)
    published = getattr(keras.applications, reference)(
        weights=None, include_top=False, pooling="avg", input_shape=(*size, 3)
    )
    # Biases, means and variances of a fresh network are all 0 or 1, which would hide one in the wrong place.
    rng = np.random.default_rng(0)
    weights = [
        weight + rng.uniform(0, 0.05, weight.shape) * (weight.ndim == 1) for weight in published.get_weights()
    ]
    for model in (features, published):
        model.set_weights(weights)
    images = _images(2, size).astype("float32") / 255
    expected = np.asarray(published(images, training=False))
    assert expected.std() > 0.01, "all features are alike: the comparison would show nothing"
    np.testing.assert_allclose(features(images, training=False), expected, atol=1e-5)


def test_googlenet_has_the_shapes_of_its_paper() -> None:
    model = classifier.build_network(
        ModelSettings(architecture="googlenet"), PixelSettings(image_size=(224, 224)), CLASSES
    )
    sizes = {module: model.get_layer(f"inception_{module}").output.shape[1:] for module in ("3a", "4e", "5b")}
    assert sizes == {"3a": (28, 28, 256), "4e": (14, 14, 832), "5b": (7, 7, 1024)}


@pytest.mark.parametrize("name", ["gray_cnn", "flowers_cnn"])
def test_dropout_of_zero_is_none(name: str) -> None:
    images = _images(4).astype("float32")
    for dropout, same in ((0.0, True), (0.5, False)):
        model = _build(name, dropout=dropout)
        training, serving = (np.asarray(model(images, training=training)) for training in (True, False))
        assert np.array_equal(training, serving) is same


def test_vgg16_takes_smaller_images_when_its_first_pool_keeps_the_resolution() -> None:
    assert _build("vgg16", first_pool_stride=1).output_shape == (None, CLASSES)
    with pytest.raises(ValueError, match=r"vgg16 cannot be built for images of 32x28x3 \(data.image_size"):
        _build("vgg16", first_pool_stride=2)


def test_two_classes_get_one_sigmoid_unit_and_two_probabilities() -> None:
    assert classifier.units(ModelSettings(), classes=2) == 1
    answer = classifier.probabilities(np.array([[0.0], [np.log(3)]], np.float32)).numpy()
    np.testing.assert_allclose(answer, [[0.5, 0.5], [0.25, 0.75]], atol=1e-6)


def test_a_sigmoid_for_three_classes_is_refused() -> None:
    with pytest.raises(InputError, match="sigmoid needs two classes; the data has 3"):
        classifier.units(ModelSettings(head="sigmoid"), classes=3)


def test_an_image_too_small_for_the_network_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"mnist_cnn cannot be built for images of 8x8x1 \(data.image_size"):
        classifier.build_network(
            ModelSettings(architecture="mnist_cnn"), PixelSettings(image_size=(8, 8), channels=1), 10
        )
