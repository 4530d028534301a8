"""Every augmentation eagerly, in tf.data and compiled: what it does to pixels and labels, and its seed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules import augmentation
from modules.augmentation import settings, steps
from modules.augmentation.rand_augment import OPERATIONS
from modules.base_settings import Settings

NAMES = steps.names()
GROUPS = {"one_of": {"steps": ["blur", "cut_mix"]}, "sequence": {"steps": ["rotation", "gaussian_noise"]}}


class Section(Settings):
    augment: settings.Augmentations


def build(*augment: Any, seed: int = 0):
    return augmentation.build(Section(augment=list(augment)).augment, seed)


def always(name: str, **options: Any) -> dict[str, Any]:
    return {name: {"probability": 1.0, **GROUPS.get(name, {}), **options}}


def photos(count: int, height: int = 16, width: int = 16, channels: int = 3) -> np.ndarray:
    """Smooth colours with some noise, unlike each other and unlike their mirror images."""
    rng = np.random.default_rng(0)
    down, across = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j][..., None]
    slopes = rng.uniform(20, 120, (2, count, 1, 1, channels))
    noise = rng.normal(0, 8, (count, height, width, channels))
    return (slopes[0] * down + slopes[1] * across + noise).clip(0, 255).astype(np.float32)


def one_hot(count: int, classes: int = 4) -> np.ndarray:
    return np.eye(classes, dtype=np.float32)[np.arange(count) % classes]


def augmented(images: np.ndarray, *augment: Any, seed: int = 0) -> np.ndarray:
    """The images after the steps, run eagerly."""
    return build(*augment, seed=seed)(tf.constant(images), tf.zeros(len(images)), training=True)[0].numpy()


Batches = list[tuple[np.ndarray, np.ndarray]]


def _eagerly(augmenter: Callable, batches: Batches) -> Batches:
    return [augmenter(tf.constant(images), tf.constant(labels), training=True) for images, labels in batches]


def _in_tf_data(augmenter: Callable, batches: Batches) -> Batches:
    signature = tuple(tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in batches[0])
    dataset = tf.data.Dataset.from_generator(lambda: iter(batches), output_signature=signature)
    return list(dataset.map(lambda images, labels: augmenter(images, labels, training=True)))


def _compiled(augmenter: Callable, batches: Batches) -> Batches:
    signature = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in batches[0]]
    step = tf.function(
        lambda images, labels: augmenter(images, labels, training=True), input_signature=signature
    )
    return [step(*batch) for batch in batches]


@pytest.mark.parametrize("ways", [_eagerly, _in_tf_data, _compiled])
@pytest.mark.parametrize("name", NAMES)
def test_shape_range_and_labels(name: str, ways: Callable) -> None:
    step = always(name)
    mixes = settings.needs_one_hot(Section(augment=[step]).augment)
    shapes = [(16, 12, 3)]
    if ways is _compiled and not steps.get(name).needs_color:
        shapes.append((15, 15, 1))
    for height, width, channels in shapes:
        # Extremes are where a sum leaves the range; a last batch is smaller, down to one image.
        first = photos(5, height, width, channels)
        first[3], first[4] = 0, 255
        batches = [(first, one_hot(5)), (first[:1], one_hot(1))]
        for (before, labels_before), (after, labels_after) in zip(
            batches, ways(build(step), batches), strict=True
        ):
            assert after.dtype == tf.float32
            assert after.shape == before.shape
            assert np.all(np.isfinite(after)) and np.min(after) >= 0 and np.max(after) <= 255
            if mixes:
                np.testing.assert_allclose(np.sum(labels_after, axis=-1), 1, atol=1e-5)
            else:
                np.testing.assert_array_equal(labels_after, labels_before)


@pytest.mark.parametrize("name", NAMES)
def test_it_changes_images_in_training_and_nothing_in_evaluation(name: str) -> None:
    images = tf.constant(photos(8))
    augmenter = build(always(name))
    changed = sum(
        np.any(np.abs(augmenter(images, tf.constant(one_hot(8)), training=True)[0] - images) > 0.5, (1, 2, 3))
        for _ in range(4)
    )
    assert np.count_nonzero(changed) >= 6, "each image, in some of four tries"
    state = [variable.numpy() for variable in augmenter.variables]
    for labels in (tf.constant(one_hot(8)), tf.range(8)):
        after = augmenter(images, labels)
        assert after[0] is images and after[1] is labels
    for before, variable in zip(state, augmenter.variables, strict=True):
        np.testing.assert_array_equal(variable, before)


def test_whole_numbers_are_taken_and_other_labels_left_alone() -> None:
    labels = tf.constant(["a", "b"])
    images, after = build("horizontal_flip")(tf.ones((2, 8, 8, 3), tf.uint8), labels, training=True)
    assert images.dtype == tf.float32
    assert after is labels


def test_half_precision_of_a_model_does_not_reach_pixels() -> None:
    images = photos(4)
    keras.config.set_dtype_policy("mixed_float16")
    try:
        halves = [augmented(images, always(name)) for name in ("rotation", "color_jitter", "mix_up")]
    finally:
        keras.config.set_dtype_policy("float32")
    for name, half in zip(("rotation", "color_jitter", "mix_up"), halves, strict=True):
        np.testing.assert_array_equal(half, augmented(images, always(name)))


# Probability and groups


def _turned(images: np.ndarray, result: np.ndarray) -> np.ndarray:
    """For each image which of its mirror images came out: none, horizontal, vertical, both; else -1."""
    mirrors = [images, images[:, :, ::-1], images[:, ::-1], images[:, ::-1, ::-1]]
    equal = np.stack([(mirror == result).all((1, 2, 3)) for mirror in mirrors])
    return np.where(equal.any(0), equal.argmax(0), -1)


def _shares(images: np.ndarray, *augment: Any) -> np.ndarray:
    found = _turned(images, augmented(images, *augment))
    assert found.min() >= 0
    return np.bincount(found, minlength=4) / len(images)


def test_probability_is_of_each_image() -> None:
    images = photos(400, 8, 8)
    shares = _shares(images, {"horizontal_flip": {"probability": 0.3}})
    np.testing.assert_allclose(shares, [0.7, 0.3, 0, 0], atol=0.08)
    np.testing.assert_array_equal(_shares(images, {"vertical_flip": {"probability": 0}}), [1, 0, 0, 0])


def test_one_of_applies_one_by_weight() -> None:
    flips = [{"horizontal_flip": {"probability": 0.9}}, {"vertical_flip": {"probability": 0.3}}]
    images = photos(400, 8, 8)
    shares = _shares(images, {"one_of": {"steps": flips}})
    np.testing.assert_allclose(shares, [0, 0.75, 0.25, 0], atol=0.08)
    shares = _shares(images, {"one_of": {"steps": flips, "probability": 0.4}})
    np.testing.assert_allclose(shares, [0.6, 0.3, 0.1, 0], atol=0.08)


def test_a_sequence_is_applied_as_a_whole_with_probabilities_inside() -> None:
    flips = [always("horizontal_flip"), {"vertical_flip": {"probability": 0.5}}]
    shares = _shares(photos(400, 8, 8), {"sequence": {"steps": flips, "probability": 0.6}})
    np.testing.assert_allclose(shares, [0.4, 0.3, 0, 0.3], atol=0.08)


def test_steps_are_applied_in_order() -> None:
    cover = always("coarse_dropout", size=[1, 1], fill_value=200)
    darken = always("rand_augment", magnitude=0)
    assert np.all(augmented(photos(4), darken, cover) == 200)
    assert np.std(augmented(photos(4), cover, always("gaussian_noise", deviation=[20, 20]))) > 10


# The random state


def test_seed_and_epoch_give_the_same_images() -> None:
    batches = [(photos(6), one_hot(6))] * 2
    augment = ["horizontal_flip", "rotation", "color_jitter", {"one_of": {"steps": ["blur", "mix_up"]}}]

    def epoch(augmenter, number: int, ways: Callable) -> np.ndarray:
        augmenter.reset(number)
        return np.stack([images for images, _ in ways(augmenter, batches)])

    undisturbed, resumed = build(*augment, seed=7), build(*augment, seed=7)
    first, second = epoch(undisturbed, 0, _compiled), epoch(undisturbed, 1, _compiled)
    np.testing.assert_allclose(epoch(resumed, 1, _compiled), second)
    np.testing.assert_allclose(epoch(resumed, 1, _eagerly), second, atol=1e-2)
    assert np.abs(first - second).max() > 10
    assert np.abs(first[0] - first[1]).max() > 10, "one batch after the other draws anew"
    assert np.abs(epoch(build(*augment, seed=8), 0, _compiled) - first).max() > 10


def test_a_new_augmenter_begins_with_epoch_0() -> None:
    augmenter = build("gaussian_noise", "cut_mix")
    state = [variable.numpy() for variable in augmenter.variables]
    augmenter.reset(0)
    for before, variable in zip(state, augmenter.variables, strict=True):
        np.testing.assert_array_equal(variable, before)
    keys = [before[0] for before in state]
    assert len(set(keys)) == len(keys), "no two layers draw the same numbers"


# Geometry


def test_quarter_turns() -> None:
    square = photos(60, 9, 9)
    result = augmented(square, always("quarter_turn"))
    turns = [np.rot90(square, k, axes=(1, 2)) for k in (1, 2, 3)]
    counts = [np.count_nonzero((turn == result).all((1, 2, 3))) for turn in turns]
    assert sum(counts) == 60 and min(counts) > 8
    oblong = photos(5, 9, 12)
    np.testing.assert_array_equal(augmented(oblong, always("quarter_turn")), oblong[:, ::-1, ::-1])


def _centers(images: np.ndarray) -> np.ndarray:
    """Centre of the light of each image, (images, 2): down, across."""
    light = images[..., 0] / images[..., 0].sum((1, 2), keepdims=True)
    down, across = np.indices(images.shape[1:3])
    return np.stack([(light * down).sum((1, 2)), (light * across).sum((1, 2))], axis=1)


def _dot(count: int, row: int, column: int, size: int = 33) -> np.ndarray:
    """Black images of a 5x5 dot."""
    images = np.zeros((count, size, size, 1), np.float32)
    images[:, row - 2 : row + 3, column - 2 : column + 3] = 255
    return images


CENTER = 16


@pytest.mark.parametrize("name", ["rotation", "shift_scale_rotate"])
def test_rotation_turns_each_image_either_way(name: str) -> None:
    still = {"shift": 0, "scale": [1, 1]} if name == "shift_scale_rotate" else {}
    result = augmented(_dot(60, CENTER, 26), always(name, degrees=30, fill="constant", **still))
    offset = _centers(result) - CENTER
    np.testing.assert_allclose(np.hypot(*offset.T), 10, atol=0.3)
    degrees = np.degrees(np.arctan2(*offset.T))
    assert np.abs(degrees).max() <= 31 and degrees.min() < -20 and degrees.max() > 20


@pytest.mark.parametrize("name", ["shift", "shift_scale_rotate"])
def test_shift_moves_each_image_every_way(name: str) -> None:
    amount = {"shift": {"horizontal": 0.3, "vertical": 0.1}}.get(
        name, {"shift": 0.2, "degrees": 0, "scale": [1, 1]}
    )
    down, across = (0.1, 0.3) if name == "shift" else (0.2, 0.2)
    moved = _centers(augmented(_dot(60, CENTER, CENTER), always(name, fill="constant", **amount))) - CENTER
    for axis, fraction in enumerate((down, across)):
        limit = fraction * 33
        assert np.abs(moved[:, axis]).max() <= limit + 0.1
        assert moved[:, axis].min() < -limit / 2 and moved[:, axis].max() > limit / 2


@pytest.mark.parametrize("name", ["zoom", "shift_scale_rotate"])
def test_scale_magnifies_about_the_centre(name: str) -> None:
    still = {"shift": 0, "degrees": 0} if name == "shift_scale_rotate" else {}
    dots = _dot(60, CENTER, CENTER)
    result = augmented(dots, always(name, scale=[1.5, 3.0], fill="constant", **still))
    area = result.sum((1, 2, 3)) / dots[0].sum()
    assert area.min() > 1.4**2 and area.max() < 3.1**2 and np.ptp(area) > 2
    np.testing.assert_allclose(_centers(result), CENTER, atol=0.1)


def test_random_crop_spreads_a_part_over_the_whole() -> None:
    down, across = np.indices((32, 32)).astype(np.float32)
    gradient = np.broadcast_to(np.stack([down, across], axis=-1)[None], (60, 32, 32, 2))
    gradient = np.concatenate([gradient, gradient[..., :1]], axis=-1)
    result = augmented(gradient, always("random_crop", area=[0.2, 0.3], aspect_ratio=[0.5, 2.0]))
    height = result[:, 24, 16, 0] - result[:, 8, 16, 0]  # of half the image
    width = result[:, 16, 24, 1] - result[:, 16, 8, 1]
    area = height * width / 16**2
    assert area.min() > 0.19 and area.max() < 0.31
    assert (height / width).min() < 0.7 and (height / width).max() > 1.4
    top = result[:, :, :, 0].min((1, 2))
    assert top.min() < 4 and top.max() > 12, "from anywhere"


def test_center_crop_keeps_the_middle() -> None:
    framed = np.zeros((2, 16, 16, 3), np.float32)
    framed[:, 4:12, 4:12] = 100
    np.testing.assert_allclose(augmented(framed, always("center_crop", fraction=0.5)), 100)


# Levels and colours


def test_brightness_and_contrast_go_both_ways() -> None:
    images = np.tile(np.linspace(100, 150, 64).reshape(1, 8, 8, 1), (60, 1, 1, 3)).astype(np.float32)
    brighter = augmented(images, always("brightness_contrast", contrast=0)).mean((1, 2, 3)) - 125
    assert brighter.min() < -30 and brighter.max() > 30 and np.abs(brighter).max() < 52
    contrast = augmented(images, always("brightness_contrast", brightness=0)).std((1, 2, 3)) / images[0].std()
    assert 0.79 < contrast.min() < 0.85 and 1.15 < contrast.max() < 1.21


@pytest.mark.parametrize("name", ["hue_saturation_value", "color_jitter"])
def test_hue_turns_and_grey_stays_grey(name: str) -> None:
    rest = {"saturation": 0} | ({"value": 0} if name.startswith("hue") else {"brightness": 0, "contrast": 0})
    red = np.broadcast_to(np.float32([200, 50, 50]), (60, 4, 4, 3))
    result = augmented(red, always(name, hue_degrees=60, **rest))[:, 0, 0]
    np.testing.assert_allclose(result.max(1), 200, atol=0.5)
    np.testing.assert_allclose(result.min(1), 50, atol=0.5)
    towards = result[:, 1] - result[:, 2]  # yellow lies on one side of red, magenta on the other
    assert towards.max() > 100 and towards.min() < -100
    grey = np.full((8, 4, 4, 3), 90, np.float32)
    np.testing.assert_allclose(augmented(grey, always(name, hue_degrees=180, **rest)), 90, atol=0.5)


@pytest.mark.parametrize("name", ["hue_saturation_value", "color_jitter"])
def test_saturation_goes_both_ways_and_not_beyond_pure_colours(name: str) -> None:
    rest = {"value": 0} if name.startswith("hue") else {"brightness": 0, "contrast": 0}
    pure = np.broadcast_to(np.float32([120, 0, 0]), (30, 4, 4, 3))
    assert augmented(pure, always(name, hue_degrees=0, saturation=1, **rest)).max() <= 120.1
    dull = np.broadcast_to(np.float32([120, 80, 80]), (60, 4, 4, 3))
    least = augmented(dull, always(name, hue_degrees=0, saturation=0.5, **rest))[:, 0, 0].min(1)
    assert least.max() > 95 and least.min() < 65


def test_channel_shuffle_takes_every_order() -> None:
    colour = np.broadcast_to(np.float32([10, 20, 30]), (120, 4, 4, 3))
    result = augmented(colour, always("channel_shuffle"))
    assert np.all(result == result[:, :1, :1])
    orders, counts = np.unique(result[:, 0, 0], axis=0, return_counts=True)
    np.testing.assert_array_equal(np.sort(orders), np.tile([10, 20, 30], (6, 1)))
    assert counts.min() >= 8


def test_noise_has_the_deviation_of_its_image() -> None:
    grey = np.full((40, 24, 24, 3), 128, np.float32)
    noise = augmented(grey, always("gaussian_noise", deviation=[5, 25])) - 128
    deviations = noise.std((1, 2, 3))
    assert 4.5 < deviations.min() < 9 and 20 < deviations.max() < 26
    assert np.abs(noise.mean((1, 2, 3))).max() < 3


# Neighbourhoods


def test_blur_spreads_by_sigma_and_keeps_the_border() -> None:
    dot = _dot(30, CENTER, CENTER)
    blurred = augmented(dot, always("blur", sigma=[1, 3]))[..., 0]
    np.testing.assert_allclose(blurred.sum((1, 2)), dot[0].sum(), rtol=1e-3)
    light = blurred / blurred.sum((1, 2), keepdims=True)
    variance = (light * (np.indices((33, 33))[0] - CENTER) ** 2).sum((1, 2)) - 2  # the dot's own is 2
    assert np.sqrt(variance.min()) == pytest.approx(1, abs=0.4)
    assert np.sqrt(variance.max()) == pytest.approx(3, abs=0.4)
    plain = np.full((4, 12, 10, 3), 77, np.float32)
    np.testing.assert_allclose(augmented(plain, always("blur", sigma=[3, 3])), 77, rtol=1e-5)


def test_coarse_dropout_covers_rectangles() -> None:
    white = np.full((60, 40, 20, 3), 255, np.float32)
    one = augmented(white, always("coarse_dropout", holes=[1, 1], size=[0.25, 0.5], fill_value=9))
    covered = one[..., 0] == 9
    assert set(np.unique(one)) == {9, 255}
    rows, columns = covered.any(2).sum(1), covered.any(1).sum(1)
    np.testing.assert_array_equal(covered.sum((1, 2)), rows * columns)
    assert 9 <= rows.min() < rows.max() <= 21 and 4 <= columns.min() < columns.max() <= 11
    many = augmented(white, always("coarse_dropout", holes=[2, 8], size=[0.1, 0.1]))
    shares = (many[..., 0] == 0).mean((1, 2))
    assert shares.min() < 0.035 and 0.05 < shares.max() <= 0.1


def test_clahe_is_that_of_keras_on_grey_images() -> None:
    grey = np.rint(photos(3, 37, 30, 1))
    keras_layer = keras.layers.ContrastLimitedAdaptiveHistogramEqualization(
        clip_limit=3.0, tile_grid_size=(4, 3)
    )
    ours = augmented(grey, always("clahe", clip_limit=[3, 3], tiles=[4, 3]))
    np.testing.assert_allclose(ours, keras_layer(grey), atol=0.01)


def test_clahe_raises_local_contrast_and_keeps_colours() -> None:
    colour = 100 + photos(4, 32, 32) / 8
    result = augmented(colour, always("clahe", clip_limit=[4, 4], tiles=[2, 2]))
    assert np.all(result.std((1, 2)) > 1.5 * colour.std((1, 2)))
    # Only what is cut off at 0 or 255 may shift a colour.
    inside = ((result > 0) & (result < 255)).all(-1)
    shift = result - colour
    np.testing.assert_allclose(shift[inside] - shift[inside][:, :1], 0, atol=1e-3)


def test_clahe_of_photos_takes_little_memory() -> None:
    code = """
import re
import tensorflow as tf
from modules import augmentation
from modules.augmentation import steps

def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024

augmenter = augmentation.build((steps.Clahe(probability=1.0),), 0)
images = tf.random.stateless_uniform((32, 224, 224, 3), (1, 2), 0, 255)
before = peak()
augmenter(images, tf.zeros(32), training=True)[0].numpy()
eager = peak()
tf.function(augmenter)(images, tf.zeros(32), training=True)[0].numpy()
print(eager - before, peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    eager, compiled = map(float, done.stdout.split())
    assert 0 < eager <= compiled < 2048


# RandAugment


def test_rand_augment_draws_for_each_image_by_magnitude() -> None:
    same = np.repeat(photos(1), 80, axis=0)
    weak = augmented(same, always("rand_augment", operations=1, magnitude=0))
    # Auto contrast and equalize have no strength.
    unchanged = (np.abs(weak - same) < 0.01).all((1, 2, 3))
    assert 0.7 < unchanged.mean() < 0.97
    strong = augmented(same, always("rand_augment", operations=1, magnitude=30))
    kinds = {image.round(-1).tobytes() for image in strong}
    assert len(kinds) >= len(OPERATIONS), "every operation, many of them either way"
    change = np.abs(strong - same).mean()
    assert (
        change > 2 * np.abs(augmented(same, always("rand_augment", operations=1, magnitude=5)) - same).mean()
    )


# Mixing


def _mixed(name: str, labels: np.ndarray, **options: Any) -> tuple[np.ndarray, np.ndarray]:
    """Plain images, each of the level of its number, and their labels, mixed."""
    levels = np.arange(len(labels), dtype=np.float32)[:, None, None, None]
    images = np.broadcast_to(levels, (len(labels), 20, 10, 1))
    after = build(always(name, **options))(tf.constant(images), tf.constant(labels), training=True)
    return after[0].numpy(), after[1].numpy()


def test_mix_up_mixes_labels_as_it_mixes_pixels() -> None:
    images, labels = _mixed("mix_up", np.eye(40, dtype=np.float32), alpha=1.0)
    assert np.all(images == images[:, :1, :1])
    # A label that says p of class i and q of class j fits an image of level p * i + q * j.
    np.testing.assert_allclose(labels @ np.arange(40), images[:, 0, 0, 0], atol=1e-3)
    assert np.count_nonzero((labels.max(1) > 0.55) & (labels.max(1) < 0.95)) > 15
    assert np.all(np.count_nonzero(labels, axis=1) <= 2)


def test_cut_mix_labels_by_the_share_of_pixels() -> None:
    images, labels = _mixed("cut_mix", np.eye(40, dtype=np.float32))
    for image, label in zip(images, labels, strict=True):
        shares = np.bincount(image.astype(int).ravel(), minlength=40) / image.size
        np.testing.assert_allclose(label, shares, atol=1e-6)
    assert np.count_nonzero((labels.max(1) > 0.55) & (labels.max(1) < 0.95)) > 10


@pytest.mark.parametrize("name", ["mix_up", "cut_mix"])
def test_labels_of_one_unit_are_mixed_too(name: str) -> None:
    images, labels = _mixed(name, np.arange(40, dtype=np.float32)[:, None], alpha=1.0)
    assert labels.shape == (40, 1)
    np.testing.assert_allclose(labels[:, 0], images.mean((1, 2, 3)), atol=1e-3)


def test_images_that_are_not_chosen_keep_their_labels() -> None:
    images, labels = _mixed("mix_up", np.eye(200, dtype=np.float32), alpha=10.0, probability=0.5)
    untouched = images[:, 0, 0, 0] == np.arange(200)
    np.testing.assert_array_equal(labels[untouched], np.eye(200)[untouched])
    assert 0.35 < untouched.mean() < 0.65
    np.testing.assert_allclose(labels @ np.arange(200), images[:, 0, 0, 0], atol=1e-2)


def test_a_tiny_alpha_gives_numbers() -> None:
    for name in ("mix_up", "cut_mix"):
        images, labels = _mixed(name, np.eye(2000, 3, dtype=np.float32), alpha=0.05)
        assert np.isfinite(images).all() and np.isfinite(labels).all()
