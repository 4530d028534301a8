"""What `imagemill check` shows of a data folder, and what it must not need for that."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ingest_samples import png, write_folder

from components.image_example_gen.report import inspect_folder
from components.image_example_gen.settings import IngestSettings
from modules.errors import InputError

SETTINGS = IngestSettings()


def test_the_report_counts_what_the_ingest_will_make_of_the_folder(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"cat": 50, "dog": 30, "void": 0})
    (folder / "cat" / "cut.png").write_bytes(png(900)[:-30])
    (folder / "dog" / os.fsdecode(b"bad\xff.png")).write_bytes(b"bad")
    (folder / "dog" / "copy.png").write_bytes((folder / "dog" / "00060.png").read_bytes())
    (folder / "dog" / "lie.png").write_bytes((folder / "cat" / "00000.png").read_bytes())
    (folder / "dog" / "wide.png").write_bytes(png(901, height=20, width=300))
    seen: list[tuple[int, int]] = []
    report = inspect_folder(str(folder), SETTINGS, progress=lambda done, total: seen.append((done, total)))
    assert report.classes == ["cat", "dog"]
    assert report.counts == {
        "train": {"cat": 40, "dog": 27},
        "validation": {"cat": 5, "dog": 3},
        "test": {"cat": 5, "dog": 3},
    }
    assert (report.files, report.decoded, report.complete) == (85, 85, True)
    assert [(one.reason, one.size) for one in report.bad] == [
        ("truncated", len(png(900)) - 30),
        ("not-an-image", 3),
    ]
    assert report.reasons == {"truncated": 1, "not-an-image": 1}
    assert report.duplicates == 2
    assert sorted(report.clashes) == [
        ("cat/00000.png", "dog/lie.png", "duplicate-with-other-label"),
        ("dog/lie.png", "cat/00000.png", "duplicate-with-other-label"),
    ]
    assert report.sizes == {"16x16": 82, "300x20": 1}
    assert report.side_histogram == [(16, 32, 83)]
    assert report.formats == {"PNG": 83}
    assert report.empty_classes == ["void"]
    assert seen[-1] == (85, 85)
    told = json.loads(json.dumps(report.to_json()))
    assert told["bad"][1]["path"] == "dog/bad\\xff.png"
    assert told["complete"] is True


def test_ready_splits_are_counted_as_they_lie(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"train/a": 18, "train/b": 9, "test/a": 2, "test/b": 3})
    (folder / "train" / "a" / "leak.png").write_bytes((folder / "test" / "a" / "00027.png").read_bytes())
    report = inspect_folder(str(folder), SETTINGS)
    assert report.ready_splits == ["train", "test"]
    assert report.counts["test"] == {"a": 2, "b": 3}
    assert report.counts["train"]["b"] + report.counts["validation"]["b"] == 9
    assert report.clashes == [("train/a/leak.png", "test/a/00027.png", "duplicate-in-other-split")]


def test_when_the_time_is_up_headers_are_still_read_and_it_says_so(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "data", {"a": 20, "b": 20})
    (folder / "a" / "text.png").write_bytes(b"text")
    (folder / "a" / "large.png").write_bytes(png(700, height=300, width=300) + bytes(100_000))
    report = inspect_folder(str(folder), SETTINGS, seconds=0)
    assert (report.decoded, report.complete) == (0, False)
    assert [one.reason for one in report.bad] == ["not-an-image"]
    assert report.files == 42
    assert sum(sum(one.values()) for one in report.counts.values()) == 41


def test_ten_thousand_files_take_under_ten_seconds(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(5_000):
            (tmp_path / label / f"{number}.png").write_bytes(png(number % 50))
    began = time.monotonic()
    report = inspect_folder(str(tmp_path), SETTINGS)
    assert time.monotonic() - began < 10
    assert report.files == 10_000


def test_spans_and_archives_are_looked_at_too(tmp_path: Path) -> None:
    write_folder(tmp_path / "span-3", {"a": 10, "b": 10})
    report = inspect_folder(f"{tmp_path}/span-{{SPAN}}", SETTINGS)
    assert (report.span, report.files) == (3, 20)
    archive = shutil.make_archive(str(tmp_path / "pets"), "zip", tmp_path / "span-3")
    assert inspect_folder(archive, SETTINGS).files == 20


def test_a_folder_that_cannot_be_used_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        inspect_folder(str(tmp_path / "missing"), SETTINGS)


def test_neither_the_report_nor_a_worker_loads_tensorflow_tfx_or_beam() -> None:
    program = (
        "import sys\n"
        "import components.image_example_gen.{module}\n"
        "heavy = {{name.partition('.')[0] for name in sys.modules}}\n"
        "sys.exit(' '.join(heavy & {{'tensorflow', 'tfx', 'apache_beam', {more}}}) or 0)\n"
    )
    for module, more in (("report", ""), ("settings", "'numpy', 'PIL'"), ("workers", "'pydantic'")):
        subprocess.run(
            [sys.executable, "-c", program.format(module=module, more=more)],
            cwd=Path(__file__).parents[2],
            check=True,
        )
