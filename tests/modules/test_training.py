"""Fitting: options that change what is learned, figures that are true, and going on after an interruption."""

from __future__ import annotations

import csv
import json
import os
import pathlib
import socket
import subprocess
import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from modules import classifier as classifiers
from modules import devices, fitting
from modules.errors import InputError
from modules.input_pipeline import PixelStore
from modules.settings import TrainerSettings

NAMES = ["dark", "light", "lighter"]


def _store(images: int, seed: int) -> PixelStore:
    """Noise of three brightnesses: learnable, and never all right."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, images).astype(np.int32)
    pixels = rng.normal(60 + 50 * labels[:, None, None, None], 90, (images, 12, 12, 1))
    return PixelStore(pixels.clip(0, 255).astype(np.uint8), labels)


TRAINING, VALIDATION = _store(90, seed=0), _store(30, seed=1)


def _settings(augment: list | None = None, **train: Any) -> TrainerSettings:
    return TrainerSettings.model_validate(
        {
            "pixels": {"image_size": [12, 12], "channels": 1},
            # Dropout, so that random numbers matter.
            "model": {"architecture": "fashion_cnn"},
            "train": {"epochs": 4, "batch_size": 16, **train},
            "augment": augment or [],
        }
    )


def _classifier(settings: TrainerSettings) -> keras.Model:
    keras.utils.set_random_seed(settings.train.seed)
    scale, offset = np.full(1, 1 / 255, np.float32), np.zeros(1, np.float32)
    with classifiers.computing_in(settings.train.precision):
        return classifiers.build_classifier(settings.model, settings.pixels, 3, scale, offset)


def _fit(
    settings: TrainerSettings, directory: pathlib.Path, training: PixelStore = TRAINING
) -> tuple[keras.Model, fitting.Fit]:
    directory.mkdir(exist_ok=True)
    classifier = _classifier(settings)
    placement = devices.place(settings.train.devices)
    return classifier, fitting.fit(
        classifier, training, VALIDATION, settings, NAMES, placement, str(directory)
    )


def _metrics(fit: fitting.Fit) -> list[dict[str, float]]:
    timing = {"seconds", "images_per_second", "input_wait"}
    return [{key: value for key, value in epoch.items() if key not in timing} for epoch in fit.history]


def test_history_has_every_figure_of_every_epoch(tmp_path: pathlib.Path) -> None:
    classifier, fit = _fit(_settings(), tmp_path)
    assert [epoch["epoch"] for epoch in fit.history] == [1, 2, 3, 4]
    for epoch in fit.history:
        assert set(epoch) == {
            *("epoch", "loss", "accuracy", "val_loss", "val_accuracy", "learning_rate"),
            *("seconds", "images_per_second", "input_wait", "kept"),
        }
        assert 0 <= epoch["input_wait"] <= 1
    (kept,) = [epoch for epoch in fit.history if epoch["kept"]]
    assert kept["val_accuracy"] == max(epoch["val_accuracy"] for epoch in fit.history)
    # The weights that remain are those of that epoch.
    answers = np.asarray(classifier(VALIDATION.pixels)).argmax(-1)
    assert np.mean(answers == VALIDATION.labels) == pytest.approx(kept["val_accuracy"])
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["val_loss"]) for row in rows] == [epoch["val_loss"] for epoch in fit.history]


AUGMENT = ["horizontal_flip", {"shift": {}}, {"gaussian_noise": {}}]


def test_the_same_seed_gives_the_same_figures(tmp_path: pathlib.Path) -> None:
    first, again, other = (
        _metrics(_fit(_settings(AUGMENT, seed=seed), tmp_path / str(number))[1])
        for number, seed in enumerate([3, 3, 4])
    )
    assert first == again
    assert first != other


#: Everything that has a state of its own between two epochs.
STATEFUL = {
    "epochs": 6,
    "optimizer": "adamw",
    "ema": 0.9,
    "accumulate": 2,
    "early_stopping": {"patience": 4},
    "reduce_on_plateau": {"patience": 1, "min_delta": 0.05},
    "checkpoint": {"every_epoch": True, "keep": 2},
    "tensorboard": {"histogram_epochs": 2},
    "class_weights": {"dark": 2},
}


class _PulledPlugError(Exception):
    pass


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, keras.Model, fitting.Fit]:
    folder = tmp_path_factory.mktemp("undisturbed")
    return folder, *_fit(_settings(AUGMENT, **STATEFUL), folder)


@pytest.mark.parametrize("stop_at", [1, 4])
def test_an_interrupted_training_ends_as_the_undisturbed_one(
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: tuple[pathlib.Path, keras.Model, fitting.Fit],
    stop_at: int,
) -> None:
    folder, classifier, expected = undisturbed
    settings = _settings(AUGMENT, **STATEFUL)

    def pull(self: Any, batch: int, logs: Any = None) -> None:
        if self._epoch == stop_at and batch == 2:
            raise _PulledPlugError

    with monkeypatch.context() as patch:
        patch.setattr("modules.callbacks.Recorder.on_train_batch_end", pull)
        patch.setattr("modules.callbacks.Recorder._train_seconds", 1.0, raising=False)
        with pytest.raises(_PulledPlugError):
            _fit(settings, tmp_path / "interrupted")
    resumed, fit = _fit(settings, tmp_path / "interrupted")
    assert fit.facts["resumed_at_epoch"] == stop_at + 1
    assert _metrics(fit) == _metrics(expected)
    for one, other in zip(classifier.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    checkpoints = [
        sorted(path.name for path in (parent / "checkpoints").iterdir())
        for parent in (folder, tmp_path / "interrupted")
    ]
    assert checkpoints[0] == checkpoints[1]


def test_a_damaged_state_starts_afresh(tmp_path: pathlib.Path) -> None:
    (tmp_path / "state.npz").write_bytes(b"PK\x03\x04 not any more")
    _, fit = _fit(_settings(epochs=1), tmp_path)
    assert fit.facts["resumed_at_epoch"] is None


def test_checkpoints_are_named_after_epoch_and_metric_and_load(tmp_path: pathlib.Path) -> None:
    classifier, fit = _fit(_settings(checkpoint={"monitor": "val_loss"}, monitor="val_loss"), tmp_path)
    best = min(fit.history, key=lambda epoch: epoch["val_loss"])
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names[-1] == f"epoch-{best['epoch']:03}-val_loss-{best['val_loss']:.4f}.keras"
    loaded = keras.saving.load_model(tmp_path / "checkpoints" / names[-1])
    np.testing.assert_allclose(loaded(VALIDATION.pixels), classifier(VALIDATION.pixels), atol=1e-5)


def test_callbacks_act(tmp_path: pathlib.Path) -> None:
    stopping = _settings(epochs=30, learning_rate=1e-7, early_stopping={"patience": 2, "min_delta": 0.1})
    assert len(_fit(stopping, tmp_path / "stop")[1].history) == 3
    plateau = _settings(reduce_on_plateau={"patience": 1, "factor": 0.5, "min_delta": 10})
    rates = [epoch["learning_rate"] for epoch in _fit(plateau, tmp_path / "plateau")[1].history]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 2.5e-4])
    table = _settings(learning_rate_at={2: 0.5e-3, 4: 1e-4})
    rates = [epoch["learning_rate"] for epoch in _fit(table, tmp_path / "table")[1].history]
    assert rates == pytest.approx([1e-3, 5e-4, 5e-4, 1e-4])


def test_tensorboard_gets_event_files(tmp_path: pathlib.Path) -> None:
    _fit(_settings(epochs=1, tensorboard={}), tmp_path)
    (file,) = (tmp_path / "tensorboard" / "validation").glob("events.out.tfevents.*")
    events = [
        value.tag for event in tf.compat.v1.train.summary_iterator(str(file)) for value in event.summary.value
    ]
    assert {"epoch_accuracy", "epoch_loss"} <= set(events)


def test_a_loss_that_is_no_number_stops_with_advice(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ValueError, match=r"Training diverged: .* Lower train\.learning_rate \(now 1e\+15\)"):
        _fit(_settings(learning_rate=1e15, optimizer="sgd"), tmp_path)


@pytest.mark.parametrize(
    "train",
    [
        {"precision": "bfloat16"},
        {"precision": "float16"},
        {"xla": True},
        {"label_smoothing": 0.1, "loss_on": "probabilities"},
        {"class_weights": "balanced", "accumulate": 3},
        {"optimizer": "sgd", "momentum": 0.9, "nesterov": True, "clip_value": 0.5},
    ],
    ids=str,
)
def test_training_options_still_learn(tmp_path: pathlib.Path, train: dict) -> None:
    classifier, fit = _fit(_settings([{"mix_up": {}}, "horizontal_flip"], epochs=2, **train), tmp_path)
    assert fit.history[-1]["val_loss"] < 1.15
    classifiers.compute_in_float32(classifier)
    assert {layer.compute_dtype for layer in classifier._flatten_layers()} == {"float32"}
    answers = np.asarray(classifier(VALIDATION.pixels))
    (kept,) = [epoch for epoch in fit.history if epoch["kept"]]
    assert np.mean(answers.argmax(-1) == VALIDATION.labels) == pytest.approx(kept["val_accuracy"], abs=0.1)


def test_class_weights_move_the_answers(tmp_path: pathlib.Path) -> None:
    heavy, _ = _fit(_settings(class_weights={"dark": 0, "light": 0}), tmp_path)
    assert set(np.asarray(heavy(VALIDATION.pixels)).argmax(-1)) == {2}


@pytest.mark.slow
def test_transfer_learns_in_two_phases_and_goes_on_in_the_second(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = keras.applications.MobileNetV2(weights=None, include_top=False, input_shape=(32, 32, 3))
    source.save_weights(tmp_path / "backbone.weights.h5")
    network = {
        "architecture": "transfer",
        "backbone": "MobileNetV2",
        "weights": str(tmp_path / "backbone.weights.h5"),
        "frozen_epochs": 1,
        "fine_tune_layers": 3,
        "fine_tune_learning_rate": 1e-4,
    }
    pixels = {"image_size": [32, 32], "channels": 1}
    settings = _settings(epochs=3, keep_best=False).model_dump(mode="json")
    settings |= {"model": network, "pixels": pixels}
    settings = TrainerSettings.model_validate(settings)
    larger = [
        PixelStore(np.zeros((len(one), 32, 32, 1), np.uint8), one.labels) for one in (TRAINING, VALIDATION)
    ]
    for store, small in zip(larger, (TRAINING, VALIDATION), strict=True):
        store.pixels[:, :12, :12] = small.pixels

    def fit(name: str) -> tuple[keras.Model, fitting.Fit]:
        (tmp_path / name).mkdir(exist_ok=True)
        classifier = _classifier(settings)
        arguments = (settings, NAMES, devices.place("cpu"), str(tmp_path / name))
        return classifier, fitting.fit(classifier, *larger, *arguments)

    classifier, expected = fit("undisturbed")
    assert [epoch["learning_rate"] for epoch in expected.history] == pytest.approx([1e-3, 1e-4, 1e-4])
    (backbone,) = [one for one in classifier.get_layer("transfer").layers if isinstance(one, keras.Model)]
    changed = [
        layer.name
        for layer, before in zip(backbone.layers, source.layers, strict=True)
        for one, other in zip(layer.get_weights(), before.get_weights(), strict=True)
        if not np.array_equal(one, other)
    ]
    # The last three layers are a convolution, its batch norm, which stays as it came, and the relu.
    assert changed == ["Conv_1"]

    pulled = []

    def pull(self: Any, epoch: int, logs: Any = None) -> None:
        if epoch == 2 and not pulled:
            pulled.append(epoch)
            raise _PulledPlugError

    monkeypatch.setattr("modules.callbacks.Recorder.on_epoch_end", _after(pull))
    with pytest.raises(_PulledPlugError):
        fit("interrupted")
    _, fit_again = fit("interrupted")
    assert fit_again.facts["resumed_at_epoch"] == 3
    assert _metrics(fit_again) == _metrics(expected)


def _after(first: Any) -> Any:
    from modules.callbacks import Recorder

    original = Recorder.on_epoch_end

    def both(self: Any, epoch: int, logs: Any = None) -> None:
        first(self, epoch, logs)
        original(self, epoch, logs)

    return both


def test_a_device_that_is_not_there_is_an_error() -> None:
    if tf.config.list_physical_devices("GPU"):
        assert devices.place("auto").name.startswith("GPU")
        return
    assert devices.place("auto").name == "CPU"
    with pytest.raises(InputError, match=r"train\.devices: gpus was asked for, but TensorFlow sees no GPU"):
        devices.place("gpus")


@pytest.mark.parametrize("cluster", ["", "{}", '{"cluster": {"worker": ["one:1"]}}', "no json"])
def test_workers_need_a_cluster(monkeypatch: pytest.MonkeyPatch, cluster: str) -> None:
    monkeypatch.setenv("TF_CONFIG", cluster)
    with pytest.raises(InputError, match="TF_CONFIG"):
        devices.place("workers")


#: Trains as one of several processes, or alone with the batch of all, and saves figures and weights.
PROCESS = """
import json, sys
import numpy as np
import tensorflow as tf
from modules import classifier as classifiers, devices, fitting
from tests.modules import test_training as shared

kind, directory = sys.argv[1:]
if kind == "mirrored":
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
    placement = devices.mirrored(["CPU:0", "CPU:1"])
else:
    placement = devices.place("cpu" if kind == "alone" else "workers")
parts = placement.replicas
settings = shared._settings(
    batch_size=16 // parts, learning_rate=0.1 / parts, optimizer="sgd", momentum=0.9, epochs=2, ema=0.5,
)
# Without dropout, whose random numbers belong to a device.
settings = settings.model_copy(update={"model": settings.model.model_copy(update={"architecture": "mlp"})})
with placement.strategy.scope():
    classifier = shared._classifier(settings)
fit = fitting.fit(
    classifier, shared.TRAINING, shared.VALIDATION, settings, shared.NAMES, placement, directory
)
np.savez(f"{directory}/{kind}.npz", *classifier.get_weights())
open(f"{directory}/{kind}.json", "w").write(json.dumps(shared._metrics(fit)))
"""


@pytest.mark.slow
def test_several_devices_and_processes_train_as_one_with_the_whole_batch(tmp_path: pathlib.Path) -> None:
    sockets = [socket.socket() for _ in range(2)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    root = pathlib.Path(__file__).parents[2]
    processes = []
    for index, kind in enumerate(["worker-0", "worker-1", "alone", "mirrored"]):
        (tmp_path / kind).mkdir()
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = os.environ | ({"TF_CONFIG": json.dumps(task)} if kind.startswith("worker") else {})
        command = [sys.executable, "-c", PROCESS, kind, str(tmp_path / kind)]
        processes.append(subprocess.Popen(command, cwd=root, env=environment, stderr=subprocess.PIPE))
        if kind != "worker-0":  # the two workers need each other; more at once than that is no faster
            for process in processes:
                error = process.communicate()[1]
                assert process.returncode == 0, error.decode()[-3000:]
            processes.clear()

    def result(kind: str) -> tuple[list[np.ndarray], list[dict[str, float]]]:
        with np.load(tmp_path / kind / f"{kind}.npz") as stored:
            weights = [stored[name] for name in stored.files]
        return weights, json.loads((tmp_path / kind / f"{kind}.json").read_text())

    alone, figures = result("alone")
    assert figures[-1]["loss"] < figures[0]["loss"]
    for kind in ("worker-0", "worker-1", "mirrored"):
        weights, others = result(kind)
        for one, other in zip(alone, weights, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)
        for one, other in zip(figures, others, strict=True):
            assert one == pytest.approx(other, abs=1e-4)
