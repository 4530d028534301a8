"""Equal and nearly equal images are found and treated by policy; the figures and hashes that find them."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ingest_helpers import manifest, quarantine, rows, run, split_bytes
from ingest_samples import encoded, pixels, write_folder
from PIL import Image

from components.image_example_gen import duplicates, figures, records
from components.image_example_gen.settings import DuplicateSettings, IngestSettings
from modules.errors import InputError


@pytest.fixture
def mixed_up(tmp_path: Path) -> Path:
    """Ready splits in which one test image is in train too, and another under two labels."""
    folder = write_folder(tmp_path / "data", {"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5})
    (folder / "train" / "a" / "leak.png").write_bytes((folder / "test" / "a" / "00040.png").read_bytes())
    (folder / "train" / "b" / "lie.png").write_bytes((folder / "test" / "a" / "00041.png").read_bytes())
    return folder


def test_images_under_two_labels_and_in_two_splits_are_dropped_by_default(
    mixed_up: Path, tmp_path: Path
) -> None:
    summary = run(mixed_up, tmp_path / "out")
    assert quarantine(tmp_path / "out") == {
        "train/a/leak.png": "duplicate-in-other-split",
        "train/b/lie.png": "duplicate-with-other-label",
        "test/a/00041.png": "duplicate-with-other-label",
    }
    listed = rows(tmp_path / "out/quarantine/duplicates.jsonl")
    assert {(row["path"], row["other"], row["action"]) for row in listed} == {
        ("train/a/leak.png", "test/a/00040.png", "drop"),
        ("train/b/lie.png", "test/a/00041.png", "drop"),
        ("test/a/00041.png", "train/b/lie.png", "drop"),
    }
    assert sum(summary["examples"]["test"].values()) == 9
    kept = manifest(tmp_path / "out")
    assert not set(kept) & set(quarantine(tmp_path / "out"))
    written = sum(len(records.framed_spans(content)) for content in split_bytes(tmp_path / "out").values())
    assert written == len(kept) == 49


def test_duplicates_are_only_listed_when_told_to_warn(mixed_up: Path, tmp_path: Path) -> None:
    warn = DuplicateSettings(other_label="warn", other_split="warn")
    summary = run(mixed_up, tmp_path / "out", IngestSettings(duplicates=warn))
    assert not quarantine(tmp_path / "out")
    assert summary["clashes"]["duplicate-with-other-label: warn"] == 2
    assert summary["clashes"]["duplicate-in-other-split: warn"] == 2
    assert summary["duplicates"] == 2


@pytest.mark.parametrize("policy", ["other_label", "other_split"])
def test_duplicates_stop_the_run_when_told_to_fail(mixed_up: Path, tmp_path: Path, policy: str) -> None:
    fail = DuplicateSettings(**{policy: "fail"})
    with pytest.raises(InputError, match=r"such as (train|test)/.*data\.duplicates"):
        run(mixed_up, tmp_path / "out", IngestSettings(duplicates=fail))


def test_near_duplicates_across_splits_are_found_and_those_within_are_not(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    write_folder(folder, {"train/a": 20, "train/b": 20, "test/a": 5, "test/b": 5})
    photo = Image.fromarray(pixels(600, 90, 120))
    (folder / "test" / "a" / "photo.png").write_bytes(encoded(photo, "PNG"))
    (folder / "train" / "a" / "again.jpg").write_bytes(encoded(photo, "JPEG", quality=70))
    (folder / "train" / "b" / "scaled.png").write_bytes(encoded(photo.resize((60, 45)), "PNG"))
    (folder / "test" / "a" / "twin.jpg").write_bytes(encoded(photo, "JPEG", quality=60))
    summary = run(folder, tmp_path / "out", IngestSettings(duplicates=DuplicateSettings(near="drop")))
    reason = "near-duplicate-in-other-split"
    assert quarantine(tmp_path / "out") == {"train/a/again.jpg": reason, "train/b/scaled.png": reason}
    assert summary["clashes"] == {f"{reason}: drop": 2}


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 3), st.integers(0, 60))
def test_near_clashes_are_those_of_comparing_all_pairs(seed: int, distance: int, common: int) -> None:
    rng = np.random.default_rng(seed)
    # Hashes that share many bits, so that bands collide, some of them copies with a few bits flipped.
    base = int(rng.integers(0, 2**63))
    mask = (1 << 64) - (1 << common)
    hashes = [(base & mask) | (int(rng.integers(0, 2**63)) & ~mask) for _ in range(60)]
    hashes += [one ^ (1 << int(rng.integers(64))) ^ (1 << int(rng.integers(64))) for one in hashes[:30]]
    splits = rng.choice(["train", "validation", "test"], len(hashes)).tolist()
    thumbnails = [bytes([int(level)] * 72) for level in rng.choice([10, 13, 200], len(hashes))]
    expected = set()
    for one, (hash_one, split_one, small_one) in enumerate(zip(hashes, splits, thumbnails, strict=True)):
        for hash_two, split_two, small_two in zip(hashes, splits, thumbnails, strict=True):
            telling = all(6 <= value.bit_count() <= 58 for value in (hash_one, hash_two))
            near = (hash_one ^ hash_two).bit_count() <= distance and abs(small_one[0] - small_two[0]) <= 4
            if telling and near and duplicates.PRECIOUS[split_two] > duplicates.PRECIOUS[split_one]:
                expected.add(one)
    found = duplicates.near_clashes(hashes, thumbnails, splits, distance)
    assert {clash.index for clash in found} == expected
    for clash in found:
        assert (hashes[clash.index] ^ hashes[clash.other]).bit_count() == clash.distance <= distance
        assert splits[clash.other] != splits[clash.index]


def test_duplicates_among_100_000_images_are_found_in_seconds() -> None:
    rng = np.random.default_rng(0)
    hashes = rng.integers(0, 2**63, 100_000).tolist()
    splits = rng.choice(["train", "validation", "test"], len(hashes), p=[0.8, 0.1, 0.1]).tolist()
    for index in range(0, 1000, 2):
        hashes[index + 1] = hashes[index] ^ 0b101
        splits[index], splits[index + 1] = "train", "test"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    found = duplicates.near_clashes(hashes, [bytes(72)] * len(hashes), splits, 3)
    seconds = resource.getrusage(resource.RUSAGE_SELF).ru_utime - before
    assert {clash.index for clash in found} >= set(range(0, 1000, 2))
    assert len(found) < 510
    assert seconds < 20


# --- figures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (4, 4), (28, 28), (70, 70), (300, 500), (3, 70_000)])
def test_figures_are_those_of_the_definition(shape: tuple[int, int]) -> None:
    grey = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    (measured,) = figures.measure([grey])
    real = grey.astype(float) / 255
    steps = np.concatenate([np.abs(np.diff(real, axis=0)).ravel(), np.abs(np.diff(real, axis=1)).ravel()])
    assert measured.brightness == pytest.approx(real.mean(), rel=1e-5)
    assert measured.contrast == pytest.approx(real.std(), rel=1e-4, abs=1e-9)
    # Of large images only some rows are looked at.
    tolerance = 1e-5 if grey.size < 32_768 else 0.02
    assert measured.sharpness == pytest.approx(steps.mean() if steps.size else 0.0, rel=tolerance)


def test_small_images_are_measured_alike_alone_and_in_a_stack() -> None:
    greys = [pixels(number, 12, 14, channels=1) for number in range(300)]
    assert figures.measure(greys) == [figures.measure([grey])[0] for grey in greys]


def test_a_plain_area_has_an_empty_hash_whatever_its_level() -> None:
    hashes = {figures.measure([np.full((97, 101), level, np.uint8)])[0].dhash for level in range(256)}
    assert hashes == {0}
