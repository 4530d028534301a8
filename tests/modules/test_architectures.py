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
LARGER = {"vgg16": (33, 32), "transfer": (33, 32)}
# A small backbone and no download; what comes with weights is in test_transfer.py.
OPTIONS = {"transfer": {"backbone": "MobileNet", "weights": "none"}}


def _build(name: str, size: tuple[int, int] | None = None, **options: object) -> keras.Model:
    pixels = PixelSettings(image_size=size or LARGER.get(name, SIZE), channels=3)
    settings = ModelSettings(architecture=name, **OPTIONS.get(name, {}), **options)
    return classifier.build_classifier(settings, pixels, CLASSES, np.full(3, 1 / 255), np.zeros(3))


def _images(count: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), np.uint8)


@pytest.mark.parametrize("name", registry.names())
def test_builds_trains_and_survives_export(name: str, tmp_path: pathlib.Path) -> None:
    size = LARGER.get(name, SIZE)
    keras.utils.set_random_seed(0)
    model = _build(name)
    before = [weight.numpy() for weight in model.trainable_weights]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss=loss, jit_compile=False)  # as the trainer does
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


@pytest.mark.parametrize("name", registry.names())
def test_answers_in_float32_when_it_computes_in_bfloat16(name: str) -> None:
    with classifier.computing_in("bfloat16"):
        model = _build(name)
    answer = np.asarray(model(_images(2, LARGER.get(name, SIZE)), training=False))
    assert answer.dtype == np.float32
    assert np.isfinite(answer).all()
    assert {str(weight.dtype) for weight in model.weights} == {"float32"}
    assert "bfloat16" in {layer.compute_dtype for layer in model.get_layer(name).layers}


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
        ("transfer", (64, 64, 3), 10, 14_740_848, 14_740_848),
    ],
)
def test_parameters_are_those_of_the_definition(
    name: str, shape: tuple[int, int, int], classes: int, parameters: int, trainable: int
) -> None:
    pixels = PixelSettings(image_size=shape[:2], channels=shape[2])
    options = {"weights": "none"} if name == "transfer" else {}
    model = classifier.build_network(ModelSettings(architecture=name, **options), pixels, classes)
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


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_every_style_survives_saving_with_its_options(style: str, tmp_path: pathlib.Path) -> None:
    model = _build("simple_cnn", style=style, l1=0.01)
    model.save(tmp_path / "classifier.keras")
    again = keras.saving.load_model(tmp_path / "classifier.keras")
    images = _images(2).astype("float32")
    np.testing.assert_allclose(again(images), model(images), atol=1e-6)
    assert sum(model.losses) > 0
    assert float(sum(again.losses)) == pytest.approx(float(sum(model.losses)))


def _kernels(model: keras.Model, name: str) -> list[np.ndarray]:
    """Kernels of a network's layers but those of the head."""
    layers = model.get_layer(name).layers
    return [layer.kernel.numpy() for layer in layers if hasattr(layer, "kernel") and layer.name != "logits"]


@pytest.mark.parametrize("name", ["mlp", "bn_cnn", "transfer"])
@pytest.mark.parametrize(("l1", "l2"), [(0.01, None), (None, 0.02), (0.01, 0.02), (None, 0.0)])
def test_penalties_are_those_of_the_options(name: str, l1: float | None, l2: float | None) -> None:
    model = _build(name, l1=l1, l2=l2)
    own_l2 = 1e-5 if name == "bn_cnn" else 0.0
    expected = sum(
        (l1 or 0) * np.abs(kernel).sum() + (own_l2 if l2 is None else l2) * np.square(kernel).sum()
        for kernel in _kernels(model, name)
    )
    assert float(sum(model.losses)) == pytest.approx(expected, rel=1e-4)


def test_kernels_start_as_the_initializer_says() -> None:
    models = []
    for seed in (0, 0, 1):
        keras.utils.set_random_seed(seed)
        models.append(_build("vgg16", kernel_initializer="he_normal"))
    first, again, other = (_kernels(model, "vgg16") for model in models)
    for kernel in first:  # Keras' Glorot would give about 0.7 of that
        assert kernel.std() == pytest.approx(np.sqrt(2 / np.prod(kernel.shape[:-1])), rel=0.1)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert not np.array_equal(first[-2], first[-3]), "layers of one shape start alike"
    head = models[0].get_layer("vgg16").get_layer("logits")
    assert isinstance(head.kernel_initializer, keras.initializers.GlorotUniform)


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
    assert _build("vgg16", SIZE, first_pool_stride=1).output_shape == (None, CLASSES)
    with pytest.raises(ValueError, match=r"vgg16 cannot be built for images of 32x28x3 \(data.image_size"):
        _build("vgg16", SIZE, first_pool_stride=2)


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
