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

from benchmarks.figures import Figure, Results, ratios
from benchmarks.scale import Scale
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


def measure(scale: Scale, scratch: Path) -> Results:
    """The part of the benchmarks: a network of many small operators, and one of larger ones."""
    results = Results()
    for network in ("MobileNetV3Small",) if scale.quick else ("MobileNetV3Small", "EfficientNetB0"):
        results.figures += compare(network, jpegs(None), scratch, rounds=2 * scale.repetitions - 1)
    return results


def compare(
    network: str,
    images: list[bytes],
    scratch: Path,
    concurrency: int = 16,
    rounds: int = 5,
    seconds: float = 3,
) -> list[Figure]:
    """Alternates direct calls, one client and many, round after round.

    Raises:
      RuntimeError: the network cannot be exported.
    """
    version = scratch / network / MODEL / "1"
    exporting = _spawn.Process(target=_export, args=(network, version))
    exporting.start()
    exporting.join()
    if exporting.exitcode:
        raise RuntimeError(f"{network} could not be exported")
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
    middle = statistics.median
    return [
        ratios(
            f"serving {network}, one client: latency", "direct call", alone, direct, LATENCY_BAR,
            lambda ours, theirs: f"{ours:.1f} ms against {theirs:.1f} ms",
        ),
        Figure(
            f"serving {network}, {concurrency} clients: rate", "direct calls one after the other",
            [a / b for a, b in zip(crowd_rate, direct_rate, strict=True)], RATE_BAR, at_least=True,
            remark=f"{middle(crowd_rate):.0f} images/s against {middle(direct_rate):.0f}, in batches of 32 "
            f"{middle(batch_rate):.0f}; 99 % within {middle(crowd_p99):.0f} ms",
        ),
        Figure(f"serving {network}: start", "", [start], START_BAR, unit="s"),
    ]  # fmt: skip


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
    with tempfile.TemporaryDirectory(prefix="imagemill-") as scratch:
        figures = compare(
            options.network, images, Path(scratch), options.concurrency, options.rounds, options.seconds
        )
    for figure in figures:
        print(f"{figure.name}: {figure.shown}, {figure.wanted}: {figure.verdict}; {figure.remark}")
    return 0 if all(figure.verdict != "MISSED" for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
