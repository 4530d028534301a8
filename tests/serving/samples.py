"""Images that a test knows the answer to."""

import io

import numpy as np
from PIL import Image

from tests.serving.tiny_model import MODEL

__all__ = ["COLOURS", "MODEL", "colour", "encoded"]


def colour(red: int, green: int, blue: int, size: int = 16) -> np.ndarray:
    """Pixels of one colour, uint8 (size, size, 3)."""
    return np.full((size, size, 3), (red, green, blue), np.uint8)


def encoded(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


COLOURS = {"red": colour(250, 10, 10), "green": colour(10, 250, 10), "blue": colour(10, 10, 250)}
