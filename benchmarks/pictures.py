"""Makes folders of images to measure with, all different, in classes that can be told apart."""

from __future__ import annotations

import functools
import io
import multiprocessing
from pathlib import Path

import numpy as np
from PIL import Image

from components.image_example_gen.workers import available_cores

CLASSES = 10


def write(folder: Path, count: int, height: int, width: int, format: str, splits: bool = False) -> Path:
    """Writes smooth images with a mark that tells their class, evenly over ten class folders.

    Args:
      folder: must not exist.
      count: images in all.
      height, width: pixels.
      format: `PNG`, grey, or `JPEG`, in colour with noise, about as large as photos are.
      splits: whether a seventh of them goes to `test` and the rest to `train`, as Fashion-MNIST comes.
    """
    for split in ("train", "test") if splits else ("",):
        for label in range(CLASSES):
            (folder / split / f"class {label}").mkdir(parents=True)
    make = functools.partial(_write_one, folder, height, width, format, splits)
    with multiprocessing.Pool(available_cores()) as pool:
        for _ in pool.imap_unordered(make, range(count), chunksize=256):
            pass
    return folder


def photo(rng: np.random.Generator, label: int, height: int, width: int, colour: bool) -> Image.Image:
    """A smooth image with noise; a brighter column tells the class to a network."""
    coarse = rng.integers(0, 200, (max(4, height // 16), max(4, width // 16)), np.uint8)
    pixels = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)).copy()
    left = label * width // CLASSES
    pixels[height // 4 : height // 2, left : left + max(1, width // CLASSES)] = 255
    if colour:
        noise = rng.integers(-12, 13, (height, width, 3), np.int16)
        pixels = (pixels[..., None] + noise).clip(0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def _write_one(folder: Path, height: int, width: int, format: str, splits: bool, number: int) -> None:
    label = number % CLASSES
    image = photo(np.random.default_rng(number), label, height, width, format == "JPEG")
    split = "" if not splits else "test" if number // CLASSES % 7 == 0 else "train"
    buffer = io.BytesIO()
    image.save(buffer, format, quality=85)
    (folder / split / f"class {label}" / f"{number:06d}.{format.lower()}").write_bytes(buffer.getvalue())
