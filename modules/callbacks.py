"""What watches training: figures of every epoch, the weights to keep, checkpoints, learning rate, stops."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from modules import progress
from modules.train_settings import CheckpointSettings, TrainSettings


def watchers(settings: TrainSettings, directory: str | None) -> list[keras.callbacks.Callback]:
    """The configured callbacks that stand between the figures of an epoch and the next one.

    Args:
      settings: which ones.
      directory: where checkpoints and event files go; None for none of them.
    """
    chosen: list[keras.callbacks.Callback] = [keras.callbacks.TerminateOnNaN()]
    if settings.learning_rate_at:
        chosen.append(keras.callbacks.LearningRateScheduler(_rate_table(settings.learning_rate_at)))
    if settings.reduce_on_plateau is not None:
        plateau = settings.reduce_on_plateau
        chosen.append(
            keras.callbacks.ReduceLROnPlateau(
                monitor=plateau.monitor,
                factor=plateau.factor,
                patience=plateau.patience,
                min_delta=plateau.min_delta,
                cooldown=plateau.cooldown,
                min_lr=plateau.min_learning_rate,
                mode=_mode(plateau.monitor),
            )
        )
    if settings.early_stopping is not None:
        stopping = settings.early_stopping
        chosen.append(
            keras.callbacks.EarlyStopping(
                monitor=stopping.monitor,
                patience=stopping.patience,
                min_delta=stopping.min_delta,
                start_from_epoch=stopping.start_from_epoch,
                mode=_mode(stopping.monitor),
            )
        )
    if settings.checkpoint is not None and directory is not None:
        chosen.append(Checkpoints(settings.checkpoint, f"{directory}/checkpoints"))
    if settings.tensorboard is not None and directory is not None:
        chosen.append(
            keras.callbacks.TensorBoard(
                f"{directory}/tensorboard",
                histogram_freq=settings.tensorboard.histogram_epochs,
                write_graph=False,
            )
        )
    return chosen


def _mode(monitor: str) -> str:
    return "max" if monitor.endswith("accuracy") else "min"


def _rate_table(rates: dict[int, float]):
    def rate(epoch: int, current: float) -> float:
        return rates.get(epoch + 1, current)

    return rate


class KeptWeights(keras.callbacks.Callback):
    """Puts the weights to keep back when training ends: those of the best epoch, or of the last.

    Small validation splits often tie; the other metric then decides.
    """

    def __init__(self, settings: TrainSettings):
        super().__init__()
        self._keep_best = settings.keep_best
        self._by_loss = settings.monitor == "val_loss"
        self.best = (-np.inf, -np.inf)
        self.weights: list[np.ndarray] | None = None
        self.epoch = 0

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = (float(logs["val_accuracy"]), -float(logs["val_loss"]))
        if self._by_loss:
            figures = figures[::-1]
        if figures > self.best or not self._keep_best:
            self.best, self.epoch = figures, epoch
            self.weights = self.model.classifier.get_weights()

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:
        if self.weights is not None:
            self.model.classifier.set_weights(self.weights)


class EpochSeeds(keras.callbacks.Callback):
    """Sets every random generator from (seed, epoch), so that an epoch does not depend on those before.

    Dropout and augmentation of a resumed training are then those of an undisturbed one.
    """

    def __init__(self, seed: int):
        super().__init__()
        self._seed = seed

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        states = [one for one in self.model.variables if one.name == "seed_generator_state"]
        for number, state in enumerate(states):
            value = np.random.default_rng((self._seed, epoch, number)).integers(0, 2**31, size=2)
            state.assign(value.astype(state.dtype))


class Recorder(keras.callbacks.Callback):
    """Keeps the figures of every epoch, writes them as CSV, and reports progress."""

    def __init__(self, images: int, epochs: int, path: str | None = None):
        """Prepares a record.

        Args:
          images: trained on in an epoch.
          epochs: expected in all.
          path: of the CSV file, rewritten after every epoch.
        """
        super().__init__()
        self._images = images
        self._expected = epochs
        self._path = path
        self.epochs: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        self._epoch = epoch
        self._started = time.perf_counter()
        self.model.input_wait()  # forgets what came before this epoch

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:
        self._train_seconds = time.perf_counter() - self._started
        done = self._epoch * self.params["steps"] + batch + 1
        last = self.epochs[-1] if self.epochs else {}
        figures = {key: last[key] for key in ("val_accuracy",) if key in last}
        progress.emit(
            "training",
            done,
            self._expected * self.params["steps"],
            epoch=self._epoch + 1,
            epochs=self._expected,
            **figures,
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figures = {name: float(value) for name, value in logs.items() if name != "learning_rate"}
        self.epochs.append(
            {
                "epoch": epoch + 1,
                **figures,
                "learning_rate": float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate)),
                "seconds": time.perf_counter() - self._started,
                "images_per_second": self._images / self._train_seconds,
                "input_wait": min(1.0, self.model.input_wait() / self._train_seconds),
            }
        )
        if self._path is not None:
            text = io.StringIO()
            rows = csv.DictWriter(text, list(self.epochs[0]))
            rows.writeheader()
            rows.writerows(self.epochs)
            with tf.io.gfile.GFile(self._path, "w") as file:
                file.write(text.getvalue())


class Asking(keras.callbacks.Callback):
    """Asks after every epoch whether training is to stop; `stopped` tells that it was."""

    def __init__(self, is_enough: Callable[[], bool]):
        super().__init__()
        self._is_enough = is_enough
        self.stopped = False

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        if self._is_enough():
            self.stopped = self.model.stop_training = True


class Checkpoints(keras.callbacks.Callback):
    """Keeps Keras models of epochs in files such as `epoch-03-val_accuracy-0.9134.keras`."""

    def __init__(self, settings: CheckpointSettings, directory: str):
        super().__init__()
        self._settings = settings
        self._directory = directory
        self._sign = 1 if _mode(settings.monitor) == "max" else -1
        self.best = -np.inf

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        figure = float(logs[self._settings.monitor])
        is_best = self._sign * figure > self.best
        if not is_best and not self._settings.every_epoch:
            return
        self.best = max(self.best, self._sign * figure)
        tf.io.gfile.makedirs(self._directory)
        name = f"epoch-{epoch + 1:03}-{self._settings.monitor}-{figure:.4f}.keras"
        self.model.classifier.save(f"{self._directory}/{name}")
        for old in sorted(tf.io.gfile.glob(f"{self._directory}/epoch-*.keras"))[: -self._settings.keep]:
            tf.io.gfile.remove(old)
