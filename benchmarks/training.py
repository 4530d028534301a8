"""Epochs of training through the pipeline's input, against Keras' own loop on the same images."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from benchmarks import commands, pictures
from benchmarks.figures import Figure, Results, ratios
from benchmarks.scale import Scale
from modules import classifier as classifiers
from modules import devices, features, fitting, input_pipeline
from modules.input_pipeline import PixelStore
from modules.settings import TrainerSettings
from modules.transform_graph import TransformGraph


def measure(scale: Scale, scratch: Path) -> Results:
    """The second epoch of both loops on pixels in memory, and the first with all decoding before it."""
    later, waits = _second_epochs(scale)
    return Results([later, waits, _first_epoch(scale, scratch)])


def _second_epochs(scale: Scale) -> tuple[Figure, Figure]:
    rng = np.random.default_rng(0)
    count = 60_000 // scale.share
    images = rng.integers(0, 256, (count, 28, 28, 1), np.uint8)
    labels = rng.integers(0, 10, count).astype(np.int32)
    ours, plain, waits = [], [], []
    for _ in range(scale.repetitions):
        seconds, wait = through_the_pipeline(PixelStore(images, labels))
        ours.append(seconds)
        waits.append(wait)
        plain.append(on_arrays(images, labels))
    name = f"fashion_cnn, {count:,} images, second epoch"
    return (
        ratios(name, "model.fit on arrays in memory", ours, plain, 1.05),
        Figure(f"{name}: waiting for images", "", waits, 0.03, unit=""),
    )


def _first_epoch(scale: Scale, scratch: Path) -> Figure:
    count = 60_000 // scale.share
    data = pictures.write(scratch / "data", count, 28, 28, "PNG")
    config = commands.ROOT / "configs" / "fashion_mnist.yaml"
    _, result = commands.run(config, data, scratch / "work", to="Transform")
    outputs = {node: one["outputs"] for node, one in result["nodes"].items()}
    files = [f"{outputs['ImageExampleGen']['examples']}/Split-train/*"]
    graph = TransformGraph(outputs["Transform"]["transform_graph"])
    ours, plain = [], []
    for _ in range(scale.repetitions):
        began = time.perf_counter()
        store = input_pipeline.load(files, graph, 8 << 30, scratch / "overflow")
        decoding = time.perf_counter() - began
        ours.append(decoding + through_the_pipeline(store, epochs=1)[0])
        plain.append(on_files(files, graph.class_names))
    return ratios(
        f"fashion_cnn, {len(store):,} images, first epoch with decoding",
        "model.fit on plain tf.data of the same files",
        ours,
        plain,
        1.15,
    )


def through_the_pipeline(store: PixelStore, epochs: int = 2) -> tuple[float, float]:
    """Seconds of the last epoch, validation left out, and the share of them spent waiting."""
    settings = _settings(epochs)
    with tempfile.TemporaryDirectory() as unfinished:
        held = PixelStore(store.pixels[:256], store.labels[:256])
        names = [str(number) for number in range(10)]
        placement = devices.place("auto")
        fit = fitting.fit(_classifier(settings), store, held, settings, names, placement, unfinished)
    last = fit.history[-1]
    return len(store) / last["images_per_second"], last["input_wait"]


def on_arrays(images: np.ndarray, labels: np.ndarray) -> float:
    """Seconds of the second epoch of Keras' own loop."""
    settings = _settings(1)
    classifier = _compiled(settings)
    classifier.fit(images, labels, batch_size=settings.train.batch_size, verbose=0)
    began = time.perf_counter()
    classifier.fit(images, labels, batch_size=settings.train.batch_size, verbose=0)
    return time.perf_counter() - began


def on_files(patterns: list[str], class_names: Sequence[str]) -> float:
    """Seconds of a first epoch that decodes on the way, as one would write it for these files by hand."""
    settings = _settings(1)
    table = tf.constant(class_names)
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (features.IMAGE, features.LABEL)}

    def decode(serialized: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raw = tf.io.parse_single_example(serialized, spec)
        pixels = tf.ensure_shape(tf.io.decode_png(raw[features.IMAGE], 1), (28, 28, 1))
        return pixels, tf.argmax(table == raw[features.LABEL], output_type=tf.int32)

    files = sorted(name for pattern in patterns for name in tf.io.gfile.glob(pattern))
    dataset = (
        tf.data.TFRecordDataset(files)
        .map(decode, num_parallel_calls=tf.data.AUTOTUNE)
        .shuffle(10_000)
        .batch(settings.train.batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    classifier = _compiled(settings)
    began = time.perf_counter()
    classifier.fit(dataset, verbose=0)
    return time.perf_counter() - began


def _settings(epochs: int) -> TrainerSettings:
    return TrainerSettings.model_validate(
        {
            "pixels": {"image_size": (28, 28), "channels": 1},
            "model": {"architecture": "fashion_cnn"},
            "train": {"epochs": epochs},
        }
    )


def _compiled(settings: TrainerSettings) -> keras.Model:
    classifier = _classifier(settings)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classifier.compile(keras.optimizers.Adam(1e-3), loss=loss, metrics=["accuracy"], jit_compile=False)
    return classifier


def _classifier(settings: TrainerSettings) -> keras.Model:
    keras.utils.set_random_seed(0)
    scale, offset = np.full(1, 1 / 255, np.float32), np.zeros(1, np.float32)
    return classifiers.build_classifier(settings.model, settings.pixels, 10, scale, offset)
