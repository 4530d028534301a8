"""Looking inside networks: layers, kernels, feature maps and Grad-CAM, whatever style made the network."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from components.report import inside
from modules import classifier as classifiers
from modules.settings import ModelSettings, PixelSettings

SHAPE = (16, 20, 3)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), np.uint8)


def _build(name: str, classes: int = 4, **options: object) -> keras.Model:
    keras.utils.set_random_seed(0)
    model = ModelSettings(architecture=name, **options)
    pixels = PixelSettings(image_size=SHAPE[:2], channels=3)
    return classifiers.build_classifier(
        model, pixels, classes, np.full(3, 1 / 255, np.float32), np.zeros(3, np.float32)
    )


@pytest.mark.parametrize("style", ["sequential", "functional", "subclass"])
def test_every_style_can_be_looked_into(style: str) -> None:
    model = _build("simple_cnn", style=style)
    reference = _build("simple_cnn", style="functional")
    reference.set_weights(model.get_weights())

    rows = inside.layer_table(model, IMAGES)
    assert [row.kind for row in rows[:3]] == ["Rescaling", "Conv2D", "Conv2D"]
    assert rows[-1].name == "logits"
    assert rows[-1].shape == (4,)
    assert sum(row.parameters for row in rows) == model.count_params()

    assert [output.shape for _, output in inside.stages(model, IMAGES[0])] == [(16, 20, 64), (8, 10, 128)]
    assert inside.first_kernels(model, SHAPE).shape == (3, 3, 3, 64)

    heat = inside.grad_cam(model, IMAGES, np.array([0, 1, 2]))
    assert heat.shape == (3, 16, 20)
    assert heat.min() >= 0
    assert heat.max() <= 1 + 1e-6
    np.testing.assert_allclose(heat, inside.grad_cam(reference, IMAGES, np.array([0, 1, 2])), atol=1e-5)


def test_listening_leaves_no_trace() -> None:
    model = _build("mnist_cnn")
    before = model(IMAGES.astype("float32"), training=False).numpy()
    inside.layer_table(model, IMAGES)
    assert not [layer for layer in inside.leaves(model) if "call" in vars(layer)]
    np.testing.assert_array_equal(model(IMAGES.astype("float32"), training=False), before)


def test_grad_cam_points_at_the_evidence() -> None:
    """A network that counts bright pixels for class 1 and dark ones for class 0."""
    inputs = keras.Input((16, 16, 1))
    maps = keras.layers.Conv2D(1, 1, use_bias=False, kernel_initializer="ones")(inputs)
    outputs = keras.layers.Dense(2, use_bias=False)(keras.layers.GlobalAveragePooling2D()(maps))
    model = keras.Model(inputs, outputs)
    model.layers[-1].set_weights([np.array([[-1.0, 1.0]])])
    image = np.zeros((1, 16, 16, 1), np.uint8)
    image[0, 2:6, 10:14] = 200
    (heat,) = inside.grad_cam(model, image, np.array([1]))
    assert np.unravel_index(heat.argmax(), heat.shape) in {(y, x) for y in range(2, 6) for x in range(10, 14)}
    assert heat[10:, :8].max() < 0.01
    assert inside.grad_cam(model, image, np.array([0])).max() == 0


def test_one_unit_is_asked_about_both_classes() -> None:
    model = _build("mnist_cnn", classes=2)
    assert model.output_shape == (None, 1)
    first, second = (inside.grad_cam(model, IMAGES, np.full(3, index)) for index in (0, 1))
    assert not np.allclose(first, second)


def test_a_network_without_feature_maps_says_so() -> None:
    model = _build("mlp")
    assert inside.grad_cam(model, IMAGES, np.zeros(3, int)) is None
    assert inside.stages(model, IMAGES[0]) == []
    # Its first layer sees every pixel, so its weights are images too.
    assert inside.first_kernels(model, SHAPE).shape[:3] == SHAPE


def test_a_deep_network_is_drawn_by_the_size_of_its_maps() -> None:
    model = _build("resnet50")
    rows = inside.layer_table(model, IMAGES)
    blocks = inside.blocks(rows)
    assert len(rows) > 150
    assert len(blocks) < 20
    assert blocks[-1][1:] == ("Dense", "4")
