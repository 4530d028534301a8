"""Data folders for the tests of the ingest: small, deterministic, every image different."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from components.image_example_gen.headers import kind
from components.image_example_gen.images import Decoded


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


def grey_of(decoded: Decoded) -> np.ndarray:
    """The grey pixels of what is stored, uint8 (h, w): of a colour JPEG its luma, as the file has it."""
    image = opened(decoded.encoded)
    if image.format == "JPEG":
        image.draft("L", None)
    elif image.mode == "P":
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def opened(encoded: bytes) -> Image.Image:
    """A stored image, in spite of damage for which `Image.open` does not know its format again."""
    known = {"JPEG": JpegImageFile, "PNG": PngImageFile, "BMP": BmpImageFile, "WEBP": WebPImageFile}
    return known[kind(encoded) or ""](io.BytesIO(encoded))


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
