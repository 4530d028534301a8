"""The contact sheet: which images it takes, that it is written, and what is said when it cannot be."""

from __future__ import annotations

import pathlib

import numpy as np
import pytest
from PIL import Image

from modules.errors import InputError
from pipeline import config, preview
from tests.conftest import write_colours

FLIP = "augment=[{horizontal_flip: {probability: 1}}]"


@pytest.fixture
def photos(tmp_path: pathlib.Path) -> pathlib.Path:
    """30 images in three classes, and one file that is none."""
    folder = write_colours(tmp_path / "photos", images_a_class=10)
    (folder / "sea" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return folder


def _config(photos: pathlib.Path, *overrides: str) -> config.Config:
    path = photos.parent / "config.yaml"
    path.write_text("data: {path: photos, image_size: [16, 24]}\n", encoding="utf-8")
    return config.load(path, overrides)


def test_images_are_of_every_class_and_readable(photos: pathlib.Path) -> None:
    samples = preview.choose(_config(photos), 7)
    assert [sample.label for sample in samples] == ["cherry"] * 3 + ["leaf"] * 2 + ["sea"] * 2
    assert len({sample.path for sample in samples}) == 7
    every = preview.choose(_config(photos), 100)
    assert len(every) == 30 and "sea/broken.jpg" not in {sample.path for sample in every}
    assert [sample.label for sample in preview.choose(_config(photos), 2)] == ["cherry", "leaf"]


def test_images_of_ready_splits_are_of_training(photos: pathlib.Path) -> None:
    (photos.parent / "ready").mkdir()
    photos.rename(photos.parent / "ready" / "train")
    write_colours(photos.parent / "ready" / "test", images_a_class=5)
    samples = preview.choose(_config(photos, "data.path=ready"), 100)
    assert {sample.path.partition("/")[0] for sample in samples} == {"train"}


def _picture(path: pathlib.Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_a_row_an_image_with_the_original_first(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    # A picture whose left is black and right is red, so that a flip shows.
    for path in photos.rglob("*"):
        if path.is_file():
            half = np.zeros((12, 16, 3), np.uint8)
            half[:, 8:, 0] = 255
            half[0, 0] = (
                len(path.name),
                ord(path.parent.name[0]),
                int(path.stem[:2]) if path.stem[:2].isdigit() else 99,
            )
            path.unlink()
            Image.fromarray(half).save(path.with_suffix(".png"))
    out = tmp_path / "new folder" / "sheet.png"
    assert preview.preview(_config(photos, FLIP), out, count=3, variants=1) == 3
    sheet = _picture(out)
    red = (sheet[..., 0] > 200) & (sheet[..., 1:] < 60).all(-1)
    black = (sheet < 60).all(-1)
    rows = np.flatnonzero(red.sum(1) > 100)
    assert 1 + np.count_nonzero(np.diff(rows) > 1) == 3
    for row in rows[[5, len(rows) // 2, -5]]:
        line = "".join("r" if r else "b" if b else " " for r, b in zip(red[row], black[row], strict=True))
        assert [part[0] + part[-1] for part in line.split()] == ["br", "rb"]


def test_seed_and_mixing(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    mixing = _config(photos, "augment=[{rotation: {degrees: 90}}, {mix_up: {alpha: 10}}]")
    sheets = []
    for name, seed in (("a.png", 0), ("b.png", 0), ("c.png", 1)):
        preview.preview(mixing, tmp_path / name, count=3, variants=2, seed=seed)
        sheets.append((tmp_path / name).read_bytes())
    assert sheets[0] == sheets[1] != sheets[2]


def test_a_mixed_label_is_told_in_shares() -> None:
    assert preview._mixture(np.float32([0.38, 0, 0.62]), ["cat", "cow", "dog"]) == "62% dog\n38% cat"


@pytest.mark.parametrize("suffix", [".jpg", ".pdf", ".svg"])
def test_the_ending_says_the_format(photos: pathlib.Path, tmp_path: pathlib.Path, suffix: str) -> None:
    out = tmp_path / f"sheet{suffix}"
    preview.preview(_config(photos, FLIP, "data.channels=1"), out, count=2, variants=1)
    begins = {".jpg": b"\xff\xd8\xff", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert out.read_bytes().startswith(begins)


def test_mistakes_are_told_before_anything_is_drawn(photos: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "sheet.png"
    with pytest.raises(InputError, match="list augmentations under `augment`"):
        preview.preview(_config(photos), out)
    with pytest.raises(InputError, match=r"must end in \.png"):
        preview.preview(_config(photos, FLIP), tmp_path / "sheet.txt")
    with pytest.raises(InputError, match="no such folder"):
        preview.preview(_config(photos, FLIP, "data.path=nowhere"), out)
    with pytest.raises(InputError, match="--out"):
        preview.preview(
            _config(photos, FLIP), photos / "cherry" / "00.png" / "sheet.png", count=1, variants=1
        )
    assert not out.exists()
