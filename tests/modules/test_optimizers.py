"""Optimizers, schedules and losses: what the configuration says is what is computed."""

from __future__ import annotations

import typing

import keras
import numpy as np
import pytest
from pydantic import ValidationError

from modules import losses, optimizers
from modules.errors import InputError
from modules.train_settings import OptimizerName, TrainSettings


@pytest.mark.parametrize("name", typing.get_args(OptimizerName))
@pytest.mark.parametrize(
    "extra", [{}, {"weight_decay": 0.1, "clip_norm": 1.0, "ema": 0.9, "accumulate": 2}], ids=["plain", "all"]
)
def test_every_optimizer_lowers_a_loss(name: str, extra: dict) -> None:
    settings = TrainSettings(optimizer=name, learning_rate=0.05, **extra)
    optimizer = optimizers.optimizer(settings, settings.learning_rate, steps_per_epoch=4, epochs=1)
    variable = keras.Variable(np.full(3, 2.0, np.float32))
    optimizer.build([variable])
    for _ in range(4):
        optimizer.apply([2 * variable.value], [variable])
    assert np.all(np.asarray(variable) < 2.0)
    assert type(optimizer).__name__.lower() == name


def _rates(settings: TrainSettings, steps_per_epoch: int = 10) -> np.ndarray:
    rate = optimizers.schedule(settings, settings.learning_rate, steps_per_epoch, settings.epochs)
    steps = range(settings.epochs * steps_per_epoch)
    return np.array([float(rate(step)) if callable(rate) else rate for step in steps])


def test_cosine_with_warm_up() -> None:
    settings = TrainSettings.model_validate(
        {
            "epochs": 5,
            "learning_rate": 1.0,
            "schedule": {"kind": "cosine", "warmup_epochs": 1, "final_rate": 0.1},
        }
    )
    rates = _rates(settings)
    np.testing.assert_allclose(rates[:10], np.arange(1, 11) / 10, rtol=1e-6)
    phase = np.arange(40) / 40
    np.testing.assert_allclose(rates[10:], 0.1 + 0.9 * (1 + np.cos(np.pi * phase)) / 2, rtol=1e-5)


def test_step_falls_in_stairs_and_exponential_smoothly() -> None:
    step = {"kind": "step", "factor": 0.5, "every_epochs": 2}
    stairs = _rates(TrainSettings.model_validate({"epochs": 6, "learning_rate": 1.0, "schedule": step}))
    np.testing.assert_allclose(stairs, np.repeat([1.0, 0.5, 0.25], 20), rtol=1e-6)
    smooth = {**step, "kind": "exponential"}
    falling = _rates(TrainSettings.model_validate({"epochs": 6, "learning_rate": 1.0, "schedule": smooth}))
    np.testing.assert_allclose(falling, 0.5 ** (np.arange(60) / 20), rtol=1e-5)


def test_clip_norm_limits_all_gradients_together() -> None:
    settings = TrainSettings(optimizer="sgd", learning_rate=1.0, clip_norm=1.0)
    optimizer = optimizers.optimizer(settings, 1.0, 1, 1)
    first, second = keras.Variable([0.0]), keras.Variable([0.0])
    optimizer.build([first, second])
    optimizer.apply([np.float32([3.0]), np.float32([4.0])], [first, second])
    np.testing.assert_allclose([*np.asarray(first), *np.asarray(second)], [-0.6, -0.8], rtol=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"momentum": 0.9}, "momentum is an option of sgd and rmsprop, not of adam"),
        ({"nesterov": True, "optimizer": "sgd"}, "nesterov needs the optimizer sgd with a momentum"),
        ({"clip_norm": 1, "clip_value": 1}, "exclude each other"),
        ({"schedule": {"kind": "cosine"}, "reduce_on_plateau": {}}, "only one of schedule"),
        ({"learning_rate_at": {3: 0.1}, "schedule": {"warmup_epochs": 1}}, "only one of schedule"),
        ({"epochs": 2, "schedule": {"kind": "cosine", "warmup_epochs": 2}}, "less than epochs"),
        ({"loss": "sparse_categorical_crossentropy", "label_smoothing": 0.1}, "label_smoothing needs"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings.model_validate(settings)


@pytest.mark.parametrize(
    ("settings", "units", "mixed", "expected"),
    [
        ({}, 1, False, "binary_crossentropy"),
        ({}, 1, True, "binary_crossentropy"),
        ({}, 3, False, "sparse_categorical_crossentropy"),
        ({}, 3, True, "categorical_crossentropy"),
        ({"label_smoothing": 0.1}, 3, False, "categorical_crossentropy"),
        ({"loss": "categorical_crossentropy"}, 3, False, "categorical_crossentropy"),
    ],
)
def test_the_loss_fits_the_head(settings: dict, units: int, mixed: bool, expected: str) -> None:
    assert losses.loss_name(TrainSettings(**settings), units, mixed) == expected


@pytest.mark.parametrize(
    ("loss", "units", "mixed"),
    [
        ("binary_crossentropy", 3, False),
        ("categorical_crossentropy", 1, False),
        ("sparse_categorical_crossentropy", 1, False),
        ("sparse_categorical_crossentropy", 3, True),
    ],
)
def test_a_loss_that_does_not_fit_is_refused(loss: str, units: int, mixed: bool) -> None:
    with pytest.raises(InputError, match=r"train\.loss: "):
        losses.loss_name(TrainSettings(loss=loss), units, mixed)


@pytest.mark.parametrize(
    ("name", "smoothing"),
    [
        ("binary_crossentropy", 0.0),
        ("binary_crossentropy", 0.2),
        ("sparse_categorical_crossentropy", 0.0),
        ("categorical_crossentropy", 0.0),
        ("categorical_crossentropy", 0.2),
    ],
)
def test_losses_against_their_definition(name: str, smoothing: float) -> None:
    rng = np.random.default_rng(1)
    classes = (
        np.array([0, 1, 1, 0], np.int32) if name.startswith("binary") else np.array([0, 2, 1, 2], np.int32)
    )
    units = 1 if name.startswith("binary") else 3
    logits = rng.normal(size=(4, units)).astype(np.float32)
    labels = losses.encoder(name, units)(keras.ops.convert_to_tensor(classes))
    if units == 1:
        positive = 1 / (1 + np.exp(-logits[:, 0]))
        target = classes * (1 - smoothing) + smoothing / 2
        expected = -np.mean(target * np.log(positive) + (1 - target) * np.log(1 - positive))
        right = (logits[:, 0] > 0) == (classes == 1)
    else:
        log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        target = np.eye(3)[classes] * (1 - smoothing) + smoothing / 3
        expected = -np.mean((target * log_p).sum(1))
        right = logits.argmax(1) == classes
    for on in ("logits", "probabilities"):
        settings = TrainSettings(label_smoothing=smoothing, loss_on=on)
        loss, (accuracy,) = losses.loss_and_metrics(name, settings)
        assert float(loss(labels, logits)) == pytest.approx(expected, rel=1e-5)
        accuracy.update_state(labels, logits)
        assert float(accuracy.result()) == pytest.approx(right.mean())


def test_class_weights() -> None:
    labels, names = np.array([0, 0, 0, 1]), ["cat", "dog"]
    assert losses.class_weights(TrainSettings(), labels, names) is None
    balanced = losses.class_weights(TrainSettings(class_weights="balanced"), labels, names)
    np.testing.assert_allclose(balanced, [2 / 3, 2.0])
    assert balanced[labels].mean() == pytest.approx(1)
    table = losses.class_weights(TrainSettings(class_weights={"dog": 3}), labels, names)
    np.testing.assert_allclose(table, [1, 3])
    with pytest.raises(InputError, match="no class 'dgo'; the data has cat, dog"):
        losses.class_weights(TrainSettings(class_weights={"dgo": 3}), labels, names)
