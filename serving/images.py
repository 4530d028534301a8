"""From anything a caller has, a path, bytes, an array, a Pillow image, to the bytes that are sent.

A server decodes with TensorFlow, which reads some files differently from Pillow or not at all, ignores
transparency, and applies no EXIF orientation. What both read alike, 8-bit JPEG and opaque PNG, is sent byte
for byte; everything else is decoded here and sent as PNG, so that the model sees what a viewer shows. The
rules are those by which images are ingested for training.
"""

import io
import os
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from serving.errors import BadImage

Colour = tuple[int, int, int]
ImageInput = str | os.PathLike | bytes | bytearray | memoryview | np.ndarray | Image.Image

#: The same bound as Pillow's own warning: a quarter of a gigabyte of RGB.
MAX_PIXELS = 89_478_485
#: Shows through where an image is transparent; the default of the ingest.
WHITE = (255, 255, 255)

_ORIENTATION = 0x0112
_AS_THEY_ARE = {
    "JPEG": ("L", "RGB"),
    "MPO": ("L", "RGB"),  # a camera's JPEG with further pictures behind the first
    "PNG": ("1", "L", "P", "RGB"),
}
#: Marks of metadata that can carry an orientation. Pillow reads a whole PNG to look for them; this does not.
_PNG_METADATA = (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp")
_PNG_QUICK = 1  # zlib level: on a local network time to compress costs more than bytes


def source_name(image: ImageInput, fallback: str) -> str:
    """How results and errors name an image: its path, or the fallback for what has none."""
    if isinstance(image, str | os.PathLike):
        return os.fspath(image)
    return getattr(image, "filename", "") or fallback


def encode(image: ImageInput, source: str, max_pixels: int = MAX_PIXELS, background: Colour = WHITE) -> bytes:
    """The bytes to send for one image.

    Args:
      image: a path, a file's bytes, a Pillow image, or uint8 pixels (h, w), (h, w, 1), (h, w, 3), (h, w, 4).
      source: what errors call it.
      max_pixels: more pixels than this are refused before anything is decoded.
      background: red, green and blue that show through where the image is transparent.

    Raises `BadImage`: no such file, no image, too many pixels, or an array of another shape or type.
    """
    if isinstance(image, Image.Image):
        return _png(_upright(image, source), source, background)
    if isinstance(image, np.ndarray):
        return _png(_from_array(image, source), source, background)
    if isinstance(image, str | os.PathLike):
        data = _read(Path(image), source)
    elif isinstance(image, bytes | bytearray | memoryview):
        data = bytes(image)
    else:
        raise TypeError(f"an image is a path, bytes, an array or a Pillow image, not {type(image).__name__}")
    return _from_file(data, source, max_pixels, background)


def _read(path: Path, source: str) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise BadImage(source, "there is no such file") from None
    except IsADirectoryError:
        raise BadImage(source, "this is a folder; give the image files in it") from None
    except OSError as error:
        raise BadImage(source, f"cannot be read: {error.strerror or error}") from None


def _from_file(data: bytes, source: str, max_pixels: int, background: Colour) -> bytes:
    if not data:
        raise BadImage(source, "the file is empty")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow warns of what max_pixels decides
            image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise BadImage(source, f"it declares more pixels than the limit of {max_pixels:,}") from None
    except Exception:  # Pillow's plug-ins raise anything on broken headers
        raise BadImage(source, "this is not an image in a format that Pillow knows") from None
    if image.width * image.height > max_pixels:
        raise BadImage(
            source,
            f"{image.width} x {image.height} pixels are more than the limit of {max_pixels:,}",
        )
    is_plain = image.mode in _AS_THEY_ARE.get(image.format or "", ()) and "transparency" not in image.info
    if is_plain and not _is_turned(image, data):
        return data
    return _png(_upright(image, source), source, background)


def _is_turned(image: Image.Image, data: bytes) -> bool:
    if image.format == "PNG" and not any(mark in data for mark in _PNG_METADATA):
        return False
    try:
        return image.getexif().get(_ORIENTATION, 1) in range(2, 9)
    except Exception:  # metadata that Pillow cannot parse turns nothing
        return False


def _upright(image: Image.Image, source: str) -> Image.Image:
    try:
        image.load()
    except Exception as error:
        raise BadImage(source, f"the image cannot be decoded: {error}") from None
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _eight_bit(image: Image.Image, source: str, background: Colour) -> Image.Image:
    """The image in mode L or RGB, transparent parts over the background."""
    mode = image.mode
    if "transparency" not in image.info:
        if mode in ("L", "RGB"):
            return image
        if mode == "1":
            return image.convert("L")
        if mode in ("P", "CMYK", "YCbCr"):
            return image.convert("RGB")
    if mode.startswith("I;16"):
        # Pillow's own conversion clips at 255, which turns nearly every 16-bit scan white.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if mode not in ("L", "RGB", "P", "PA", "LA", "La", "RGBA", "RGBa", "RGBX"):
        raise BadImage(source, f"pixels of type {mode} have no agreed meaning in 8 bits; convert it to PNG")
    is_grey = mode in ("L", "LA", "La") and len(set(background)) == 1
    below = Image.new("RGBA", image.size, (*background, 255))
    below.alpha_composite(image.convert("RGBA"))
    return below.convert("L" if is_grey else "RGB")


def _from_array(array: np.ndarray, source: str) -> Image.Image:
    if array.dtype != np.uint8:
        raise BadImage(source, f"pixels must be uint8 from 0 to 255. Received: {array.dtype}")
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if 0 in array.shape or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4))):
        raise BadImage(
            source,
            f"pixels have the shape (h, w) or (h, w, 1 | 3 | 4). Received: {array.shape}",
        )
    return Image.fromarray(np.ascontiguousarray(array))


def _png(image: Image.Image, source: str, background: Colour) -> bytes:
    try:
        plain = _eight_bit(image, source, background)
    except (ValueError, OSError) as error:
        raise BadImage(source, f"colours of mode {image.mode} cannot be converted: {error}") from None
    buffer = io.BytesIO()
    plain.save(buffer, "PNG", compress_level=_PNG_QUICK, icc_profile=None)
    return buffer.getvalue()
