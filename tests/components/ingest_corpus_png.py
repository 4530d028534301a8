"""Odd PNG files, most of them made byte by byte, each with the fate that ingest must give it."""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np
from ingest_samples import encoded, pixels
from PIL import Image

KEPT = "kept"
REENCODED = "re-encoded"


class Odd(NamedTuple):
    """A file, its fate, and its pixels as uint8 (h, w) or (h, w, 3) where they are known."""

    name: str
    data: bytes
    fate: str
    shown: np.ndarray | None = None


RGB = pixels(1, 17, 23)
GREY = pixels(2, 17, 23, channels=1)
ALPHA = pixels(3, 17, 23, channels=1)
WHITE = 255


def over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Straight alpha over white, in exact arithmetic, rounded."""
    alpha = alpha.astype(np.float64)[..., None] / 255
    return np.rint(colour * alpha + WHITE * (1 - alpha)).astype(np.uint8)


# --- PNG by hand -------------------------------------------------------------------------------------------


def chunk(kind: bytes, body: bytes, checksum: int | None = None) -> bytes:
    """A PNG chunk, with its right checksum unless another is given."""
    crc = zlib.crc32(kind + body) if checksum is None else checksum
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)


def png(
    width: int, height: int, depth: int, colour: int, raw: bytes, before: bytes = b"", lace: int = 0
) -> bytes:
    """A PNG of packed rows, each behind its filter byte; `before` goes in front of the pixels."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, lace))
    body = chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + header + before + body + chunk(b"IEND", b"")


def rows(array: np.ndarray) -> bytes:
    """Unfiltered PNG rows of an array of bytes or big-endian words, (h, w) or (h, w, channels)."""
    return b"".join(b"\0" + row.tobytes() for row in array)


def packed(array: np.ndarray, bits: int) -> bytes:
    """PNG rows of `bits` per sample, each value at most 2**bits - 1."""
    result = b""
    for row in array:
        digits = "".join(f"{value:0{bits}b}" for value in row)
        digits += "0" * (-len(digits) % 8)
        result += b"\0" + int(digits, 2).to_bytes(len(digits) // 8, "big")
    return result


def adam7(array: np.ndarray) -> bytes:
    """Rows of the seven passes of an interlaced PNG."""
    passes = (
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    )
    parts = (array[top::down, left::across] for top, left, down, across in passes)
    return b"".join(rows(part) for part in parts if part.size)


def png_files() -> list[Odd]:
    height, width = GREY.shape
    two, four = GREY >> 6, GREY >> 4
    words = (GREY.astype(">u2") << 8 | 0x7F).astype(">u2")
    deep = (RGB.astype(">u2") << 8 | 0x33).astype(">u2")
    rgba = np.dstack([RGB, ALPHA])
    palette = Image.fromarray(RGB).quantize(16)
    palette_shown = np.asarray(palette.convert("RGB"))
    see_through = palette.copy()
    see_through.info["transparency"] = 3
    hidden = np.where((np.asarray(palette) == 3)[..., None], np.uint8(WHITE), palette_shown)
    exif = Image.Exif()
    exif[0x0112] = 6
    good = png(width, height, 8, 2, rows(RGB))
    return [
        Odd("png rgb", good, KEPT, RGB),
        Odd("png grey", png(width, height, 8, 0, rows(GREY)), KEPT, GREY),
        Odd("png 1 bit", png(width, height, 1, 0, packed(GREY >> 7, 1)), KEPT, (GREY >> 7) * np.uint8(255)),
        Odd("png 2 bits", png(width, height, 2, 0, packed(two, 2)), KEPT, two * np.uint8(85)),
        Odd("png 4 bits", png(width, height, 4, 0, packed(four, 4)), KEPT, four * np.uint8(17)),
        Odd("png 16 bit grey", png(width, height, 16, 0, rows(words)), REENCODED, GREY),
        Odd("png 16 bit rgb", png(width, height, 16, 2, rows(deep)), REENCODED, RGB),
        Odd(
            "png 16 bit rgba",
            png(
                width,
                height,
                16,
                6,
                rows(np.dstack([deep, np.full((height, width), 0xFFFF, ">u2")]).astype(">u2")),
            ),
            REENCODED,
            RGB,
        ),
        Odd("png palette", encoded(palette, "PNG"), KEPT, palette_shown),
        Odd("png palette of 2 bits", encoded(Image.fromarray(RGB).quantize(4), "PNG", bits=2), KEPT),
        Odd("png palette transparent", encoded(see_through, "PNG"), REENCODED, hidden),
        Odd("png rgba", png(width, height, 8, 6, rows(rgba)), REENCODED, over_white(RGB, ALPHA)),
        Odd("png rgba opaque", encoded(Image.fromarray(RGB).convert("RGBA"), "PNG"), REENCODED, RGB),
        Odd(
            "png grey alpha",
            png(width, height, 8, 4, rows(np.dstack([GREY, ALPHA]))),
            REENCODED,
            over_white(GREY[..., None], ALPHA)[..., 0],
        ),
        Odd(
            "png grey with a transparent level",
            png(width, height, 8, 0, rows(GREY), chunk(b"tRNS", struct.pack(">H", int(GREY[0, 0])))),
            REENCODED,
            np.where(GREY[0, 0] == GREY, np.uint8(WHITE), GREY),
        ),
        Odd(
            "png rgb with a transparent colour",
            png(width, height, 8, 2, rows(RGB), chunk(b"tRNS", struct.pack(">HHH", *RGB[0, 0].tolist()))),
            REENCODED,
            np.where((RGB[0, 0] == RGB).all(axis=2)[..., None], np.uint8(WHITE), RGB),
        ),
        Odd("png interlaced", png(width, height, 8, 2, adam7(RGB), lace=1), KEPT, RGB),
        Odd("png interlaced grey", png(width, height, 8, 0, adam7(GREY), lace=1), KEPT, GREY),
        Odd(
            "png gamma",
            png(width, height, 8, 2, rows(RGB), chunk(b"gAMA", struct.pack(">I", 45455))),
            KEPT,
            RGB,
        ),
        Odd("png text", png(width, height, 8, 2, rows(RGB), chunk(b"tEXt", b"Title\0x")), KEPT, RGB),
        Odd(
            "png background",
            png(width, height, 8, 2, rows(RGB), chunk(b"bKGD", struct.pack(">HHH", 9, 9, 9))),
            KEPT,
            RGB,
        ),
        Odd(
            "png turned by exif", encoded(Image.fromarray(RGB), "PNG", exif=exif), REENCODED, np.rot90(RGB, 3)
        ),
        Odd(
            "png animated",
            encoded(
                Image.fromarray(RGB),
                "PNG",
                save_all=True,
                append_images=[Image.fromarray(255 - RGB)],
            ),
            REENCODED,
            RGB,
        ),
        Odd("png with bytes behind its end", good + b"more", REENCODED, RGB),
        Odd("png named in small pieces", _in_pieces(width, height, rows(RGB)), KEPT, RGB),
        Odd("png without end", good[:-12], "truncated"),
        Odd("png cut in its pixels", good[: len(good) // 2], "truncated"),
        Odd("png cut in its header", good[:20], "truncated"),
        Odd("png signature alone", good[:8], "truncated"),
        Odd("png with a flipped bit", _flipped(good, len(good) // 2), "corrupt"),
        Odd(
            "png with a wrong checksum of a text",
            png(width, height, 8, 2, rows(RGB), chunk(b"tEXt", b"Title\0x", checksum=1)),
            "corrupt",
        ),
        Odd("png of too few rows", png(width, height, 8, 2, rows(RGB[:9])), "truncated"),
        Odd(
            "png interlaced of too few rows", png(width, height, 8, 2, adam7(RGB)[:-40], lace=1), "truncated"
        ),
        Odd("png of too many rows", png(width, 9, 8, 2, rows(RGB)), REENCODED, RGB[:9]),
        Odd("png of no compressed stream", _with_pixels(width, height, b"these are no pixels"), "corrupt"),
        Odd("png of an unknown filter", png(width, height, 8, 2, b"\x09" + rows(RGB)[1:]), "corrupt"),
        Odd("png of no pixels", good[:33] + chunk(b"IEND", b""), "corrupt"),
        Odd("png of width 0", png(0, 5, 8, 2, b"\0" * 5), "corrupt"),
        Odd("png of impossible depth", png(width, height, 7, 2, rows(RGB)), "corrupt"),
        Odd("png of two headers", good[:33] + good[8:], "corrupt"),
        Odd(
            "png of scattered pixels",
            _in_pieces(width, height, rows(RGB), chunk(b"tEXt", b"a\0b")),
            "truncated",
        ),
        Odd("png bomb", png(60_000, 60_000, 8, 2, bytes(1000)), "too-large"),
        Odd(
            "png with a bomb of a text",
            png(
                width, height, 8, 2, rows(RGB), chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(90_000_000), 9))
            ),
            "corrupt",
        ),
        Odd("png of one pixel", png(1, 1, 8, 0, b"\0\x80"), "too-small"),
        Odd("png of one row", png(900, 1, 8, 0, b"\0" + bytes(900)), "too-small"),
    ]


def _in_pieces(width: int, height: int, raw: bytes, between: bytes = b"") -> bytes:
    packed_rows = zlib.compress(raw)
    pieces = between.join(chunk(b"IDAT", packed_rows[at : at + 50]) for at in range(0, len(packed_rows), 50))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + pieces + chunk(b"IEND", b"")


def _with_pixels(width: int, height: int, body: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0x10]) + data[position + 1 :]
