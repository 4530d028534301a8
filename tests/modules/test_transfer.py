"""The `transfer` network: preprocessing of every backbone, weights from everywhere, two phases."""

from __future__ import annotations

import inspect
import pathlib

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from modules import classifier
from modules.architectures import backbones, pretrained, registry, transfer
from modules.errors import InputError
from modules.settings import ModelSettings, PixelSettings

SHAPE = (32, 32, 3)
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (2, *SHAPE)).astype("float32")


def _network(channels: int = 3, **options: object) -> keras.Model:
    settings = ModelSettings(architecture="transfer", **options)
    return classifier.build_network(settings, PixelSettings(image_size=SHAPE[:2], channels=channels), 3)


def _backbone(network: keras.Model) -> keras.Model:
    return next(layer for layer in network.layers if isinstance(layer, keras.Model))


def _new(name: str = "MobileNet", **arguments: object) -> keras.Model:
    """A backbone as somebody else would make and save it, every weight away from its initial value."""
    model = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=SHAPE, **arguments)
    model.set_weights(
        # Kernels are random as they are; more would saturate every relu6.
        [weight + RNG.uniform(0, 0.1, weight.shape) * (weight.ndim == 1) for weight in model.get_weights()]
    )
    return model


def _same_weights(one: keras.Model, other: keras.Model) -> bool:
    pairs = zip(one.get_weights(), other.get_weights(), strict=True)
    return all(np.array_equal(a, b) for a, b in pairs)


def test_the_table_has_the_backbones_of_keras() -> None:
    known = {name for name, _ in inspect.getmembers(keras.applications, inspect.isfunction)}
    assert set(backbones.BACKBONES) == known


@pytest.mark.parametrize("name", backbones.BACKBONES)
def test_preprocessing_is_that_of_keras_and_survives_saving(name: str, tmp_path: pathlib.Path) -> None:
    pixels = keras.Input(SHAPE)
    model = keras.Model(pixels, backbones.preprocess(pixels, name))
    model.save(tmp_path / "preprocessing.keras")
    again = keras.saving.load_model(tmp_path / "preprocessing.keras")
    published = inspect.getmodule(getattr(keras.applications, name)).preprocess_input(IMAGES.copy())
    np.testing.assert_allclose(again(IMAGES), published, atol=1e-4)
    assert again(IMAGES).dtype == "float32"


def test_vgg16_has_the_parameters_of_the_sum() -> None:
    pixels = PixelSettings(image_size=(64, 64), channels=3)
    network = classifier.build_network(ModelSettings(architecture="transfer", weights="none"), pixels, 10)
    assert _backbone(network).count_params() == 14_714_688
    assert network.count_params() == 14_714_688 + (512 * 50 + 50) + (50 * 10 + 10) == 14_740_848


def test_gray_images_are_taken_as_colour_of_equal_channels() -> None:
    keras.utils.set_random_seed(0)
    gray = _network(channels=1, backbone="MobileNet", weights="none")
    colour = _network(channels=3, backbone="MobileNet", weights="none")
    colour.set_weights(gray.get_weights())
    image = IMAGES[..., :1]
    np.testing.assert_allclose(gray(image), colour(np.repeat(image, 3, axis=-1)), atol=1e-5)


@pytest.mark.parametrize("kind", ["backbone.weights.h5", "backbone.h5", "backbone.keras", "whole.keras"])
def test_weights_come_from_a_file(kind: str, tmp_path: pathlib.Path) -> None:
    source, path = _new(), tmp_path / kind
    if kind.endswith(".weights.h5"):
        source.save_weights(path)
    elif kind == "whole.keras":  # with a head on the same graph, as tutorials do it
        pooled = keras.layers.GlobalAveragePooling2D()(source.output)
        keras.Model(source.input, keras.layers.Dense(4)(pooled)).save(path)
    else:
        source.save(path)
    network = _network(backbone="MobileNet", weights=str(path), weights_sha256=pretrained.sha256(path))
    assert _same_weights(_backbone(network), source)


def test_weights_come_from_a_classifier_of_another_run(tmp_path: pathlib.Path) -> None:
    pixels = PixelSettings(image_size=SHAPE[:2])
    settings = ModelSettings(architecture="transfer", backbone="MobileNet", weights="none")
    earlier = classifier.build_classifier(settings, pixels, 7, np.ones(3), np.zeros(3))
    earlier.save(tmp_path / "classifier.keras")
    network = _network(backbone="MobileNet", weights=str(tmp_path / "classifier.keras"))
    assert _same_weights(_backbone(network), _backbone(earlier.get_layer("transfer")))


# Keras says so of each layer: hundreds of lines, behind which a failure elsewhere is hard to find.
@pytest.mark.filterwarnings("ignore:Skipping nested container")
@pytest.mark.parametrize("kind", ["backbone.weights.h5", "backbone.h5", "backbone.keras"])
def test_weights_of_another_network_are_refused(kind: str, tmp_path: pathlib.Path) -> None:
    other = _new(alpha=0.25)
    (other.save_weights if kind.endswith(".weights.h5") else other.save)(tmp_path / kind)
    with pytest.raises(InputError, match=rf"{kind} does not fit MobileNet without its top: \S"):
        _network(backbone="MobileNet", weights=str(tmp_path / kind))


@pytest.mark.parametrize("kind", pretrained.FORMATS)
def test_a_file_that_is_none_of_its_kind_is_refused(kind: str, tmp_path: pathlib.Path) -> None:
    path = tmp_path / f"backbone{kind}"
    path.write_bytes(b"not what the name says")
    with pytest.raises(InputError, match="does not fit MobileNet"):
        _network(backbone="MobileNet", weights=str(path))


def test_a_missing_file_and_another_checksum_are_told(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "backbone.weights.h5"
    with pytest.raises(InputError, match=f"there is no file {path}"):
        _network(backbone="MobileNet", weights=str(path))
    path.write_bytes(b"imagemill")
    with pytest.raises(InputError, match=rf"SHA-256 is {pretrained.sha256(path)}, expected {'0' * 64}"):
        _network(backbone="MobileNet", weights=str(path), weights_sha256="0" * 64)


@pytest.fixture
def keras_home(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """An empty cache of Keras, and no way to the internet."""
    monkeypatch.setattr(keras.src.backend.config, "_KERAS_DIR", str(tmp_path))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    return tmp_path


def test_without_a_network_the_error_says_which_file_goes_where(keras_home: pathlib.Path) -> None:
    name = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    with pytest.raises(InputError) as caught:
        _network()
    message = str(caught.value)
    assert f"fetch {name} from https://" in message
    assert f"put it at {keras_home}/models/{name}" in message
    assert "\n" not in message


def test_the_download_is_kept_and_a_damaged_one_is_not_taken(keras_home: pathlib.Path) -> None:
    # `MobileNet` is one of the two that Keras has no checksum of, so that a file made here passes for it.
    source, models = _new(), keras_home / "models"
    models.mkdir()
    source.save(models / "mobilenet_1_0_224_tf_no_top.h5")
    assert _same_weights(_backbone(_network(backbone="MobileNet")), source)

    source.save(models / "weights_mobilenet_v3_small_224_1.0_float_no_top_v2.h5")
    with pytest.raises(InputError, match="ImageNet weights of MobileNetV3Small cannot be downloaded"):
        _network(backbone="MobileNetV3Small")


def test_efficientnet_computes_the_same_from_the_cache_and_from_a_path(
    keras_home: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _new("EfficientNetB0")
    normalization = next(layer for layer in source.layers if isinstance(layer, keras.layers.Normalization))
    # As in the published file, which holds deviations where variances belong.
    normalization.set_weights([np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225]), np.array(0)])
    path = keras_home / "models" / "efficientnetb0_notop.h5"
    path.parent.mkdir()
    source.save(path)
    monkeypatch.setattr("keras.src.utils.file_utils.validate_file", lambda *args, **kwargs: True)
    keras.utils.set_random_seed(0)
    cached = _network(backbone="EfficientNetB0")
    keras.utils.set_random_seed(0)
    given = _network(backbone="EfficientNetB0", weights=str(path))
    expected = cached(IMAGES)
    assert np.std(expected) > 0
    np.testing.assert_allclose(given(IMAGES), expected, rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def pretrained_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("weights") / "backbone.weights.h5"
    _new().save_weights(path)
    return str(path)


def _fit(network: keras.Model, learning_rate: float) -> set[str]:
    """Trains some steps; returns the weights that moved."""
    before = {weight.path: weight.numpy() for weight in network.weights}
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(learning_rate), loss=loss, jit_compile=False)
    images = RNG.integers(0, 256, (8, *SHAPE)).astype("float32")
    network.fit(images, np.arange(8) % 3, batch_size=4, verbose=0)
    return {weight.path for weight in network.weights if not np.array_equal(weight, before[weight.path])}


def test_the_backbone_is_frozen_first_and_then_its_last_layers_learn(pretrained_file: str) -> None:
    settings = ModelSettings(
        architecture="transfer",
        backbone="MobileNet",
        weights=pretrained_file,
        frozen_epochs=3,
        fine_tune_layers=6,
        fine_tune_learning_rate=1e-4,
    )
    network = classifier.build_network(settings, PixelSettings(image_size=SHAPE[:2]), 3)
    on_top = {weight.path for layer in network.layers[-4:] for weight in layer.weights}
    assert len(on_top) == 4
    frozen, fine_tuned = registry.get("transfer").phases(settings.options, 10)

    assert (frozen.epochs, frozen.learning_rate) == (3, None)
    frozen.prepare(network)
    assert _fit(network, 1e-3) == on_top

    assert (fine_tuned.epochs, fine_tuned.learning_rate) == (7, 1e-4)
    fine_tuned.prepare(network)
    # The last block: depthwise and pointwise convolution, batch norm and relu behind each.
    assert _fit(network, 1e-4) == on_top | {"conv_dw_13/kernel", "conv_pw_13/kernel"}


def test_all_layers_may_learn_but_batch_norm_keeps_its_statistics(pretrained_file: str) -> None:
    settings = ModelSettings(
        architecture="transfer", backbone="MobileNet", weights=pretrained_file, frozen_epochs=0
    )
    network = classifier.build_network(settings, PixelSettings(image_size=SHAPE[:2]), 3)
    (phase,) = registry.get("transfer").phases(settings.options, 2)
    phase.prepare(network)
    normal = {
        weight.path
        for layer in _backbone(network).layers
        if isinstance(layer, keras.layers.BatchNormalization)
        for weight in layer.weights
    }
    learning = {weight.path for weight in network.trainable_weights}
    assert learning == {weight.path for weight in network.weights} - normal
    # The gradient of the first layers of a random network is too small to show.
    moved = _fit(network, 1e-4)
    assert moved <= learning
    assert "conv_pw_10/kernel" in moved


@pytest.mark.parametrize(
    ("options", "epochs", "expected"),
    [
        ({}, 10, [5, 5]),
        ({}, 4, [4]),
        ({"frozen_epochs": 0}, 4, [4]),
        ({"fine_tune_layers": 0}, 10, [10]),
        ({"weights": "none"}, 10, [10]),
    ],
)
def test_the_phases_share_the_epochs(options: dict, epochs: int, expected: list[int]) -> None:
    phases = transfer.phases(transfer.Options(**options), epochs)
    assert [phase.epochs for phase in phases] == expected


def test_a_random_backbone_trains_with_its_batch_norm_from_the_first_epoch() -> None:
    settings = ModelSettings(architecture="transfer", backbone="MobileNet", weights="none")
    network = classifier.build_network(settings, PixelSettings(image_size=SHAPE[:2]), 3)
    (phase,) = registry.get("transfer").phases(settings.options, 2)
    phase.prepare(network)
    assert phase.learning_rate is None
    assert all(layer.trainable for layer in network._flatten_layers())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "vgg6"}, "no such network; did you mean VGG16?"),
        ({"weights": "imagnet"}, "expected imagenet, none, or a file that ends in .weights.h5, .keras, .h5"),
        ({"weights": "gs://bucket/backbone.h5"}, "expected a file on this machine"),
        ({"weights_sha256": "0" * 64}, "weights_sha256 goes with a file"),
        ({"weights": "a.h5", "weights_sha256": "abc"}, "should match pattern"),
    ],
)
def test_a_mistake_in_the_options_is_told(options: dict, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModelSettings(architecture="transfer", **options)
    assert message in str(caught.value)


def test_the_weights_file_is_relative_to_the_configuration(tmp_path: pathlib.Path) -> None:
    options = transfer.Options(weights="backbone.h5")
    assert options.resolve(tmp_path).weights == str(tmp_path / "backbone.h5")
    assert options.resolve(tmp_path).weights_sha256 is None

    (tmp_path / "backbone.h5").write_bytes(b"imagemill")
    first = options.resolve(tmp_path).weights_sha256
    (tmp_path / "backbone.h5").write_bytes(b"another")
    assert options.resolve(tmp_path).weights_sha256 != first, "a cached run would be taken for this one"
    assert transfer.Options().resolve(tmp_path) == transfer.Options()


def test_an_image_too_small_for_the_backbone_is_refused_with_its_smallest_size() -> None:
    pixels = PixelSettings(image_size=(31, 64))
    with pytest.raises(ValueError, match=r"images of 31x64x3 .*: Input size must be at least 32x32"):
        classifier.build_network(ModelSettings(architecture="transfer"), pixels, 3)
