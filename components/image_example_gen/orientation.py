"""The orientation that the served graph would find in a JPEG: the twin of `modules.exif` without TensorFlow.

Pillow and the graph agree on what cameras write. Where Exif data are broken they may not, and the ingest then
stores the pixels instead of the file. A test holds the twins equal on broken data too.
"""

from __future__ import annotations

_SEARCHED_BYTES = 4096
_MARK = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3
_MOST_ENTRIES = 64


def in_graph(data: bytes) -> int:
    """1 (upright) to 8; 1 when there is none or it makes no sense."""
    head = data[:_SEARCHED_BYTES]
    start = head.find(_MARK)
    if start < 0:
        return 1
    tiff = head[start + len(_MARK) :] + bytes(4)
    order = "little" if tiff[0] == ord("I") else "big"

    def number(offset: int, size: int) -> int:
        offset = min(offset, len(tiff) - 4)
        return int.from_bytes(tiff[offset : offset + size], order)

    directory = number(4, 3) if order == "little" else number(5, 3)
    for index in range(min(number(directory, 2), _MOST_ENTRIES)):
        entry = directory + 2 + 12 * index
        if number(entry, 2) == _ORIENTATION and number(entry + 2, 2) == _SHORT:
            value = number(entry + 8, 2)
            return value if 1 <= value <= 8 else 1
    return 1
