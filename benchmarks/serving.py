"""Measures serving against the same model called in process: latency, rate under load, time to start.

    python -m benchmarks.serving                       # MobileNetV3Small, about two minutes
    python -m benchmarks.serving --network mlp --data photos

A network is exported as the trainer exports it, for JPEGs of 224x224 pixels, with fresh weights, which cost
what trained ones do. The direct call is a session's callable on one encoded image: what a program would do
that holds the model itself. The clients are processes of their own, `serving.client.Classifier` over
loopback, on the same cores as the server. Everything alternates, round after round, within one run; the
machine should have nothing else to do.

What batching can gain is the network's: one that keeps all cores busy with a single image, as `flowers_cnn`
and `simple_cnn` do on two cores, gains a third at most, clients or not; compare the direct calls in
batches.
"""

from __future__ import annotations

import argparse
import functools
import io
import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from serving.client import Classifier
from serving.local import LocalServer

SIZE = (224, 224)
MODEL = "benchmark"
CLASSES = 5
#: What serving has to reach; the figures are printed beside.
LATENCY_BAR, RATE_BAR, START_BAR = 1.6, 2.0, 12.0

_spawn = multiprocessing.get_context("spawn")


def jpegs(folder: Path | None, count: int = 64) -> list[bytes]:
    """Encoded images of 224x224: the first of a folder, or smooth noise about as hard to decode as photos."""
    images: Iterator[Image.Image]
    if folder is None:
        rng = np.random.default_rng(0)
        images = (_noise(rng) for _ in range(count))
    else:
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
        if not paths:
            sys.exit(f"{folder}: no JPEG in it")
        images = (
            ImageOps.fit(Image.open(path).convert("RGB"), SIZE) for path in paths[:: len(paths) // count + 1]
        )
    return [_encoded(image) for image in images]


def _noise(rng: np.random.Generator) -> Image.Image:
    coarse = Image.fromarray(rng.integers(0, 256, (14, 14, 3), np.uint8)).resize(
        SIZE, Image.Resampling.BICUBIC
    )
    fine = rng.integers(-12, 13, (*SIZE, 3))
    return Image.fromarray((np.asarray(coarse) + fine).clip(0, 255).astype(np.uint8))


def _encoded(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def export(network: str, target: Path) -> None:
    """Writes the SavedModel as the pipeline would: Transform's graph before the network."""
    import apache_beam as beam
    import tensorflow as tf
    import tensorflow_transform.beam as tft_beam
    from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils

    from modules import classifier, features, preprocessing
    from modules import export as exporting
    from modules.architectures import registry
    from modules.settings import ModelSettings, PixelSettings, TransformSettings
    from modules.transform_graph import TransformGraph

    pixels = PixelSettings(image_size=SIZE, channels=3)
    settings = preprocessing.PreprocessingSettings(
        pixels=pixels, transform=TransformSettings(), background=(255, 255, 255)
    )
    function = functools.partial(
        preprocessing.preprocessing_fn, custom_config={"settings": settings.model_dump_json()}
    )
    spec = {name: tf.io.FixedLenFeature([], tf.string) for name in (features.IMAGE, features.LABEL)}
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    (image,) = jpegs(None, 1)
    examples = [{features.IMAGE: image, features.LABEL: b"class %d" % n} for n in range(CLASSES)]
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner", "--direct_running_mode=in_memory"]
    )
    with tempfile.TemporaryDirectory() as scratch:
        with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=f"{scratch}/temp"):
            graph = (pipeline | beam.Create(examples), metadata) | tft_beam.AnalyzeDataset(function)
            graph | tft_beam.WriteTransformFn(f"{scratch}/graph")
        transform = TransformGraph(f"{scratch}/graph")
        # A name that is not registered is a backbone of `keras.applications`.
        settings = (
            ModelSettings(architecture=network)
            if network in registry.names()
            else ModelSettings(architecture="transfer", backbone=network, weights="none")
        )
        model = classifier.build_classifier(settings, pixels, CLASSES, transform.scale, transform.offset)
        exporting.export(model, transform, str(target))


def _export(network: str, target: Path) -> None:
    export(network, target)
    os._exit(0)  # taken down in order, Beam and TensorFlow together may crash the interpreter at its end


def _direct(pipe: Connection, version: Path, images: list[bytes]) -> None:
    """A process that holds the model itself: for each message (seconds, rows) the latencies of its calls."""
    from serving.batching import Call
    from serving.loader import SessionOptions, load

    servable = load(MODEL, 1, version, SessionOptions())
    outputs = tuple(sorted(servable.signatures["serving_default"].outputs))

    def call(number: int, rows: int) -> None:
        array = np.empty(rows, object)
        array[:] = [images[(number + row) % len(images)] for row in range(rows)]
        servable.run("serving_default", [array], outputs, Call())

    _obey(pipe, call)


def _client(pipe: Connection, address: str, images: list[bytes]) -> None:
    """A client process: for each message (seconds, 1) the latencies of its calls, one image each."""
    with Classifier(address, MODEL) as classifier:
        _obey(pipe, lambda number, rows: classifier.classify(images[number % len(images)]))


def _obey(pipe: Connection, call: Any) -> None:
    while message := pipe.recv():
        seconds, rows = message
        latencies = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            call(len(latencies), rows)
            latencies.append(time.perf_counter() - began)
        pipe.send(latencies)


@contextmanager
def _process(target: Any, *args: Any) -> Iterator[Connection]:
    here, there = _spawn.Pipe()
    process = _spawn.Process(target=target, args=(there, *args), daemon=True)
    process.start()
    try:
        yield here
    finally:
        here.send(None)
        process.join(20)


def _ask(pipes: list[Connection], seconds: float, rows: int = 1) -> list[float]:
    for pipe in pipes:
        pipe.send((seconds, rows))
    return [latency for pipe in pipes for latency in pipe.recv()]


def _line(name: str, values: list[float], unit: str) -> float:
    middle = statistics.median(values)
    print(f"{name:<44}{middle:9.2f} {unit:<12} ({min(values):.2f} to {max(values):.2f})", flush=True)
    return middle


def measure(version: Path, images: list[bytes], concurrency: int, rounds: int, seconds: float) -> bool:
    """Alternates direct calls, one client and many, prints the medians of the rounds, judges them."""
    direct, direct_rate, batch_rate, alone, crowd_rate, crowd_p99 = ([] for _ in range(6))
    with ExitStack() as stack:
        model = stack.enter_context(_process(_direct, version, images))
        began = time.monotonic()
        server = stack.enter_context(LocalServer(version.parent, MODEL))
        start = time.monotonic() - began
        clients = [stack.enter_context(_process(_client, server.address, images)) for _ in range(concurrency)]
        for pipes in ([model], clients):  # nobody's first call counts
            _ask(pipes, 1.0)
        _ask([model], 0.5, 32)
        for _ in range(rounds):
            latencies = _ask([model], seconds)
            direct.append(1e3 * statistics.median(latencies))
            direct_rate.append(len(latencies) / seconds)
            batch_rate.append(32 * len(_ask([model], seconds, 32)) / seconds)
            alone.append(1e3 * statistics.median(_ask(clients[:1], seconds)))
            latencies = _ask(clients, seconds)
            crowd_rate.append(len(latencies) / seconds)
            crowd_p99.append(1e3 * statistics.quantiles(latencies, n=100)[-1])
    _line("direct call, median latency", direct, "ms")
    _line("direct calls one after the other", direct_rate, "images/s")
    _line("direct calls in batches of 32", batch_rate, "images/s")
    _line("one client, median latency", alone, "ms")
    _line(f"{concurrency} clients, together", crowd_rate, "images/s")
    _line(f"{concurrency} clients, 99th percentile of latency", crowd_p99, "ms")
    latency = _line(
        "latency of one client / direct", [a / b for a, b in zip(alone, direct, strict=True)], "times"
    )
    rate = _line(
        f"rate of {concurrency} clients / direct",
        [a / b for a, b in zip(crowd_rate, direct_rate, strict=True)],
        "times",
    )
    print(f"{'start to serving':<44}{start:9.2f} s")
    met = latency <= LATENCY_BAR and rate >= RATE_BAR and start < START_BAR
    verdict = "met" if met else "MISSED"
    print(f"wanted: at most {LATENCY_BAR}, at least {RATE_BAR}, under {START_BAR} s: {verdict}")
    return met


def main() -> int:
    """Runs the measurements; exit code 1 when a bar is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--network",
        default="MobileNetV3Small",
        help="a registered network, or a backbone (default: %(default)s)",
    )
    parser.add_argument("--data", type=Path, help="folder of JPEGs; without it smooth noise")
    parser.add_argument("--concurrency", type=int, default=16, help="clients (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="repetitions (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement (default: %(default)s)")
    options = parser.parse_args()
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    images = jpegs(options.data)
    mean = sum(map(len, images)) / len(images) / 1024
    print(
        f"{options.network}, {len(images)} JPEGs of 224x224 ({mean:.0f} KiB), {os.cpu_count()} cores",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="imagemill-") as scratch:
        version = Path(scratch, MODEL, "1")
        exporting = _spawn.Process(target=_export, args=(options.network, version))
        exporting.start()
        exporting.join()
        if exporting.exitcode:
            return 1
        return 0 if measure(version, images, options.concurrency, options.rounds, options.seconds) else 1


if __name__ == "__main__":
    sys.exit(main())
