"""How many pixels an encoded image declares, in graph operations: a bomb is refused before it is decoded.

TensorFlow bounds neither JPEG nor GIF, and a megabyte of either can decode to gigabytes. What stands here is
part of the served model, so it holds in any model server.
"""

from __future__ import annotations

import tensorflow as tf

_HEAD_BYTES = 30
#: A GIF's frames are unpacked at a byte a pixel, all of them; pixels of the answer take three.
_GIF_FRAMES_SHARE = 3


def bounded(encoded: tf.Tensor, declared: tf.Tensor, limit: int) -> tf.Tensor:
    """The encoded image, or an error where it declares too many pixels.

    Args:
      encoded: string scalar, the file's bytes.
      declared: int64 scalar, pixels by its header.
      limit: pixels that are decoded.

    Returns:
      `encoded`. The operation is one that may fail but has no other effect, which an assertion would have:
      TensorFlow prunes it where nothing needs the image.
    """
    problem = tf.strings.join(
        ["an image of ", tf.strings.as_string(declared), f" pixels, more than the {limit} that are decoded"]
    )
    one = tf.strings.to_number(tf.where(declared > limit, problem, "1"), tf.int32)
    return tf.strings.substr(encoded, 0, tf.strings.length(encoded) * one)


def of_jpeg(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels of a JPEG, int64 scalar."""
    shape = tf.cast(tf.io.extract_jpeg_shape(encoded), tf.int64)
    return shape[0] * shape[1]


def of_png(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels of a PNG, int64 scalar. Specification: W3C PNG (third edition), section 11.2.1."""
    head = _head(encoded)
    return _number(head, range(19, 15, -1)) * _number(head, range(23, 19, -1))


def of_others(encoded: tf.Tensor) -> tf.Tensor:
    """Pixels of a GIF (of all its frames, as far as they count), BMP or WebP, int64 scalar; 0 for others.

    Specifications: GIF89a, sections 18 and 20; BITMAPINFOHEADER; RFC 9649, sections 2.5 to 2.7, and RFC 6386,
    section 9.1.
    """
    head = _head(encoded)
    kind = tf.strings.substr(encoded, 0, 4)
    gif = _number(head, (6, 7)) * _number(head, (8, 9))
    gif = tf.maximum(gif, gif * _gif_frames(encoded) // _GIF_FRAMES_SHARE)
    bitmap = tf.abs(_signed(_number(head, range(18, 22)))) * tf.abs(_signed(_number(head, range(22, 26))))
    return tf.where(
        tf.equal(kind, b"GIF8"),
        gif,
        tf.where(
            tf.equal(tf.strings.substr(encoded, 0, 2), b"BM"),
            bitmap,
            tf.where(tf.equal(kind, b"RIFF"), _webp(head, tf.strings.substr(encoded, 12, 4)), 0),
        ),
    )


def _gif_frames(encoded: tf.Tensor) -> tf.Tensor:
    """Frames of a GIF, or a few more: a frame begins with a comma, right after the zero that ends a block."""
    without = tf.strings.regex_replace(encoded, r"\x00,", "")
    return tf.cast((tf.strings.length(encoded) - tf.strings.length(without)) // 2, tf.int64)


def _webp(head: tf.Tensor, chunk: tf.Tensor) -> tf.Tensor:
    bits = _number(head, range(21, 25))
    lossless = ((bits & 0x3FFF) + 1) * (
        (tf.bitwise.right_shift(bits, tf.constant(14, tf.int64)) & 0x3FFF) + 1
    )
    extended = (_number(head, (24, 25, 26)) + 1) * (_number(head, (27, 28, 29)) + 1)
    lossy = (_number(head, (26, 27)) & 0x3FFF) * (_number(head, (28, 29)) & 0x3FFF)
    return tf.where(tf.equal(chunk, b"VP8X"), extended, tf.where(tf.equal(chunk, b"VP8L"), lossless, lossy))


def _head(encoded: tf.Tensor) -> tf.Tensor:
    """The first bytes, int64; zeros stand for those that a short file lacks."""
    data = tf.io.decode_raw(tf.strings.substr(encoded, 0, _HEAD_BYTES), tf.uint8)
    return tf.cast(tf.pad(data, [[0, _HEAD_BYTES - tf.size(data)]]), tf.int64)


def _number(head: tf.Tensor, places: range | tuple[int, ...]) -> tf.Tensor:
    """The number in the bytes at these places, the least significant first."""
    digits = tf.constant([256**power for power in range(len(places))], tf.int64)
    return tf.reduce_sum(tf.gather(head, list(places)) * digits)


def _signed(number: tf.Tensor) -> tf.Tensor:
    """32 bits read as a number that may be negative: rows of a bitmap from the top down."""
    return tf.where(number >= 1 << 31, number - (1 << 32), number)
