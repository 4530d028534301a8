"""Reads the headers of image files: kind, size in pixels, and whether the structure is whole and ordinary.

Nothing is decoded and nothing allocated here, so a header that lies costs nothing. The two decoders
(Pillow here, TensorFlow at training and serving) agree on files that are `plain`; the others are re-encoded.
Sources: PNG (W3C, third edition), JPEG (ITU-T T.81), WebP (RFC 9649), TIFF 6.0, GIF89a, BMP.
"""

from __future__ import annotations

import re
import struct
import zlib
from typing import NamedTuple

#: Progressive JPEGs have about ten scans; hundreds of scans are an attack on the decoder's time.
MAX_SCANS = 100


class HeaderError(ValueError):
    """The file's structure is broken: `reason` is `truncated`, `corrupt` or `unsupported`."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class Header(NamedTuple):
    """What a header says.

    `plain`: structure ordinary enough that TensorFlow reads the pixels that Pillow reads.
    `tile_pixels`: pixels of the largest block the decoder must hold at once (TIFF tiles), else 0.
    `packed`: where the compressed pixels of a PNG lie, and how many bytes they must become.
    `bare`: Pillow's mode (`L`, `RGB`) of a PNG that holds nothing else that decides what is shown, else "".
    """

    width: int
    height: int
    plain: bool
    tile_pixels: int = 0
    packed: tuple[tuple[tuple[int, int], ...], int] | None = None
    bare: str = ""


_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"\xff\xd8\xff", "JPEG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_FOREIGN = (
    (b"\0\0\x01\0", "ICO"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"8BPS", "Photoshop"),
    (b"%PDF", "PDF"),
    (b"%!PS", "PostScript"),
    (b"<svg", "SVG"),
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"P5\n", "PGM"),
    (b"P6\n", "PPM"),
    (b"qoif", "QOI"),
)


def kind(data: bytes) -> str | None:
    """`PNG`, `JPEG`, `GIF`, `BMP`, `WEBP`, `TIFF` by the first bytes, or None."""
    for magic, name in _MAGIC:
        if data.startswith(magic):
            # Any text may begin with BM: a bitmap also states the size of its information header.
            if name == "BMP" and not (len(data) >= 18 and data[14:18] in _BMP_HEADERS):
                return None
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return None


def foreign_kind(data: bytes) -> str | None:
    """Name of a picture format that ingest knows of but does not read, or None."""
    for magic, name in _FOREIGN:
        if data.startswith(magic):
            return name
    if data[4:8] == b"ftyp":
        brand = data[8:12]
        if brand in (b"avif", b"avis"):
            return "AVIF"
        if brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
            return "HEIC"
    return None


def read(name: str, data: bytes) -> Header:
    """Reads the header of a file of the kind `name`.

    Raises:
      HeaderError: the structure is cut off, contradicts itself or is of a kind that is not read.
    """
    try:
        return _READERS[name](data)
    except (struct.error, IndexError):
        raise HeaderError("truncated", f"the {name} header is cut off") from None


def _png(data: bytes) -> Header:
    width = height = depth = colour = lace = 0
    plain, bare, ended, offset, size = True, True, False, 8, len(data)
    pixels = []
    while offset + 12 <= size:
        length = int.from_bytes(data[offset : offset + 4], "big")
        name = data[offset + 4 : offset + 8]
        end = offset + 12 + length
        if end > size:
            raise HeaderError("truncated", f"the file ends inside the PNG chunk {name!r}")
        # Pillow skips the checksum of the pixels; a flipped bit there would be learned from as noise.
        if zlib.crc32(data[offset + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], "big"):
            raise HeaderError("corrupt", f"the checksum of the PNG chunk {name!r} is wrong")
        if offset == 8:
            if name != b"IHDR" or length != 13:
                raise HeaderError("corrupt", "the PNG does not begin with its header")
            width, height, depth, colour, packing, filters, lace = struct.unpack(">IIBBBBB", data[16:29])
            if packing or filters or lace > 1 or colour not in _PNG_SAMPLES:
                raise HeaderError("corrupt", "the PNG header states a method that does not exist")
        elif name == b"IDAT":
            plain = plain and (not pixels or pixels[-1][1] + 12 == offset + 8)  # consecutive
            pixels.append((offset + 8, end - 4))
        elif name == b"IEND":
            ended = True
            offset = end
            break
        elif name == b"IHDR":
            raise HeaderError("corrupt", "the PNG has two headers")
        elif name not in _PNG_REMARKS:
            bare = False
            if name in (b"tRNS", b"acTL") or (name[:1].isupper() and (name != b"PLTE" or pixels)):
                plain = False
        offset = end
    if not ended:
        raise HeaderError("truncated", "the PNG has no end")
    if not pixels:
        raise HeaderError("corrupt", "the PNG holds no pixels")
    plain = plain and depth <= 8 and colour in (0, 2, 3) and offset == size
    unpacked = _png_bytes(width, height, depth * _PNG_SAMPLES[colour], bool(lace))
    mode = _PNG_MODES.get((depth, colour), "") if bare and not lace and offset == size else ""
    return Header(width, height, plain, packed=(tuple(pixels), unpacked), bare=mode)


def png_is_whole(data: bytes, header: Header) -> bool:
    """Whether the pixels of a PNG unpack to just as many as its size asks for, with the right checksum.

    Pillow leaves missing rows black without a word, and does not look at what follows the last row;
    libpng refuses the file.

    Raises:
      HeaderError: there are too few.
      zlib.error: they cannot be unpacked.
    """
    assert header.packed is not None  # a PNG's header
    spans, missing = header.packed
    stream = zlib.decompressobj()
    for start, end in spans:
        part = data[start:end]
        while part and missing >= 0:
            missing -= len(stream.decompress(part, _UNPACK_BYTES))
            part = stream.unconsumed_tail
    if missing > 0:
        raise HeaderError("truncated", "the PNG has fewer rows than its header says")
    return missing == 0 and stream.eof and not stream.unused_data


def _png_bytes(width: int, height: int, bits: int, interlaced: bool) -> int:
    def rows(across: int, down: int) -> int:
        return down * (1 + (across * bits + 7) // 8) if across else 0

    if not interlaced:
        return rows(width, height)
    return sum(
        rows((width - left + wide - 1) // wide, (height - top + high - 1) // high)
        for top, left, high, wide in _ADAM7
    )


# Chunks that Pillow reads for its `info` alone.
_PNG_REMARKS = frozenset({b"pHYs", b"gAMA", b"sRGB", b"cHRM", b"tIME", b"bKGD", b"sBIT"})
_PNG_MODES = {(8, 0): "L", (8, 2): "RGB"}
_PNG_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
_UNPACK_BYTES = 1 << 20


def _jpeg(data: bytes) -> Header:
    frame: tuple[int, int, int, int, int] | None = None
    # Per component, the bits that each of its 64 coefficients still lacks (only progressive files refine).
    lacking: dict[int, list[int]] = {}
    scans = 0
    complete = False
    offset = 2
    while marker := _MARKER.search(data, offset):
        code, offset = data[marker.end() - 1], marker.end()
        if code == 0xD9:
            complete = True
            break
        length = int.from_bytes(data[offset : offset + 2], "big")
        if code in (0x01, 0xD8) or offset + length > len(data) or length < 2:
            break
        if 0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            if frame is not None:
                raise HeaderError("corrupt", "the JPEG has two headers")
            precision, height, width, components = struct.unpack_from(">BHHB", data, offset + 2)
            frame = code, precision, width, height, components
            lacking = {data[offset + 8 + 3 * index]: [8] * 64 for index in range(components)}
        elif code == 0xDA:
            if frame is None:
                raise HeaderError("corrupt", "the JPEG's pixels come before its header")
            scans += 1
            count = data[offset + 2]
            first, last, bits = struct.unpack_from("BBB", data, offset + 3 + 2 * count)
            for index in range(count):
                coefficients = lacking.get(data[offset + 3 + 2 * index])
                if coefficients is not None and last < 64:
                    coefficients[first : last + 1] = [bits & 15] * (last + 1 - first)
        offset += length
    if frame is None or not scans:
        raise HeaderError("truncated", "the JPEG ends before its pixels")
    if scans > MAX_SCANS:
        raise HeaderError("corrupt", f"the JPEG has {scans} scans, no camera writes more than {MAX_SCANS}")
    code, precision, width, height, components = frame
    # Versions of libjpeg differ in how they smooth over scans that are missing.
    whole = complete and not any(any(coefficients) for coefficients in lacking.values())
    return Header(width, height, whole and precision == 8 and components in (1, 3) and code <= 0xC2)


# Within the compressed pixels 0xFF is followed by 0 or a restart marker, elsewhere it may be repeated.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def _gif(data: bytes) -> Header:
    # TensorFlow ignores transparency and frame offsets, and reads every frame before it returns the first.
    return Header(*struct.unpack("<HH", data[6:10]), plain=False)


_BMP_HEADERS = {struct.pack("<I", size) for size in (12, 40, 52, 56, 64, 108, 124)}


def _bmp(data: bytes) -> Header:
    if data[14:18] == _BMP_OLD:
        return Header(*struct.unpack("<HH", data[18:22]), plain=False)
    width, height = struct.unpack("<ii", data[18:26])
    return Header(abs(width), abs(height), plain=False)


_BMP_OLD = struct.pack("<I", 12)


def _webp(data: bytes) -> Header:
    if int.from_bytes(data[4:8], "little") + 8 > len(data):
        raise HeaderError("truncated", "the WebP file is shorter than it says")
    # Pillow allocates two canvases of 4 bytes a pixel on opening, so these bounds must be known before.
    chunk = data[12:16]
    if chunk == b"VP8X":
        width = 1 + int.from_bytes(data[24:27], "little")
        height = 1 + int.from_bytes(data[27:30], "little")
        return Header(width, height, plain=not data[20] & 0b10010)  # neither alpha nor animation
    if chunk == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        if data[20] != 0x2F:
            raise HeaderError("corrupt", "the WebP header has no signature")
        return Header((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, plain=not bits >> 28 & 1)
    if chunk == b"VP8 ":
        if data[23:26] != b"\x9d\x01\x2a":
            raise HeaderError("corrupt", "the WebP header has no signature")
        width, height = struct.unpack("<HH", data[26:30])
        return Header(width & 0x3FFF, height & 0x3FFF, plain=True)
    raise HeaderError("corrupt", f"unknown WebP chunk {chunk!r}")


def _tiff(data: bytes) -> Header:
    order = "<" if data[:2] == b"II" else ">"
    if data[2:4] in (b"+\0", b"\0+"):
        raise HeaderError("unsupported", "BigTIFF is not read; save it as an ordinary TIFF or PNG")
    (start,) = struct.unpack(order + "I", data[4:8])
    (count,) = struct.unpack(order + "H", data[start : start + 2])
    tags = {}
    for index in range(count):
        at = start + 2 + 12 * index
        tag, form, _ = struct.unpack(order + "HHI", data[at : at + 8])
        tags[tag] = struct.unpack(
            order + ("H" if form == 3 else "I"), data[at + 8 : at + (10 if form == 3 else 12)]
        )[0]
    width, height = tags.get(256, 0), tags.get(257, 0)
    tile = tags.get(322, 0) * tags.get(323, 0)
    # A strip is as wide as the image and never higher, so only tiles can be larger than the image.
    return Header(width, height, plain=False, tile_pixels=tile)


_READERS = {"PNG": _png, "JPEG": _jpeg, "GIF": _gif, "BMP": _bmp, "WEBP": _webp, "TIFF": _tiff}
