"""How many pixels an encoded image has, from its header alone: a bomb is refused before it is decoded.

TensorFlow bounds neither JPEG nor GIF: some kilobytes can decode to gigabytes.
"""

import struct

import numpy as np
from google.protobuf.message import DecodeError

from serving import protos
from serving.status import StatusCode, fail

_START_OF_FRAME = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def pixel_count(data: bytes) -> int | None:
    """Width times height of a PNG, JPEG, GIF, BMP or WebP file; None when its header does not say."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16)
        elif data.startswith(b"\xff\xd8"):
            return _jpeg(data)
        elif data.startswith((b"GIF87a", b"GIF89a")):
            return _gif(data)
        elif data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
        elif data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            width, height = _webp(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return abs(width) * abs(height)


def _jpeg(data: bytes) -> int | None:
    """The largest frame that any start-of-frame marker before the first scan declares."""
    position, largest = 2, None
    while position + 4 <= len(data):
        if data[position] != 0xFF:  # decoders skip what stands between segments
            position = data.find(b"\xff", position)
            if position < 0:
                break
            continue
        marker = data[position + 1]
        if marker == 0xFF:
            position += 1
            continue
        if marker in (0x00, 0x01) or 0xD0 <= marker <= 0xD8:  # stand alone, without a length
            position += 2
            continue
        if marker in (0xD9, 0xDA):
            break
        (length,) = struct.unpack_from(">H", data, position + 2)
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, position + 5)
            largest = max(largest or 0, width * height)
        position += 2 + max(length, 2)
    return largest


def _gif(data: bytes) -> int:
    """The canvas, or a third of all frames, which a decoder unpacks at a byte a pixel and not at three."""
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    position = 13 + _colours(flags)
    frames = 0
    while position < len(data) and data[position] in b"!,":
        if data[position] == 0x2C:
            left, top, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", data, position + 1)
            width, height = max(width, left + frame_width), max(height, top + frame_height)
            frames += 1
            position += 11 + _colours(flags)  # the descriptor, its colours, and the size of the codes
        else:
            position += 2
        while position < len(data) and data[position]:  # blocks, each with its length before it
            position += data[position] + 1
        position += 1
    return width * height * max(3, frames) // 3


def _colours(flags: int) -> int:
    """Bytes of the table of colours that flags announce."""
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _webp(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        width_low, width_high, height_low, height_high = struct.unpack_from("<HBHB", data, 24)
        return 1 + width_low + (width_high << 16), 1 + height_low + (height_high << 16)
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


def check(strings: np.ndarray, limit: int) -> None:
    """Refuses a tensor of strings in which an image, by itself or within a `tf.Example`, is too large.

    Raises `StatusError` INVALID_ARGUMENT, naming the element.
    """
    for index, data in enumerate(strings.ravel()):
        images = [data]
        if data[:1] == b"\n":  # field 1 of a serialized Example
            images = _bytes_of_example(data)
        for image in images:
            pixels = pixel_count(image)
            if pixels is not None and pixels > limit:
                fail(
                    StatusCode.INVALID_ARGUMENT,
                    f"image {index} has {pixels} pixels, more than the {limit} that this server decodes",
                )


def _bytes_of_example(data: bytes) -> list[bytes]:
    try:
        example = protos.example.Example.FromString(data)
    except DecodeError:
        return []
    return [value for feature in example.features.feature.values() for value in feature.bytes_list.value]
