"""The state of an unfinished training on disk, so that a killed one goes on as if nothing had happened.

At the beginning of every epoch the variables of the model and of the optimizer, the weights kept so far,
the counters of the callbacks and the history are written to one file, atomically. The folder's name is a
digest of everything that the training depends on: another configuration, other data or other code find
nothing there and start afresh. What callbacks write meanwhile (checkpoints, event files, history.csv) lies
in the same folder and becomes part of the trained model's record when training ends.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from modules.callbacks import KeptWeights, Recorder

#: The file of a folder.
STATE = "state.npz"
_FORGOTTEN_AFTER_SECONDS = 30 * 24 * 3600


def folder(parent: str, *depends_on: str) -> str:
    """The folder of an unfinished training.

    Args:
      parent: directory of all unfinished trainings; those that nobody came back to for 30 days are deleted.
      depends_on: texts that together say what is trained: settings, files, code.
    """
    digest = hashlib.sha256("\0".join(depends_on).encode()).hexdigest()[:16]
    if tf.io.gfile.isdir(parent):
        for name in tf.io.gfile.listdir(parent):
            old = f"{parent}/{name.rstrip('/')}"
            if time.time() - tf.io.gfile.stat(old).mtime_nsec / 1e9 > _FORGOTTEN_AFTER_SECONDS:
                tf.io.gfile.rmtree(old)
    tf.io.gfile.makedirs(f"{parent}/{digest}")
    return f"{parent}/{digest}"


class State(keras.callbacks.Callback):
    """Saves the state when an epoch begins, and restores it when training does; stands last in the list."""

    def __init__(self, directory: str, recorder: Recorder, kept: KeptWeights, write: bool):
        """Prepares.

        Args:
          directory: from `folder`.
          recorder, kept: callbacks whose state is more than numbers.
          write: whether this process is the one that saves.
        """
        super().__init__()
        self._path = f"{directory}/{STATE}"
        self._recorder = recorder
        self._kept = kept
        self._write = write
        self.others: list[keras.callbacks.Callback] = []
        self.phase = 0
        self._restored = self._read()

    @property
    def resumed_epoch(self) -> int | None:
        """Epoch (from 0) to go on with, or None when there is nothing to resume."""
        return self._restored[0]["epoch"] if self._restored else None

    @property
    def resumed_phase(self) -> int:
        """Phase (from 0) that the epoch belongs to."""
        return self._restored[0]["phase"] if self._restored else 0

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._restored is None or self._restored[0]["phase"] != self.phase:
            return
        state, arrays = self._restored
        self._restored = None
        for name, variables in self._variables().items():
            for number, variable in enumerate(variables):
                variable.assign(arrays[f"{name}{number}"])
        for callback, numbers in zip(self.others, state["callbacks"], strict=True):
            vars(callback).update(numbers)
        self._recorder.epochs[:] = state["history"]
        if state["kept"] is not None:
            self._kept.epoch, self._kept.best = state["kept"]["epoch"], tuple(state["kept"]["best"])
            self._kept.weights = [arrays[f"kept{number}"] for number in range(state["kept"]["count"])]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if not self._write or epoch == 0:
            return
        arrays = {
            f"{name}{number}": np.asarray(variable)
            for name, variables in self._variables().items()
            for number, variable in enumerate(variables)
        }
        kept = None
        if self._kept.weights is not None:
            kept = {"epoch": self._kept.epoch, "best": self._kept.best, "count": len(self._kept.weights)}
            arrays |= {f"kept{number}": array for number, array in enumerate(self._kept.weights)}
        state = {
            "epoch": epoch,
            "phase": self.phase,
            "history": self._recorder.epochs,
            "callbacks": [_numbers(callback) for callback in self.others],
            "kept": kept,
        }
        arrays["state"] = np.array(json.dumps(state))
        content = io.BytesIO()
        np.savez(content, **arrays)
        # Renamed into place: whoever is killed while writing leaves the state of the epoch before.
        with tf.io.gfile.GFile(f"{self._path}.new", "wb") as file:
            file.write(content.getvalue())
        tf.io.gfile.rename(f"{self._path}.new", self._path, overwrite=True)

    def _variables(self) -> dict[str, list[Any]]:
        metrics = {id(variable) for metric in self.model.metrics for variable in metric.variables}
        weights = [variable for variable in self.model.variables if id(variable) not in metrics]
        return {"model": weights, "optimizer": list(self.model.optimizer.variables)}

    def _read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        if not tf.io.gfile.exists(self._path):
            return None
        try:
            with tf.io.gfile.GFile(self._path, "rb") as file, np.load(io.BytesIO(file.read())) as stored:
                arrays = {name: stored[name] for name in stored.files}
            return json.loads(str(arrays.pop("state"))), arrays
        except (ValueError, KeyError, OSError, zipfile.BadZipFile):
            return None  # a damaged file costs the finished epochs, nothing else


def _numbers(callback: keras.callbacks.Callback) -> dict[str, float | int | bool]:
    """The counters of a callback: what Keras' own do not save."""
    return {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in vars(callback).items()
        # Keras turns the sign of `min_delta` at the first epoch's end, once for each process.
        if isinstance(value, bool | int | float | np.generic) and name != "min_delta"
    }
