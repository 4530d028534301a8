"""The benchmarks keep what they measure, and say what is held; what is fast enough is no matter of tests."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import growth, pictures, record
from benchmarks.__main__ import PARTS
from benchmarks.figures import Figure, Results, Table, ratios


def test_the_median_holds_or_misses_its_bar() -> None:
    assert Figure("a", "b", [0.9, 1.0, 2.0], 1.0).verdict == "held"
    assert Figure("a", "b", [0.9, 1.1, 2.0], 1.0).verdict == "MISSED"
    assert Figure("a", "b", [0.9, 1.1, 2.0], 1.0, at_least=True).verdict == "held"
    assert Figure("a", "b", [0.9, 0.8, 2.0], 1.0, at_least=True).verdict == "MISSED"
    assert Figure("a", "b", [5.0]).verdict == ""


def test_ratios_are_made_pair_by_pair() -> None:
    figure = ratios("a", "b", [1.0, 4.0, 9.0], [1.0, 2.0, 3.0], 2.5)
    assert figure.values == [1.0, 2.0, 3.0]
    assert figure.remark == "4.00 s against 2.00 s"
    assert figure.shown == "2 x (1 to 3)"
    assert figure.wanted == "at most 2.5 x"


def test_a_part_is_renewed_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "KEPT", tmp_path / "results.json")
    monkeypatch.setattr(record, "RESULTS", tmp_path / "RESULTS.md")
    table = Table("Seconds", ["node", "first"], [["Trainer", "1.00"]])
    record.keep("growth", Results([Figure("slow", "fast", [3.0], 1.0)], [table]), list(PARTS))
    record.keep("start", Results([Figure("old", "", [1.0], 2.0)]), list(PARTS))
    record.keep("start", Results([Figure("new", "", [1.0], 2.0)]), list(PARTS))
    page = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    assert "| old |" not in page
    assert page.index("## start") < page.index("## growth")
    assert "| new |  | 1 x | at most 2 x | held |" in page
    assert "| slow | fast | 3 x | at most 1 x | MISSED |" in page
    assert "| Trainer | 1.00 |" in page
    assert list(json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))) == ["start", "growth"]


def test_the_page_in_the_repository_is_made_of_the_figures_beside_it() -> None:
    kept = json.loads(record.KEPT.read_text(encoding="utf-8"))
    assert list(kept) == [part for part in PARTS if part in kept]
    assert record.RESULTS.read_text(encoding="utf-8") == record.page(kept)


def test_made_images_are_all_different_in_classes_and_splits(tmp_path: Path) -> None:
    folder = pictures.write(tmp_path / "data", 140, 28, 28, "PNG", splits=True)
    assert len(list((folder / "test").rglob("*.png"))) == 20
    assert len({path.read_bytes() for path in folder.rglob("*.png")}) == 140
    photos = pictures.write(tmp_path / "photos", 10, 24, 32, "JPEG")
    with Image.open(next(photos.rglob("*.jpeg"))) as image:
        assert (image.size, image.mode) == ((32, 24), "RGB")


def test_the_growth_is_drawn(tmp_path: Path) -> None:
    rows = [["1,000", "1.0", "3.0"], ["10,000", "2.0", "3.5"]]
    growth.draw(Table("Seconds", ["images", "ImageExampleGen", "Transform"], rows), tmp_path / "growth.svg")
    assert "ImageExampleGen" in (tmp_path / "growth.svg").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingst"], "there is no part ingst; the parts are start, ingest"),
        (["whole", "--fashion", "nowhere"], "--fashion nowhere: holds no idx files"),
    ],
)
def test_a_mistake_is_told_before_anything_is_measured(arguments: list[str], message: str) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "benchmarks", *arguments],
        cwd=record.HERE.parent,
        capture_output=True,
        text=True,
    )
    assert finished.returncode == 2
    assert message in finished.stderr
