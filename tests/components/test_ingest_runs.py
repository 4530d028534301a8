"""Whole ingests without TFX: policies, quarantine, determinism, crashes of a decoder, other file systems."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest
from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata, FileSystem
from ingest_helpers import manifest, pipeline, quarantine, rows, run, split_bytes
from ingest_samples import encoded, pixels, png, write_folder
from PIL import Image

from components.image_example_gen import bundles, data, records, workers
from components.image_example_gen.images import REASONS, Bounds
from components.image_example_gen.ingest import Targets, ingest
from components.image_example_gen.settings import IngestSettings, SplitSettings
from modules.errors import InputError

BOUNDS = Bounds.of(IngestSettings())


# --- the same result whatever the machine ------------------------------------------------------------------


def test_one_process_and_several_write_the_same_bytes(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 60, "b": 40})
    (folder / "a" / "bad.png").write_bytes(b"bad")
    run(folder, tmp_path / "one", processes=1)
    run(folder, tmp_path / "two", processes=2)
    assert split_bytes(tmp_path / "one") == split_bytes(tmp_path / "two")
    assert manifest(tmp_path / "one") == manifest(tmp_path / "two")


def test_renaming_files_moves_no_image_to_another_split(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 30, "b": 30})
    run(folder, tmp_path / "before")
    before = {row["sha256"]: row["split"] for row in rows(tmp_path / "before/examples/manifest.jsonl")}
    for file in list(folder.rglob("*.png")):
        file.rename(file.with_name(f"renamed {file.stem[::-1]}.dat"))
    run(folder, tmp_path / "after")
    after = {row["sha256"]: row["split"] for row in rows(tmp_path / "after/examples/manifest.jsonl")}
    assert after == before


def test_a_name_does_not_decide_what_a_file_is(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 20, "b": 20})
    image = Image.fromarray(pixels(77))
    (folder / "a" / "photo.txt").write_bytes(encoded(image, "JPEG"))
    (folder / "a" / "photo.gif").write_bytes(encoded(image, "PNG"))
    (folder / "b" / "text.png").write_bytes(b"just text")
    run(folder, tmp_path / "out")
    formats = {row["path"]: row["format"] for row in rows(tmp_path / "out/examples/manifest.jsonl")}
    assert (formats["a/photo.txt"], formats["a/photo.gif"]) == ("JPEG", "PNG")
    assert quarantine(tmp_path / "out") == {"b/text.png": "not-an-image"}


# --- quarantine --------------------------------------------------------------------------------------------


def test_what_is_left_out_is_listed_with_its_reason_and_counted(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 20, "b": 20})
    (folder / "a" / "empty.png").touch()
    (folder / "a" / "cut.png").write_bytes(png(500)[:-20])
    (folder / "b" / "tiny.png").write_bytes(png(501, height=3, width=30))
    os.mkfifo(folder / "b" / "fifo")
    summary = run(folder, tmp_path / "out", IngestSettings(max_bad_fraction=0.2))
    reasons = {
        "a/cut.png": "truncated",
        "a/empty.png": "empty",
        "b/fifo": "unreadable",
        "b/tiny.png": "too-small",
    }
    assert quarantine(tmp_path / "out") == reasons
    assert set(reasons.values()) <= set(REASONS)
    assert summary["quarantined"] == {"empty": 1, "too-small": 1, "truncated": 1, "unreadable": 1}
    assert summary["files"] == 44
    assert sum(sum(one.values()) for one in summary["examples"].values()) == 40


def test_too_many_bad_files_stop_the_run_before_anything_is_written(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 20, "b": 20})
    for number in range(3):
        (folder / "a" / f"bad{number}.png").write_bytes(b"bad")
    with pytest.raises(InputError, match=r"3 of 43 files .*3 not-an-image.*max_bad_fraction, now 0.05"):
        run(folder, tmp_path / "out")
    assert not (tmp_path / "out" / "examples").exists()


def test_a_class_of_unreadable_files_only_is_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 20, "b": 20, "notes": 0})
    (folder / "notes" / "todo.txt").write_bytes(b"buy milk")
    with pytest.raises(InputError, match="no file of class 'notes' can be learned from"):
        run(folder, tmp_path / "out")


def test_a_folder_too_small_to_be_divided_is_told(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 2, "b": 2})
    with pytest.raises(InputError, match=r"leave the .* split empty; add images"):
        run(folder, tmp_path / "out")


# --- groups and growth -------------------------------------------------------------------------------------


def test_a_group_pattern_keeps_a_patient_in_one_split(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for patient in range(30):
        for label in "ab":
            (folder / label).mkdir(parents=True, exist_ok=True)
            for view in range(3):
                number = patient * 10 + view + (5 if label == "b" else 0)
                (folder / label / f"p{patient:02d}-{view}.png").write_bytes(png(number))
    run(folder, tmp_path / "out", IngestSettings(group_pattern=r"/(p\d+)-"))
    splits: dict[str, set[str]] = {}
    for path, name in manifest(tmp_path / "out").items():
        splits.setdefault(path[2:5], set()).add(name)
    assert len(splits) == 30
    assert all(len(names) == 1 for names in splits.values())
    assert set.union(*splits.values()) == {"train", "validation", "test"}


# --- crashes and other file systems ------------------------------------------------------------------------


def _planned(folder: Path, scratch: Path, count: int) -> bundles.Place:
    """One bundle of `count` images, ready to be run."""
    write_folder(folder, {"a": count})
    names = sorted(f"a/{file.name}" for file in (folder / "a").iterdir())
    bundles.plan(str(scratch), 0, [(name, name, "a") for name in names])
    return bundles.Place(str(folder), str(scratch), BOUNDS)


def test_a_file_that_crashes_the_decoder_is_refused_and_the_others_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = _planned(tmp_path / "data", tmp_path / "scratch", 9)
    for name in ("a/00003.png", "a/00006.png"):
        (tmp_path / "data" / name).write_bytes(png(3) + b"crash")
    # No file is known that crashes Pillow, so the workers' Pillow is made to crash on these.
    (tmp_path / "sitecustomize.py").write_text(
        "import os, PIL.PngImagePlugin as plugin\n"
        "load = plugin.PngImageFile.load_end\n"
        "def load_end(self):\n"
        "    if self.fp.getvalue().endswith(b'crash'): os.abort()\n"
        "    load(self)\n"
        "plugin.PngImageFile.load_end = load_end\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    with workers.Workers(1) as pool:
        pool.go_to(place)
        assert [*pool.inspect(0), *pool.drain()] == [(0, 9)]
    outcomes = bundles.read_outcomes(place.target, 0)
    refused = {index: one for index, one in enumerate(outcomes) if isinstance(one, bundles.Rejected)}
    assert {index: one.reason for index, one in refused.items()} == {3: "corrupt", 6: "corrupt"}
    assert "crashes" in refused[3].detail
    assert len(records.framed_spans(Path(bundles.record_path(place.target, 0)).read_bytes())) == 7


def test_a_worker_that_is_killed_costs_no_image(tmp_path: Path) -> None:
    place = _planned(tmp_path / "data", tmp_path / "scratch", 200)
    with workers.Workers(1) as pool:
        pool.go_to(place)
        pool.inspect(0)
        os.kill(_workers(1)[-1], signal.SIGKILL)
        assert list(pool.drain()) == [(0, 200)]
    assert all(isinstance(one, bundles.Accepted) for one in bundles.read_outcomes(place.target, 0))


def test_a_worker_that_is_killed_before_it_had_work_is_replaced(tmp_path: Path) -> None:
    place = _planned(tmp_path / "data", tmp_path / "scratch", 200)
    with workers.Workers(2) as pool:
        pool.go_to(place)
        idle, _ = _workers(2)
        os.kill(idle, signal.SIGKILL)
        _workers(1)
        assert [*pool.inspect(0), *pool.drain()] == [(0, 200)]
        assert idle not in _workers(2)


def _workers(count: int) -> list[int]:
    """The child processes of this one that are workers of the ingest, the newest last; waits for so many."""
    while len(own := _running_workers()) != count:
        time.sleep(0.01)  # a process that has just begun has no command line yet
    return own


def _running_workers() -> list[int]:
    own = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except (OSError, ValueError):
            continue
        if parent == os.getpid() and b"image_example_gen.workers" in command:
            own.append(int(status.parent.name))
    return sorted(own)


class InMemoryFiles(FileSystem):
    """A Beam file system in this process, standing in for an object store."""

    stored: ClassVar[dict[str, bytes]] = {}

    @classmethod
    def scheme(cls) -> str:
        return "memory"

    def join(self, basepath: str, *paths: str) -> str:
        return "/".join([basepath.rstrip("/"), *paths])

    def split(self, path: str) -> tuple[str, str]:
        head, _, tail = path.rpartition("/")
        return head, tail

    def mkdirs(self, path: str) -> None:
        pass

    def has_dirs(self) -> bool:
        return False

    def _list(self, dir_or_prefix: str) -> Iterator[FileMetadata]:
        for path, content in self.stored.items():
            if path.startswith(dir_or_prefix):
                yield FileMetadata(path, len(content), 1.5)

    def open(self, path, mime_type="", compression_type=CompressionTypes.AUTO) -> io.BytesIO:
        if path not in self.stored:
            raise BeamIOError("missing", {path: "missing"})
        return io.BytesIO(self.stored[path])

    def create(self, path, mime_type="", compression_type=CompressionTypes.AUTO) -> io.BytesIO:
        stored = self.stored

        class Upload(io.BytesIO):
            def close(self) -> None:
                stored[path] = self.getvalue()
                super().close()

        return Upload()

    def copy(self, source_file_names, destination_file_names) -> None:
        raise NotImplementedError

    rename = copy

    def exists(self, path: str) -> bool:
        return path in self.stored

    size = last_updated = checksum = metadata = exists

    def delete(self, paths) -> None:
        for path in paths:
            del self.stored[path]


def test_an_object_store_is_read_and_written_like_a_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 30, "b": 20, "a/deep": 2})
    (folder / "a" / ".hidden").write_bytes(b"x")
    (folder / "b" / "bad").write_bytes(b"bad")
    InMemoryFiles.stored = {
        f"memory://bucket/data/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in folder.rglob("*")
        if file.is_file()
    }
    targets = Targets("memory://bucket/examples", "memory://bucket/quarantine", "memory://bucket/scratch")
    there = ingest(data.resolve("memory://bucket/data", 1), IngestSettings(), targets, pipeline)
    here = run(folder, tmp_path / "out")
    assert there | {"seconds": 0} == here | {"seconds": 0}
    for name, content in split_bytes(tmp_path / "out").items():
        assert InMemoryFiles.stored[f"memory://bucket/{name}"] == content


# --- bombs -------------------------------------------------------------------------------------------------


def test_bombs_cost_little_memory_and_time() -> None:
    program = (
        "import resource, sys\n"
        "from components.image_example_gen import images\n"
        "from ingest_corpus import CORPUS\n"
        "from ingest_samples import memory\n"
        "bounds = images.Bounds(25_000_000, 100_000_000, 4, (255, 255, 255))\n"
        "bombs = [odd for odd in CORPUS if 'bomb' in odd.name or 'endless' in odd.name]\n"
        "before = memory(reset=True), resource.getrusage(resource.RUSAGE_SELF).ru_utime\n"
        "for odd in bombs:\n"
        "    try: images.decode(odd.data, bounds)\n"
        "    except images.ImageRefusedError: continue\n"
        "    sys.exit(odd.name)\n"
        "after = memory(), resource.getrusage(resource.RUSAGE_SELF).ru_utime\n"
        "print(len(bombs), after[0] - before[0], after[1] - before[1])\n"
    )
    finished = _python(program)
    assert finished.returncode == 0, finished.stderr
    count, kilobytes, seconds = map(float, finished.stdout.split())
    assert count >= 8
    assert kilobytes < 200_000
    assert seconds < 2


def test_the_largest_image_allowed_costs_a_few_bytes_a_pixel() -> None:
    program = (
        "import io\n"
        "from PIL import Image\n"
        "from ingest_samples import memory\n"
        "from components.image_example_gen import images\n"
        "buffer = io.BytesIO(); Image.new('RGB', (5000, 5000), 'red').save(buffer, 'JPEG')\n"
        "bounds = images.Bounds(25_000_000, 100_000_000, 4, (255, 255, 255))\n"
        "before = memory(reset=True)\n"
        "images.decode(buffer.getvalue(), bounds)\n"
        "print(memory() - before)\n"
    )
    finished = _python(program)
    assert finished.returncode == 0, finished.stderr
    # A colour JPEG is decoded without its chroma: a byte a pixel, and the copies on the way to numpy.
    assert 2 * 25_000 < float(finished.stdout) < 5 * 25_000


def _python(program: str) -> subprocess.CompletedProcess[str]:
    paths = os.pathsep.join([str(Path(__file__).parents[2]), str(Path(__file__).parent)])
    return subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"PYTHONPATH": paths},
        capture_output=True,
        text=True,
    )


def test_splits_that_would_be_empty_name_the_setting(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"train/a": 3, "train/b": 3, "test/a": 2, "test/b": 2})
    options = IngestSettings(split=SplitSettings(train=0.98, validation=0.01, test=0.01))
    with pytest.raises(InputError, match=r"validation split empty; .*data\.split"):
        run(folder, tmp_path / "out", options)
