"""From an encoded image to the pixels a network sees: decode, colour, resize. The only implementation.

Transform's graph is built from these functions, and that graph is what training, evaluation and the
served signature run, so they cannot differ.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from modules import exif, pixel_limit
from modules.settings import PixelSettings, TransformSettings

Colour = tuple[int, int, int]
WHITE: Colour = (255, 255, 255)
#: Larger images are not decoded, unless the settings of the ingest allow it: a quarter of a gigabyte of RGB.
MAX_PIXELS = 89_478_485

# The chunks before the pixels: a colour profile of some kilobytes may stand before the transparency.
_PNG_HEAD_BYTES = 1 << 15


def decode(
    encoded: tf.Tensor, channels: int, background: Colour = WHITE, max_pixels: int = MAX_PIXELS
) -> tf.Tensor:
    """Decodes one image as Pillow shows it: upright, and with transparency over a background.

    Args:
      encoded: string scalar, the file's bytes: JPEG, PNG, GIF (first frame), BMP or WebP. Transparency is
        blended for PNG, and orientation applied for JPEG; the ingest and the client have no other kinds left.
      channels: 1 or 3.
      background: red, green, blue behind transparent pixels.
      max_pixels: an image whose header declares more is an error, before it is decoded.

    Returns:
      uint8 (height, width, channels).
    """
    colour = tf.case(
        [
            (tf.io.is_jpeg(encoded), lambda: _decode_jpeg(encoded, max_pixels)),
            (_is_png(encoded), lambda: _decode_png(encoded, background, max_pixels)),
        ],
        default=lambda: _decode_others(encoded, max_pixels),
    )
    colour.set_shape([None, None, 3])
    return colour if channels == 3 else grey(colour)


def _decode_others(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    encoded = pixel_limit.bounded(encoded, pixel_limit.of_others(encoded), max_pixels)
    return tf.io.decode_image(encoded, channels=3, expand_animations=False)


def _decode_jpeg(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    encoded = pixel_limit.bounded(encoded, pixel_limit.of_jpeg(encoded), max_pixels)
    # `decode_image` takes libjpeg's fast, inexact DCT; Pillow and browsers take the accurate one.
    image = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE")
    return exif.upright(image, exif.orientation(encoded))


def _is_png(encoded: tf.Tensor) -> tf.Tensor:
    return tf.equal(tf.strings.substr(encoded, 0, 8), b"\x89PNG\r\n\x1a\n")


def _decode_png(encoded: tf.Tensor, background: Colour, max_pixels: int) -> tf.Tensor:
    encoded = pixel_limit.bounded(encoded, pixel_limit.of_png(encoded), max_pixels)
    # Only where there is an alpha channel: asked for one, TensorFlow gives images of fewer than 8 bits a
    # channel (and palettes) an alpha of a few 255ths.
    return tf.cond(
        _has_alpha(encoded),
        lambda: _over(tf.io.decode_png(encoded, channels=4), background),
        lambda: tf.io.decode_png(encoded, channels=3),
    )


def _has_alpha(encoded: tf.Tensor) -> tf.Tensor:
    """Whether a PNG has transparent pixels: by its colour type, or by a tRNS chunk before the first IDAT.

    Specification: W3C PNG (third edition), sections 11.2.1 and 11.3.1.1.
    """
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, _PNG_HEAD_BYTES), tf.uint8)
    colour_type = tf.concat([head, tf.zeros([26], tf.uint8)], axis=0)[25]
    has_channel = tf.equal(colour_type, 4) | tf.equal(colour_type, 6)
    return has_channel | (exif.position(head, b"tRNS") < exif.position(head, b"IDAT"))


def _over(image: tf.Tensor, background: Colour) -> tf.Tensor:
    """RGBA uint8 over a colour: Pillow's `alpha_composite`, in its integer arithmetic."""
    values = tf.cast(image, tf.int32)
    colour, alpha = values[..., :3], values[..., 3:]
    blended = colour * alpha + tf.constant(background) * (255 - alpha)
    # (x + x / 256) / 256 divides by 255; Pillow carries seven more bits, which decide the rounding.
    scaled = blended * 128 + (128 << 7)
    shift = tf.bitwise.right_shift
    return tf.cast(shift(shift(shift(scaled, 8) + scaled, 8), 7), tf.uint8)


def grey(colour: tf.Tensor) -> tf.Tensor:
    """ITU-R 601-2 luma in the integer arithmetic of Pillow's `convert("L")`, equal to the last bit.

    Args:
      colour: uint8 (..., 3).

    Returns:
      uint8 (..., 1). Grey pixels given as equal red, green and blue come back unchanged.
    """
    weighted = tf.cast(colour, tf.int32) * tf.constant([19595, 38470, 7471])
    luma = tf.bitwise.right_shift(tf.reduce_sum(weighted, axis=-1, keepdims=True) + 32768, 16)
    return tf.cast(luma, tf.uint8)


def resize(image: tf.Tensor, pixels: PixelSettings, transform: TransformSettings) -> tf.Tensor:
    """Brings an image to the configured size.

    Args:
      image: uint8 (height, width, channels).
      pixels: the size wanted.
      transform: how the aspect ratio is treated, and the interpolation.

    Returns:
      uint8 (image_size[0], image_size[1], channels), rounded to the nearest level.
    """
    height, width = pixels.image_size
    shape = tf.shape(image)

    def interpolated() -> tf.Tensor:
        match transform.resize:
            case "stretch":
                resized = _interpolate(image, [height, width], transform.method)
            case "crop":
                resized = _cover(image, height, width, transform.method)
            case "pad":
                resized = _fit(image, height, width, transform.method)
        return tf.saturate_cast(tf.round(tf.cast(resized, tf.float32)), tf.uint8)

    # An image that already has the size is passed on untouched: no float detour for small scans.
    fits = tf.reduce_all(tf.equal(shape[:2], [height, width]))
    resized = tf.cond(fits, lambda: image, interpolated)
    resized.set_shape([height, width, pixels.channels])
    return resized


# `tf.image.resize_with_pad` and `resize_with_crop_or_pad` hold assertions. TensorFlow prunes no operation
# that may fail, so looking up a label would decode images that are not there.


def _interpolate(image: tf.Tensor, size: tf.Tensor, method: str) -> tf.Tensor:
    return tf.image.resize(image, size, method, antialias=method not in ("nearest", "area"))


def _cover(image: tf.Tensor, height: int, width: int, method: str) -> tf.Tensor:
    """Scales until the image covers the target, and cuts out the middle."""
    size = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.reduce_max(tf.constant([height, width], tf.float64) / size)
    # Rounding may end a pixel short of the target.
    covering = tf.maximum(tf.cast(tf.round(size * scale), tf.int32), [height, width])
    top, left = tf.unstack((covering - [height, width]) // 2)
    return _interpolate(image, covering, method)[top : top + height, left : left + width]


def _fit(image: tf.Tensor, height: int, width: int, method: str) -> tf.Tensor:
    """Scales until the image fits into the target, and puts it in the middle of black."""
    size = tf.cast(tf.shape(image)[:2], tf.float64)
    scale = tf.reduce_min(tf.constant([height, width], tf.float64) / size)
    fitting = tf.clip_by_value(tf.cast(tf.round(size * scale), tf.int32), 1, [height, width])
    before = ([height, width] - fitting) // 2
    after = [height, width] - fitting - before
    padding = tf.concat([tf.stack([before, after], axis=1), [[0, 0]]], axis=0)
    return tf.pad(_interpolate(image, fitting, method), padding)


def decode_batch(
    encoded: tf.Tensor,
    pixels: PixelSettings,
    transform: TransformSettings,
    background: Colour = WHITE,
    max_pixels: int = MAX_PIXELS,
) -> tf.Tensor:
    """Decodes and resizes a batch.

    Args:
      encoded: string (batch,), the files' bytes.
      pixels, transform, background, max_pixels: as for `decode` and `resize`.

    Returns:
      uint8 (batch, height, width, channels).
    """
    return _batch_decoder(pixels, transform, background, max_pixels)(encoded)


@functools.lru_cache(maxsize=16)
def _batch_decoder(
    pixels: PixelSettings, transform: TransformSettings, background: Colour, max_pixels: int
) -> Callable[[tf.Tensor], tf.Tensor]:
    """A function that is traced once: Transform alone builds its graph ten times over, half a second each."""
    signature = tf.TensorSpec([*pixels.image_size, pixels.channels], tf.uint8)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def decode_all(encoded: tf.Tensor) -> tf.Tensor:
        return tf.map_fn(
            lambda one: resize(decode(one, pixels.channels, background, max_pixels), pixels, transform),
            encoded,
            fn_output_signature=signature,
        )

    return decode_all
