"""Writes tf.Examples and TFRecord files without TensorFlow, which takes seconds to import in every worker.

Sources: protocol buffer encoding; tensorflow/core/example/{example,feature}.proto; tensorflow's
record_writer.h for the framing: length, masked CRC-32C of it, bytes, masked CRC-32C of them.
"""

from __future__ import annotations

import struct
from functools import lru_cache

import google_crc32c

from components.image_example_gen.figures import Figures
from components.image_example_gen.images import Decoded
from modules import features


def frame(record: bytes) -> bytes:
    """One record as it stands in an uncompressed TFRecord file."""
    length = len(record).to_bytes(8, "little")
    return b"".join((length, _checksum(length), record, _checksum(record)))


def framed_spans(data: bytes) -> list[tuple[int, int]]:
    """Start and end, framing included, of every record in the bytes of a TFRecord file."""
    spans, start = [], 0
    while start < len(data):
        end = start + 16 + int.from_bytes(data[start : start + 8], "little")
        spans.append((start, end))
        start = end
    return spans


def example(image: Decoded, figures: Figures, label: str, filename: str, sha256: str, size: int) -> bytes:
    """A serialized tf.Example with the features of `modules.features`.

    Args:
      image: what `images.decode` returned.
      figures: what `figures.measure` says of it.
      label: class name.
      filename: path relative to the data folder, encodable as UTF-8.
      sha256: hexadecimal digest of the file.
      size: bytes of the file.
    """
    entries = (
        _entry(features.IMAGE, 1, image.encoded),
        _repeated_bytes(features.LABEL, label),
        _entry(features.FILENAME, 1, filename.encode()),
        _SHA256,
        sha256.encode(),
        _repeated_bytes(features.FORMAT, image.format),
        _int(features.HEIGHT, image.height),
        _int(features.WIDTH, image.width),
        _int(features.CHANNELS, image.channels),
        _int(features.BYTES, size),
        _ASPECT,
        _pack_float(image.width / image.height),
        _BRIGHTNESS,
        _pack_float(figures.brightness),
        _CONTRAST,
        _pack_float(figures.contrast),
        _SHARPNESS,
        _pack_float(figures.sharpness),
    )
    return _field(1, b"".join(entries))


_SMALL = [bytes((value,)) for value in range(0x80)]


def _checksum(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return (((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF).to_bytes(4, "little")


def _varint(value: int) -> bytes:
    if value < 0x80:
        return _SMALL[value]
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _field(number: int, payload: bytes) -> bytes:
    return b"".join((_SMALL[number << 3 | 2], _varint(len(payload)), payload))


def _entry(name: str, kind: int, payload: bytes) -> bytes:
    """An entry of Features' map<string, Feature>: `kind` 1 is a BytesList, 2 a FloatList, 3 an Int64List."""
    return _field(1, _field(1, name.encode()) + _field(2, _field(kind, _field(1, payload))))


# An entry of fixed length is the same up to its value, and there are many more entries than bytes to decode
# in a small image: what can be known beforehand is.
_pack_float = struct.Struct("<f").pack
_SHA256 = _entry(features.SHA256, 1, bytes(64))[:-64]
_ASPECT = _entry(features.ASPECT, 2, bytes(4))[:-4]
_BRIGHTNESS = _entry(features.BRIGHTNESS, 2, bytes(4))[:-4]
_CONTRAST = _entry(features.CONTRAST, 2, bytes(4))[:-4]
_SHARPNESS = _entry(features.SHARPNESS, 2, bytes(4))[:-4]


@lru_cache(maxsize=4096)
def _repeated_bytes(name: str, value: str) -> bytes:
    return _entry(name, 1, value.encode())


@lru_cache(maxsize=4096)
def _int(name: str, value: int) -> bytes:
    return _entry(name, 3, _varint(value))
