"""Where training runs: the CPU, one GPU, all GPUs of a machine, or several machines."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from modules.errors import InputError


@dataclass(frozen=True)
class Placement:
    """Devices that train together.

    Attributes:
      strategy: of TensorFlow; variables are made, and steps run, in its scope.
      replicas: devices that share a batch.
      worker, workers: number of this process, and of all.
      name: for people, such as `2 GPUs`.
    """

    strategy: tf.distribute.Strategy
    replicas: int
    worker: int
    workers: int
    name: str

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what all have trained."""
        return self.worker == 0


def place(devices: str) -> Placement:
    """Takes the devices that the configuration asks for (`train.devices`).

    Raises:
      InputError: when they are not there; nothing falls back silently.
    """
    if devices == "workers":
        return _workers()
    gpus = tf.config.list_physical_devices("GPU")
    if devices in ("gpu", "gpus") and not gpus:
        raise InputError(
            f"train.devices: {devices} was asked for, but TensorFlow sees no GPU here. Check the driver and "
            "that TensorFlow was installed with CUDA (the image's gpu target is), or set it to cpu or auto."
        )
    for gpu in gpus:
        # Otherwise TensorFlow takes all memory of the GPU, and a neighbour gets none.
        tf.config.experimental.set_memory_growth(gpu, True)
    if devices == "gpus":
        return mirrored([f"GPU:{number}" for number in range(len(gpus))])
    if gpus and devices != "cpu":
        more = f" (1 of {len(gpus)}; train.devices: gpus takes all)" if len(gpus) > 1 else ""
        return Placement(tf.distribute.OneDeviceStrategy("GPU:0"), 1, 0, 1, f"GPU{more}")
    if gpus:
        return Placement(tf.distribute.OneDeviceStrategy("CPU:0"), 1, 0, 1, "CPU")
    return Placement(tf.distribute.get_strategy(), 1, 0, 1, "CPU")


def mirrored(devices: list[str]) -> Placement:
    """Several devices of this machine; each computes its part of a batch."""
    name = f"{len(devices)} {devices[0].partition(':')[0]}s"
    return Placement(tf.distribute.MirroredStrategy(devices), len(devices), 0, 1, name)


def is_first_worker() -> bool:
    """Whether TF_CONFIG says that this process is the first of several."""
    return _cluster().get("task", {}).get("index") == 0


def _cluster() -> dict[str, Any]:
    try:
        return json.loads(os.environ.get("TF_CONFIG") or "{}")
    except json.JSONDecodeError as error:
        raise InputError(f"The environment variable TF_CONFIG is not valid JSON: {error}.") from error


def _workers() -> Placement:
    cluster = _cluster()
    addresses = cluster.get("cluster", {}).get("worker", [])
    task = cluster.get("task", {})
    if len(addresses) < 2 or task.get("type") != "worker" or "index" not in task:
        raise InputError(
            "train.devices: workers needs the environment variable TF_CONFIG with at least two workers and "
            'this process\' own place, such as {"cluster": {"worker": ["one:2222", "two:2222"]}, '
            '"task": {"type": "worker", "index": 0}}.'
        )
    gpus = tf.config.list_physical_devices("GPU")
    if len(gpus) > 1:
        # One replica a process keeps the order of the images simple: start a worker for every GPU.
        tf.config.set_visible_devices(gpus[:1], "GPU")
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    count = len(addresses)
    name = f"{count} workers with a {'GPU' if gpus else 'CPU'} each"
    return Placement(strategy, count, int(task["index"]), count, name)
