"""Measures the ingest: images a second against a plain loop, memory for many images, time for duplicates.

    python -m benchmarks.ingest            # 70,000 PNGs, 3,000 JPEGs, 100,000 PNGs: about two minutes
    python -m benchmarks.ingest --small    # a tenth of it

The plain loop is what one would write by hand with as many processes as cores: list, read, decode with
Pillow, digest, frame as a TFRecord. The ingest besides measures every image, hashes it for near duplicates,
writes thirteen features, divides, looks for duplicates and writes a manifest.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from components.image_example_gen.records import frame
from components.image_example_gen.workers import available_cores

_INGEST = """
import json, sys, time
import apache_beam as beam
from components.image_example_gen import data, workers
from components.image_example_gen.ingest import Targets, ingest
from components.image_example_gen.settings import DuplicateSettings, IngestSettings
folder, out = sys.argv[1:]
def pipeline():
    return beam.Pipeline(argv=["--runner=DirectRunner", "--direct_running_mode=in_memory"])
def memory():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
before = memory()
began = time.monotonic()
settings = IngestSettings(duplicates=DuplicateSettings(other_label="warn"))
summary = ingest(data.resolve(folder, 1), settings, Targets(out + "/e", out + "/q", out + "/s"), pipeline,
                 workers.available_cores())
print(json.dumps({
    "seconds": time.monotonic() - began,
    "images": sum(sum(one.values()) for one in summary["examples"].values()),
    "megabytes before": before // 1024,
    "megabytes at most": memory() // 1024,
}))
"""


def write_images(folder: Path, count: int, height: int, width: int, format: str) -> None:
    """Writes different smooth images into ten class folders."""
    rng = np.random.default_rng(0)
    for label in range(10):
        (folder / f"class {label}").mkdir(parents=True)
    for number in range(count):
        coarse = rng.integers(0, 256, (max(4, height // 16), max(4, width // 16)), np.uint8)
        image = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        if format == "JPEG":
            noise = rng.integers(-12, 13, (height, width, 3))
            image = Image.fromarray((np.asarray(image)[..., None] + noise).clip(0, 255).astype(np.uint8))
        name = folder / f"class {number % 10}" / f"{number:06d}.{format.lower()}"
        image.save(name, format, quality=85)


def _loop_part(task: tuple[list[str], str]) -> int:
    paths, target = task
    with open(target, "wb") as records:
        for path in paths:
            with open(path, "rb") as file:
                encoded = file.read()
            Image.open(io.BytesIO(encoded)).load()
            hashlib.sha256(encoded).hexdigest()
            records.write(frame(encoded))
    return len(paths)


def plain_loop(folder: Path, out: Path) -> float:
    """Seconds that a plain loop over all cores takes, its start included."""
    out.mkdir()
    began = time.monotonic()
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    size = max(1, len(paths) // (32 * available_cores()))
    parts = [(paths[at : at + size], f"{out}/{at}") for at in range(0, len(paths), size)]
    with multiprocessing.Pool(available_cores()) as pool:
        assert sum(pool.map(_loop_part, parts)) == len(paths)
    return time.monotonic() - began


def run_ingest(folder: Path, out: Path) -> dict[str, float]:
    """Seconds, images and memory of an ingest in a process of its own."""
    root = Path(__file__).parents[1]
    finished = subprocess.run(
        [sys.executable, "-c", _INGEST, str(folder), str(out)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


def measure(name: str, count: int, height: int, width: int, format: str) -> None:
    """Writes a folder, measures both ways on it, prints a line."""
    with tempfile.TemporaryDirectory(prefix="imagemill-") as scratch:
        place = Path(scratch)
        write_images(place / "data", count, height, width, format)
        loop = min(plain_loop(place / "data", place / f"loop{attempt}") for attempt in range(2))
        result = run_ingest(place / "data", place / "out")
        print(
            f"{name}: plain loop {loop:.2f} s ({count / loop:.0f}/s), ingest {result['seconds']:.2f} s "
            f"({result['images'] / result['seconds']:.0f}/s, {loop / result['seconds']:.2f} of the loop), "
            f"memory {result['megabytes before']:.0f} -> {result['megabytes at most']:.0f} MB",
            flush=True,
        )


def main() -> None:
    """Runs the measurements."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="a tenth of the images")
    share = 10 if parser.parse_args().small else 1
    measure("PNG 28x28, 70,000", 70_000 // share, 28, 28, "PNG")
    measure("JPEG 320x240, 3,000", 3_000 // share, 240, 320, "JPEG")
    measure("PNG 28x28, 100,000", 100_000 // share, 28, 28, "PNG")


if __name__ == "__main__":
    main()
