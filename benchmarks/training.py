"""Seconds of a training epoch through the pipeline's input, against `model.fit` on arrays in memory.

    python -m benchmarks.training FOLDER_OF_IDX_FILES

The same network, batch size and images. Both train two epochs, of which the second counts, in turn and
several times. Also the share of the training time that steps waited for images.
"""

from __future__ import annotations

import argparse
import pathlib
import tempfile
import time

import keras
import numpy as np

from benchmarks.idx_to_folders import read_idx
from modules import classifier as classifiers
from modules import devices, fitting
from modules.input_pipeline import PixelStore
from modules.settings import TrainerSettings


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("folder", type=pathlib.Path, help="of MNIST or Fashion-MNIST")
    parser.add_argument("--architecture", default="fashion_cnn")
    parser.add_argument("--images", type=int, default=60_000)
    parser.add_argument("--repetitions", type=int, default=3)
    options = parser.parse_args()
    images = read_idx(options.folder / "train-images-idx3-ubyte.gz")[: options.images, ..., None]
    labels = read_idx(options.folder / "train-labels-idx1-ubyte.gz")[: options.images].astype(np.int32)
    settings = TrainerSettings.model_validate(
        {
            "pixels": {"image_size": images.shape[1:3], "channels": 1},
            "model": {"architecture": options.architecture},
            "train": {"epochs": 2},
        }
    )
    ours, plain, waits = [], [], []
    for _ in range(options.repetitions):
        seconds, wait = through_the_pipeline(settings, PixelStore(images, labels))
        ours.append(seconds)
        waits.append(wait)
        plain.append(on_arrays(settings, images, labels))
    ratios = np.array(ours) / np.array(plain)
    for name, values in (("pipeline", ours), ("arrays", plain)):
        print(
            f"{name:9} {np.median(values):6.2f} s an epoch, {len(images) / np.median(values):7.0f} images/s"
        )
    print(f"ratio     {np.median(ratios):6.2f} ({ratios.min():.2f} to {ratios.max():.2f})")
    print(f"waiting for images: {np.median(waits):.1%} of the training time")


def through_the_pipeline(settings: TrainerSettings, store: PixelStore) -> tuple[float, float]:
    """Seconds of the second epoch, validation left out, and the share of them spent waiting."""
    with tempfile.TemporaryDirectory() as unfinished:
        held = PixelStore(store.pixels[:256], store.labels[:256])
        names = [str(number) for number in range(10)]
        placement = devices.place("auto")
        fit = fitting.fit(_classifier(settings), store, held, settings, names, placement, unfinished)
    last = fit.history[-1]
    return len(store) / last["images_per_second"], last["input_wait"]


def on_arrays(settings: TrainerSettings, images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of the second epoch of Keras' own loop."""
    classifier = _classifier(settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"], jit_compile=False)
    classifier.fit(images, labels, batch_size=settings.train.batch_size, verbose=0)
    began = time.perf_counter()
    classifier.fit(images, labels, batch_size=settings.train.batch_size, verbose=0)
    return time.perf_counter() - began


def _classifier(settings: TrainerSettings) -> keras.Model:
    keras.utils.set_random_seed(0)
    scale, offset = np.full(1, 1 / 255, np.float32), np.zeros(1, np.float32)
    return classifiers.build_classifier(settings.model, settings.pixels, 10, scale, offset)


if __name__ == "__main__":
    main()
