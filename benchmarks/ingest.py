"""The ingest against a plain loop, and with two processes against one.

The loop is what one would write by hand with as many processes as cores: list, read, decode with Pillow,
digest, frame as a TFRecord. In its bare form it writes the bytes alone, of which nothing could be trained;
the other one wraps them into `tf.train.Example`s with label and digest. The ingest besides measures every
image, hashes it for near duplicates, checks its structure, divides, finds duplicates, writes a manifest.
"""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import pictures
from benchmarks.figures import Figure, Results
from benchmarks.scale import Scale
from components.image_example_gen.records import frame
from components.image_example_gen.workers import available_cores

_INGEST = """
import json, sys, time
import apache_beam as beam
from components.image_example_gen import data
from components.image_example_gen.ingest import Targets, ingest
from components.image_example_gen.settings import DuplicateSettings, IngestSettings
folder, out, processes = sys.argv[1:]
def pipeline():
    return beam.Pipeline(argv=["--runner=DirectRunner", "--direct_running_mode=in_memory"])
def memory():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))
before = memory()
began = time.monotonic()
settings = IngestSettings(duplicates=DuplicateSettings(other_label="warn"))
summary = ingest(data.resolve(folder, 1), settings, Targets(out + "/e", out + "/q", out + "/s"), pipeline,
                 int(processes))
print(json.dumps({
    "seconds": time.monotonic() - began,
    "images": sum(sum(one.values()) for one in summary["examples"].values()),
    "megabytes before": before // 1024,
    "megabytes at most": memory() // 1024,
}))
"""

#: Share of the loop's rate.
BAR = 0.7


def _loop_part(task: tuple[list[str], str, bool]) -> int:
    paths, target, examples = task
    with open(target, "wb") as records:
        for path in paths:
            with open(path, "rb") as file:
                encoded = file.read()
            Image.open(io.BytesIO(encoded)).load()
            digest = hashlib.sha256(encoded).hexdigest()
            records.write(frame(_example(encoded, os.path.dirname(path), digest) if examples else encoded))
    return len(paths)


def _example(encoded: bytes, label: str, digest: str) -> bytes:
    from serving.protos import example  # TensorFlow's own message, without seconds of its import

    made = example.Example()
    for name, value in (("image", encoded), ("label", label.encode()), ("sha256", digest.encode())):
        made.features.feature[name].bytes_list.value.append(value)
    return made.SerializeToString()


def plain_loop(folder: Path, out: Path, examples: bool) -> float:
    """Seconds that a plain loop over all cores takes, its start included."""
    out.mkdir()
    began = time.monotonic()
    paths = [os.path.join(parent, name) for parent, _, names in os.walk(folder) for name in names]
    size = max(1, len(paths) // (32 * available_cores()))
    parts = [(paths[at : at + size], f"{out}/{at}", examples) for at in range(0, len(paths), size)]
    with multiprocessing.Pool(available_cores()) as pool:
        assert sum(pool.map(_loop_part, parts)) == len(paths)
    return time.monotonic() - began


def run_ingest(folder: Path, out: Path, processes: int) -> dict[str, float]:
    """Seconds, images and memory of an ingest in a process of its own, whose imports do not count."""
    root = Path(__file__).parents[1]
    finished = subprocess.run(
        [sys.executable, "-c", _INGEST, str(folder), str(out), str(processes)],
        env=os.environ | {"PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(finished.stdout.splitlines()[-1])


def compare(folder: Path, scratch: Path, name: str, repetitions: int) -> list[Figure]:
    """Measures the loops and the ingest on a folder, in turn."""
    seconds: dict[str, list[float]] = {"loop": [], "examples": [], "ingest": []}
    count = megabytes = 0.0
    for _ in range(repetitions):
        for kind in ("loop", "examples"):
            with tempfile.TemporaryDirectory(dir=scratch) as out:
                seconds[kind].append(plain_loop(folder, Path(out, "loop"), examples=kind == "examples"))
        with tempfile.TemporaryDirectory(dir=scratch) as out:
            result = run_ingest(folder, Path(out), available_cores())
        seconds["ingest"].append(result["seconds"])
        count, megabytes = result["images"], max(megabytes, result["megabytes at most"])

    def rates(ours: float, theirs: float) -> str:
        return f"{count / ours:,.0f} images/s against {count / theirs:,.0f}; {megabytes:,.0f} MB"

    def figure(against: str, theirs: list[float], bar: float | None) -> Figure:
        middle = rates(statistics.median(seconds["ingest"]), statistics.median(theirs))
        rate = [b / a for a, b in zip(seconds["ingest"], theirs, strict=True)]
        return Figure(f"ingest, {name}: rate", against, rate, bar, at_least=True, remark=middle)

    return [
        figure("plain loop: read, decode, digest, write bytes", seconds["loop"], BAR),
        figure("the same, writing tf.train.Examples with labels", seconds["examples"], None),
    ]


def measure(scale: Scale, scratch: Path) -> Results:
    """Tiny PNGs and photos."""
    tiny = pictures.write(scratch / "tiny", 70_000 // scale.share, 28, 28, "PNG")
    photos = pictures.write(scratch / "photos", 3_000 // scale.share, 240, 320, "JPEG")
    return Results(
        compare(tiny, scratch, f"{70_000 // scale.share:,} PNGs of 28x28", scale.repetitions)
        + compare(photos, scratch, f"{3_000 // scale.share:,} JPEGs of 320x240", scale.repetitions)
    )


def measure_workers(scale: Scale, scratch: Path) -> Results:
    """Large photos with one process and with all: more than a minute of work for one.

    Progressive ones, as sites hand them out: with others the disk would be measured, not the processes.
    """
    folder = scratch / "large"
    folder.mkdir()
    count = 640 // scale.share
    for label in range(2):
        (folder / f"class {label}").mkdir()
        for number in range(5):
            image = pictures.photo(np.random.default_rng(label * 5 + number), label, 3000, 4000, True)
            buffer = io.BytesIO()
            image.save(buffer, "JPEG", quality=75, progressive=True)
            encoded = buffer.getvalue()
            for copy in range(count // 10):
                # A comment makes every file another one; to decode it is the work of a photo all the same.
                comment = b"\xff\xfe\x00\x0a%08d" % copy
                (folder / f"class {label}" / f"{number}-{copy}.jpg").write_bytes(
                    encoded[:2] + comment + encoded[2:]
                )
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(scale.repetitions):
        for processes, taken in seconds.items():
            with tempfile.TemporaryDirectory(dir=scratch) as out:
                taken.append(run_ingest(folder, Path(out), processes)["seconds"])
    gain = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    one, two = (statistics.median(seconds[processes]) for processes in (1, 2))
    return Results(
        [
            Figure(
                f"ingest, {count:,} progressive JPEGs of 4000x3000, two processes: rate", "one process", gain,
                None if scale.quick else 1.6, at_least=True, remark=f"{two:.1f} s against {one:.1f} s",
            )
        ]
    )  # fmt: skip
