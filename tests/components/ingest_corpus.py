"""Odd image files, each with the fate that ingest must give it: Pillow writes most, the rest is by hand.

A fate is `KEPT` (stored byte for byte), `REENCODED` (stored as PNG of what Pillow shows) or a refusal's
reason. Where a file's pixels are known beforehand they stand beside it, so Pillow is not its own judge.
"""

from __future__ import annotations

import io
import struct

import numpy as np
from ingest_corpus_png import ALPHA, GREY, KEPT, REENCODED, RGB, WHITE, Odd, over_white, png_files
from ingest_samples import encoded, pixels
from PIL import Image, TiffImagePlugin

# --- JPEG --------------------------------------------------------------------------------------------------


def _jpeg_files() -> list[Odd]:
    image = Image.fromarray(pixels(4, 40, 56))
    plain = encoded(image, "JPEG", quality=90)
    shown = np.asarray(Image.open(io.BytesIO(plain)))
    turned = []
    undone = {
        2: shown[:, ::-1],
        3: shown[::-1, ::-1],
        4: shown[::-1],
        5: shown.transpose(1, 0, 2),
        6: np.rot90(shown, 3),
        7: shown[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(shown),
    }
    for orientation, expected in undone.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        turned.append(
            Odd(
                f"jpeg of orientation {orientation}",
                encoded(image, "JPEG", quality=90, exif=exif),
                REENCODED,
                expected,
            )
        )
    upright = Image.Exif()
    upright[0x0112] = 1
    nonsense = Image.Exif()
    nonsense[0x0112] = 77
    cmyk = encoded(image.convert("CMYK"), "JPEG", quality=95)
    adobe = cmyk.index(b"Adobe")
    frame = plain.index(b"\xff\xc0")
    scan = plain.index(b"\xff\xda")
    return [
        Odd("jpeg", plain, KEPT, shown),
        Odd("jpeg progressive", encoded(image, "JPEG", progressive=True), KEPT),
        Odd("jpeg 4:4:4", encoded(image, "JPEG", subsampling="4:4:4"), KEPT),
        Odd("jpeg 4:2:2", encoded(image, "JPEG", subsampling="4:2:2"), KEPT),
        Odd("jpeg 4:1:1", encoded(image, "JPEG", subsampling="4:1:1"), KEPT),
        Odd("jpeg of quality 1", encoded(image, "JPEG", quality=1), KEPT),
        Odd(
            "jpeg of odd sides",
            encoded(Image.fromarray(pixels(5, 33, 41)), "JPEG", subsampling="4:2:0"),
            KEPT,
        ),
        Odd("jpeg grey", encoded(image.convert("L"), "JPEG"), KEPT),
        Odd("jpeg rgb", encoded(image, "JPEG", keep_rgb=True), KEPT),
        Odd("jpeg with restart markers", encoded(image, "JPEG", restart_marker_blocks=2), KEPT),
        Odd("jpeg with comment", encoded(image, "JPEG", comment=b"\xff\xda\xff\xd9"), KEPT),
        Odd("jpeg cmyk", cmyk, REENCODED),
        Odd("jpeg ycck", cmyk[: adobe + 11] + b"\x02" + cmyk[adobe + 12 :], REENCODED),
        Odd("jpeg cmyk without Adobe's marker", cmyk[: adobe - 4] + cmyk[adobe + 12 :], REENCODED),
        Odd("jpeg upright by exif", encoded(image, "JPEG", quality=90, exif=upright), KEPT, shown),
        Odd("jpeg of nonsense orientation", encoded(image, "JPEG", quality=90, exif=nonsense), KEPT, shown),
        Odd("jpeg of broken exif", _with_segment(plain, 0xE1, b"Exif\0\0MM\0*\xff\xff\xff\xff"), KEPT, shown),
        Odd(
            "jpeg with thumbnail",
            _with_segment(plain, 0xE1, b"Exif\0\0" + plain[:200] + b"\xff\xd9"),
            KEPT,
            shown,
        ),
        *turned,
        Odd(
            "jpeg of several pictures",
            encoded(image, "MPO", save_all=True, append_images=[image.rotate(180)], quality=90),
            KEPT,
        ),
        Odd("jpeg with bytes behind its end", plain + b"more", KEPT, shown),
        Odd("jpeg with fill bytes", plain[:2] + b"\xff\xff\xff" + plain[2:], KEPT, shown),
        Odd("jpeg without end marker", plain[:-2], "truncated"),
        Odd("jpeg progressive without its last scans", _without_last_scans(image), REENCODED),
        Odd(
            "jpeg with a broken segment at its end",
            plain[:-2] + b"\xff\xe5\xff\xf0abc\xff\xd9",
            REENCODED,
            shown,
        ),
        Odd("jpeg cut in half", plain[: len(plain) // 2], "truncated"),
        Odd("jpeg cut in its header", plain[:100], "truncated"),
        Odd("jpeg cut before its pixels", plain[:scan], "truncated"),
        Odd("jpeg signature alone", plain[:3], "truncated"),
        Odd("jpeg of height 0", plain[: frame + 5] + b"\0\0" + plain[frame + 7 :], "corrupt"),
        Odd("jpeg of 12 bits", plain[: frame + 4] + b"\x0c" + plain[frame + 5 :], "corrupt"),
        Odd("jpeg lossless", plain[: frame + 1] + b"\xc3" + plain[frame + 2 :], "corrupt"),
        Odd("jpeg of endless scans", plain[:-2] + plain[scan:-2] * 120 + b"\xff\xd9", "corrupt"),
        Odd("jpeg bomb", plain[: frame + 5] + b"\xff\xff\xff\xff" + plain[frame + 9 :], "too-large"),
        Odd("jpeg without tables", plain[:2] + plain[frame:], "corrupt"),
    ]


def _without_last_scans(image: Image.Image) -> bytes:
    progressive = encoded(image, "JPEG", progressive=True)
    last = progressive.rindex(b"\xff\xda")
    last = progressive.rindex(b"\xff\xc4", 0, last)
    return progressive[:last] + b"\xff\xd9"


def _with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body + jpeg[2:]


# --- GIF, BMP, WebP, TIFF ----------------------------------------------------------------------------------


def _gif_files() -> list[Odd]:
    palette = Image.fromarray(RGB).quantize(32)
    shown = np.asarray(palette.convert("RGB"))
    second = Image.fromarray(255 - RGB).quantize(32)
    plain = encoded(palette, "GIF")
    clear = encoded(palette, "GIF", transparency=3)
    hidden = np.where((np.asarray(palette) == 3)[..., None], np.uint8(WHITE), shown)
    screen = plain[:6] + struct.pack("<HH", 40, 30) + plain[10:]
    return [
        Odd("gif", plain, REENCODED, shown),
        Odd("gif grey", encoded(Image.fromarray(GREY), "GIF"), REENCODED, GREY),
        Odd("gif interlaced", encoded(palette, "GIF", interlace=1), REENCODED, shown),
        Odd("gif transparent", clear, REENCODED, hidden),
        Odd("gif animated", encoded(palette, "GIF", save_all=True, append_images=[second]), REENCODED, shown),
        Odd("gif smaller than its screen", screen, REENCODED),
        Odd("gif bomb", plain[:6] + b"\xff\xff\xff\xff" + plain[10:], "too-large"),
        Odd("gif of a frame larger than its screen", _gif_frame(plain, 60_000, 60_000), "too-large"),
        Odd("gif cut", plain[: len(plain) // 2], "truncated"),
        Odd("gif signature alone", plain[:6], "truncated"),
        Odd("gif of no frame", plain[:13], "corrupt"),
    ]


def _gif_frame(gif: bytes, width: int, height: int) -> bytes:
    at = gif.index(b"\x2c\0\0\0\0")
    return gif[: at + 5] + struct.pack("<HH", width, height) + gif[at + 9 :]


def bmp(width: int, height: int, bits: int, body: bytes, compression: int = 0, table: bytes = b"") -> bytes:
    """A bitmap with the 40-byte information header."""
    offset = 54 + len(table)
    header = struct.pack(
        "<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(body), 0, 0, len(table) // 4, 0
    )
    return b"BM" + struct.pack("<IHHI", offset + len(body), 0, 0, offset) + header + table + body


def _bmp_files() -> list[Odd]:
    palette = Image.fromarray(RGB).quantize(200)
    small = RGB[:16, :16]
    blue_first = np.dstack([small[..., ::-1], np.full(small.shape[:2], 77, np.uint8)])
    plain = encoded(Image.fromarray(RGB), "BMP")
    levels = b"".join(bytes([value, value, value, 0]) for value in range(256))
    runs = b"".join(bytes([16, 10 * row]) + b"\0\0" for row in range(16)) + b"\0\1"
    stripes = np.repeat(np.arange(15, -1, -1, dtype=np.uint8) * 10, 16).reshape(16, 16)
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]), "RGBA")
    return [
        Odd("bmp", plain, REENCODED, RGB),
        Odd("bmp grey", encoded(Image.fromarray(GREY), "BMP"), REENCODED, GREY),
        Odd("bmp 1 bit", encoded(Image.fromarray(GREY).convert("1"), "BMP"), REENCODED),
        Odd("bmp palette", encoded(palette, "BMP"), REENCODED, np.asarray(palette.convert("RGB"))),
        Odd("bmp of 32 bits, top down", bmp(16, -16, 32, blue_first.tobytes()), REENCODED, small),
        Odd("bmp rgba", encoded(rgba, "BMP"), REENCODED),
        Odd("bmp of 16 bits", bmp(16, 16, 16, bytes(512)), REENCODED, np.zeros((16, 16, 3), np.uint8)),
        Odd("bmp of runs", bmp(16, 16, 8, runs, compression=1, table=levels), REENCODED, stripes),
        Odd("bmp of OS/2", _os2(small), REENCODED, small),
        Odd("bmp bomb", bmp(60_000, 60_000, 24, bytes(100)), "too-large"),
        Odd("bmp cut", plain[: len(plain) // 2], "truncated"),
        Odd("bmp cut in its header", plain[:20], "truncated"),
        Odd("bmp of unknown compression", bmp(16, 16, 24, small.tobytes(), compression=77), "corrupt"),
    ]


def _os2(small: np.ndarray) -> bytes:
    body = small[::-1, :, ::-1].tobytes()
    return (
        b"BM"
        + struct.pack("<IHHI", 26 + len(body), 0, 0, 26)
        + struct.pack("<IHHHH", 12, 16, 16, 1, 24)
        + body
    )


def _webp_files() -> list[Odd]:
    image = Image.fromarray(RGB)
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]), "RGBA")
    exif = Image.Exif()
    exif[0x0112] = 3
    lossless = encoded(image, "WEBP", lossless=True)
    lossy = encoded(image, "WEBP", quality=80)
    extended = encoded(image, "WEBP", lossless=True, icc_profile=b"x" * 20)
    canvas = extended.index(b"VP8X") + 12
    return [
        Odd("webp", lossy, KEPT),
        Odd("webp lossless", lossless, KEPT, RGB),
        Odd("webp with profile", extended, KEPT, RGB),
        Odd(
            "webp with alpha",
            encoded(rgba, "WEBP", lossless=True, exact=True),
            REENCODED,
            over_white(RGB, ALPHA),
        ),
        Odd("webp lossy with alpha", encoded(rgba, "WEBP", quality=80), REENCODED),
        Odd(
            "webp animated",
            encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)], lossless=True),
            REENCODED,
            RGB,
        ),
        Odd(
            "webp turned by exif",
            encoded(image, "WEBP", lossless=True, exif=exif),
            REENCODED,
            RGB[::-1, ::-1],
        ),
        Odd("webp bomb", extended[:canvas] + b"\xff\x3f\0\xff\x3f\0" + extended[canvas + 6 :], "too-large"),
        Odd("webp cut", lossless[: len(lossless) // 2], "truncated"),
        Odd("webp cut in its header", lossless[:14], "truncated"),
        Odd("webp of an unknown chunk", lossless[:12] + b"VP9 " + lossless[16:], "corrupt"),
    ]


def _tiff_files() -> list[Odd]:
    image = Image.fromarray(RGB)
    grey = Image.fromarray(GREY)
    words = Image.fromarray(GREY.astype(np.uint16) << 8 | 0x55)
    turned = TiffImagePlugin.ImageFileDirectory_v2()
    turned[0x0112] = 8
    plain = encoded(image, "TIFF")
    palette = image.quantize(32)
    rgba = Image.fromarray(np.dstack([RGB, ALPHA]), "RGBA")
    return [
        Odd("tiff", plain, REENCODED, RGB),
        Odd("tiff lzw", encoded(image, "TIFF", compression="tiff_lzw"), REENCODED, RGB),
        Odd("tiff deflate", encoded(image, "TIFF", compression="tiff_adobe_deflate"), REENCODED, RGB),
        Odd("tiff packbits", encoded(image, "TIFF", compression="packbits"), REENCODED, RGB),
        Odd("tiff jpeg", encoded(image, "TIFF", compression="jpeg"), REENCODED),
        Odd("tiff fax", encoded(grey.convert("1"), "TIFF", compression="group4"), REENCODED),
        Odd("tiff big-endian", encoded(image, "TIFF", big_endian=True), REENCODED, RGB),
        Odd("tiff grey", encoded(grey, "TIFF"), REENCODED, GREY),
        Odd("tiff of 16 bits", encoded(words, "TIFF"), REENCODED, GREY),
        Odd("tiff palette", encoded(palette, "TIFF"), REENCODED, np.asarray(palette.convert("RGB"))),
        Odd("tiff rgba", encoded(rgba, "TIFF"), REENCODED, over_white(RGB, ALPHA)),
        Odd("tiff cmyk", encoded(image.convert("CMYK"), "TIFF"), REENCODED),
        Odd("tiff turned", encoded(image, "TIFF", tiffinfo=turned), REENCODED, np.rot90(RGB)),
        Odd(
            "tiff of several pages",
            encoded(image, "TIFF", save_all=True, append_images=[image.rotate(180)]),
            REENCODED,
            RGB,
        ),
        Odd("tiff of floats", encoded(grey.convert("F"), "TIFF"), "unsupported"),
        Odd("tiff of 32 bits", encoded(grey.convert("I"), "TIFF"), "unsupported"),
        Odd("tiff lab", encoded(Image.fromarray(RGB, "LAB"), "TIFF"), "unsupported"),
        Odd("tiff big", encoded(image, "TIFF", big_tiff=True), "unsupported"),
        Odd("tiff bomb", _tiff_tag(plain, 256, 60_000, 257, 60_000), "too-large"),
        Odd("tiff of bomb tiles", _tiled(60_000), "too-large"),
        Odd("tiff cut", plain[: len(plain) // 2], "truncated"),
        Odd("tiff signature alone", plain[:8], "truncated"),
    ]


def _tiled(side: int) -> bytes:
    """A TIFF of 16x16 pixels in one tile that claims to be as large as `side`."""
    tags = {256: 16, 257: 16, 258: 8, 259: 1, 262: 1, 277: 1, 322: side, 323: side, 324: 8, 325: 256}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<I", 264) + bytes(256) + struct.pack("<H", len(tags)) + entries + bytes(4)


def _tiff_tag(tiff: bytes, *changes: int) -> bytes:
    data = bytearray(tiff)
    (start,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, start)
    wanted = dict(zip(changes[::2], changes[1::2], strict=True))
    for at in range(start + 2, start + 2 + 12 * count, 12):
        (tag,) = struct.unpack_from("<H", data, at)
        if tag in wanted:
            struct.pack_into("<HII", data, at + 2, 4, 1, wanted[tag])
    return bytes(data)


def _foreign_files() -> list[Odd]:
    image = Image.fromarray(pixels(6, 32, 32))
    return [
        Odd("empty", b"", "empty"),
        Odd("text", b"cat, dog, bird\n" * 20, "not-an-image"),
        Odd("text that begins like a bitmap", b"BMW, Audi, Opel and many other cars", "not-an-image"),
        Odd("html instead of a download", b"<!DOCTYPE html><html>404</html>", "not-an-image"),
        Odd("zeros", bytes(5000), "not-an-image"),
        Odd("zip", b"PK\x03\x04" + bytes(40), "not-an-image"),
        Odd("sound", b"RIFF\x24\0\0\0WAVEfmt " + bytes(30), "not-an-image"),
        Odd("one byte", b"\xff", "not-an-image"),
        Odd("pdf", b"%PDF-1.7\n" + bytes(40), "unsupported"),
        Odd("svg", b"<svg xmlns='x'/>", "unsupported"),
        Odd("heic", b"\0\0\0\x18ftypheic" + bytes(40), "unsupported"),
        Odd("avif", encoded(image, "AVIF"), "unsupported"),
        Odd("jpeg 2000", encoded(image, "JPEG2000"), "unsupported"),
        Odd("icon", encoded(image, "ICO"), "unsupported"),
        Odd("photoshop", b"8BPS\0\1" + bytes(40), "unsupported"),
        Odd("ppm", encoded(image, "PPM"), "unsupported"),
    ]


CORPUS = [
    *png_files(),
    *_jpeg_files(),
    *_gif_files(),
    *_bmp_files(),
    *_webp_files(),
    *_tiff_files(),
    *_foreign_files(),
]
