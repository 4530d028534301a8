"""EXIF orientation of JPEGs in graph operations, so that the served model turns a phone's photos itself.

Specification: CIPA DC-008 (Exif 2.32), section 4.6; TIFF 6.0, section 2.
"""

from __future__ import annotations

import functools

import tensorflow as tf

# The Exif segment comes first or right after the JFIF one, and cameras put the orientation early in it.
_SEARCHED_BYTES = 4096
_MARK = b"Exif\0\0"
_ORIENTATION = 0x0112
_SHORT = 3
_MOST_ENTRIES = 64


def orientation(encoded: tf.Tensor) -> tf.Tensor:
    """Orientation that a JPEG's Exif segment states.

    Args:
      encoded: string scalar, the file's bytes.

    Returns:
      int32 scalar, 1 (upright) to 8; 1 when there is none or it makes no sense.
    """
    head = tf.io.decode_raw(tf.strings.substr(encoded, 0, _SEARCHED_BYTES), tf.uint8)
    start = position(head, _MARK)
    return tf.cond(
        start < tf.size(head),
        lambda: _in_tiff(tf.cast(head[start + len(_MARK) :], tf.int32)),
        lambda: 1,
    )


def position(data: tf.Tensor, wanted: bytes) -> tf.Tensor:
    """Where a byte sequence begins in uint8 (n,); n when it does not occur."""
    starts = tf.maximum(tf.size(data) - len(wanted) + 1, 0)
    # Pair by pair: `tf.reduce_all` of the stacked comparisons takes longer than decoding a small JPEG.
    found = functools.reduce(
        tf.logical_and, [tf.equal(data[i : starts + i], byte) for i, byte in enumerate(wanted)]
    )
    first = tf.argmax(tf.cast(found, tf.uint8), output_type=tf.int32)
    return tf.where(tf.reduce_any(found), first, tf.size(data))


def _in_tiff(data: tf.Tensor) -> tf.Tensor:
    """Orientation in a TIFF structure, int32 bytes (n,)."""
    # Zeros at the end answer whatever a broken offset asks for.
    data = tf.concat([data, tf.zeros([4], tf.int32)], axis=0)
    last = tf.size(data) - 4
    is_little = tf.equal(data[0], ord("I"))

    def number(offset: tf.Tensor, size: int) -> tf.Tensor:
        offset = tf.clip_by_value(offset, 0, last)
        parts = [tf.gather(data, offset + i) for i in range(size)]
        little = tf.add_n([part * 256**i for i, part in enumerate(parts)])
        big = tf.add_n([part * 256**i for i, part in enumerate(reversed(parts))])
        return tf.where(is_little, little, big)

    # Three bytes of the four hold every offset within what is searched, and cannot overflow an int32.
    directory = tf.where(is_little, number(4, 3), number(5, 3))
    entries = directory + 2 + 12 * tf.range(tf.clip_by_value(number(directory, 2), 0, _MOST_ENTRIES))
    wanted = tf.equal(number(entries, 2), _ORIENTATION) & tf.equal(number(entries + 2, 2), _SHORT)
    values = tf.boolean_mask(number(entries + 8, 2), wanted)
    value = tf.concat([values, [1]], axis=0)[0]
    return tf.where((value >= 1) & (value <= 8), value, 1)


def upright(image: tf.Tensor, stated: tf.Tensor) -> tf.Tensor:
    """Turns an image as its orientation says.

    Args:
      image: (height, width, channels).
      stated: int32 scalar, 1 to 8.

    Returns:
      The image; height and width change places for 5 to 8.
    """

    def turned() -> tf.Tensor:
        # Every orientation is a transposition, then mirrorings, each of them or not.
        result = tf.cond(stated >= 5, lambda: tf.transpose(image, [1, 0, 2]), lambda: image)
        across = tf.reduce_any(tf.equal(stated, [2, 3, 6, 7]))
        down = tf.reduce_any(tf.equal(stated, [3, 4, 7, 8]))
        result = tf.cond(across, lambda: result[:, ::-1], lambda: result)
        return tf.cond(down, lambda: result[::-1], lambda: result)

    return tf.cond(stated > 1, turned, lambda: image)
