"""Data folders for the tests of the ingest: small, deterministic, every image different."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image


def pixels(number: int, height: int = 16, width: int = 16, channels: int = 3) -> np.ndarray:
    """uint8 noise that is smooth enough for a lossy codec; differs for every number."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 4, channels), np.uint8)
    large = Image.fromarray(coarse.squeeze() if channels == 1 else coarse).resize(
        (width, height), Image.BICUBIC
    )
    return np.asarray(large)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    """An image file as bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png(number: int, **size: int) -> bytes:
    """A PNG file that differs for every number."""
    return encoded(Image.fromarray(pixels(number, **size)), "PNG")


def memory(reset: bool = False) -> int:
    """Kilobytes of memory that this process had at most, since it began or since the last reset.

    `ru_maxrss` would begin with what the parent process had.
    """
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    (line,) = (one for one in Path("/proc/self/status").read_text().splitlines() if one.startswith("VmHWM"))
    return int(line.split()[1])


def write_folder(root: Path, counts: dict[str, int], first: int = 0) -> Path:
    """Writes `counts[folder]` different PNG files into every folder below root; returns root."""
    number = first
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for _ in range(count):
            (root / folder / f"{number:05d}.png").write_bytes(png(number))
            number += 1
    return root
