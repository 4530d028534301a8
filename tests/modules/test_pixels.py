"""Decode, colour and resize: as Pillow shows the image, and equal eagerly and inside tf.data."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from components.image_example_gen.orientation import in_graph
from modules import pixel_limit, pixels
from modules.exif import orientation
from modules.settings import PixelSettings, TransformSettings

RNG = np.random.default_rng(0)
NOISE = RNG.integers(0, 256, (23, 31, 3), np.uint8)


def _encoded(array: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, kind, **options)
    return buffer.getvalue()


def _shown(encoded: bytes, mode: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(encoded)).convert(mode))


@pytest.mark.parametrize(
    "encoded",
    [
        _encoded(NOISE, "PNG"),
        _encoded(NOISE[..., 0], "PNG"),
        _encoded(NOISE, "BMP"),
        _encoded(NOISE, "JPEG", quality=90),
        _encoded(NOISE, "JPEG", progressive=True),
        _encoded(NOISE[..., 0], "JPEG"),
        _encoded(NOISE, "WEBP", lossless=True),
        _encoded(NOISE, "GIF"),
    ],
    ids=["png", "png-grey", "bmp", "jpeg", "jpeg-progressive", "jpeg-grey", "webp", "gif"],
)
@pytest.mark.parametrize("channels", [1, 3])
def test_decodes_what_pillow_shows(encoded: bytes, channels: int) -> None:
    expected = _shown(encoded, "RGB")
    if channels == 1:
        expected = np.asarray(Image.fromarray(expected).convert("L"))[..., np.newaxis]
    np.testing.assert_array_equal(pixels.decode(tf.constant(encoded), channels).numpy(), expected)


@pytest.mark.parametrize("stated", range(10))
@pytest.mark.parametrize("order", ["<", ">"])
def test_phones_photos_are_upright(stated: int, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F] = "a camera"
    exif[0x0112] = stated
    encoded = _encoded(NOISE, "JPEG", exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(encoded))).convert("RGB")
    for decode in (pixels.decode, tf.function(pixels.decode)):
        np.testing.assert_array_equal(decode(tf.constant(encoded), 3), expected)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([b"II*\0\x08\0\0\0\x02\0", b"MM\0*\0\0\0\x08\0\x02"]),
    st.lists(
        st.sampled_from([b"\x12\x01\x03\0", b"\x01\x12\0\x03", b"\x01\0\0\0", b"\0\x06\0\0"]), max_size=9
    ),
    st.integers(0, 60),
    st.binary(max_size=40),
)
def test_broken_exif_reads_alike_in_the_graph_and_at_the_ingest(
    start: bytes, words: list[bytes], cut: int, junk: bytes
) -> None:
    encoded = b"\xff\xd8\xff\xe1\0\x22Exif\0\0" + (start + b"".join(words))[:cut] + junk
    stated = int(orientation(tf.constant(encoded)))
    assert 1 <= stated <= 8
    assert stated == in_graph(encoded)


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 90)])
@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_blended_as_pillow_does(background: tuple[int, int, int], mode: str) -> None:
    image = Image.fromarray(RNG.integers(0, 256, (40, 30, 4), np.uint8), "RGBA").convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    below = Image.new("RGBA", image.size, (*background, 255))
    below.alpha_composite(image.convert("RGBA"))
    decoded = pixels.decode(tf.constant(buffer.getvalue()), 3, background)
    np.testing.assert_array_equal(decoded, np.asarray(below.convert("RGB")))


@pytest.mark.parametrize("transparent", [None, 3])
@pytest.mark.parametrize("mode", ["1", "L", "P2", "P4", "P8", "RGB"])
def test_pngs_of_every_depth_with_and_without_a_transparent_colour(
    mode: str, transparent: int | None
) -> None:
    colour = Image.fromarray(RNG.integers(0, 256, (40, 30, 3), np.uint8))
    image = colour.quantize(2 ** int(mode[1])) if mode.startswith("P") else colour.convert(mode)
    options = {} if transparent is None or mode == "1" else {"transparency": transparent}
    if mode == "RGB" and options:
        options = {"transparency": colour.getpixel((4, 5))}
    buffer = io.BytesIO()
    image.save(buffer, "PNG", **options)
    shown = Image.open(io.BytesIO(buffer.getvalue()))
    below = Image.new("RGBA", shown.size, (255, 255, 255, 255))
    below.alpha_composite(shown.convert("RGBA"))
    decoded = pixels.decode(tf.constant(buffer.getvalue()), 3)
    np.testing.assert_array_equal(decoded, np.asarray(below.convert("RGB")))


@settings(max_examples=200, deadline=None)
@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_grey_is_pillows_to_the_last_bit(colour: tuple[int, int, int]) -> None:
    array = np.array([[colour]], np.uint8)
    expected = np.asarray(Image.fromarray(array).convert("L"))
    assert pixels.grey(tf.constant(array)).numpy()[0, 0, 0] == expected[0, 0]


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
@pytest.mark.parametrize("method", ["bilinear", "bicubic", "area", "nearest", "lanczos3"])
@pytest.mark.parametrize("size", [(8, 40), (40, 8), (23, 31), (64, 64)])
def test_every_resize_gives_the_size_and_whole_levels(mode: str, method: str, size: tuple[int, int]) -> None:
    image = pixels.resize(
        tf.constant(NOISE), PixelSettings(image_size=size), TransformSettings(resize=mode, method=method)
    )
    assert image.shape == (*size, 3)
    assert image.dtype == tf.uint8


def test_an_image_of_the_right_size_is_untouched() -> None:
    image = pixels.resize(
        tf.constant(NOISE), PixelSettings(image_size=(23, 31)), TransformSettings(method="lanczos3")
    )
    np.testing.assert_array_equal(image, NOISE)


def test_pad_keeps_the_aspect_ratio_and_fills_with_black() -> None:
    white = tf.fill([10, 20, 3], tf.constant(255, tf.uint8))
    image = pixels.resize(white, PixelSettings(image_size=(20, 20)), TransformSettings(resize="pad")).numpy()
    assert (image[5:15] == 255).all()
    assert (image[:5] == 0).all()
    assert (image[15:] == 0).all()


def test_crop_keeps_the_middle() -> None:
    image = np.zeros((10, 30, 3), np.uint8)
    image[:, 10:20] = 200
    cropped = pixels.resize(
        tf.constant(image), PixelSettings(image_size=(10, 10)), TransformSettings(resize="crop")
    )
    np.testing.assert_array_equal(cropped, np.full((10, 10, 3), 200))


@pytest.mark.parametrize("mode", ["stretch", "crop", "pad"])
def test_equal_eagerly_and_in_tf_data(mode: str) -> None:
    size, transform = PixelSettings(image_size=(16, 12), channels=1), TransformSettings(resize=mode)
    encoded = [
        _encoded(RNG.integers(0, 256, (h, w, 3), np.uint8), "PNG") for h, w in [(9, 40), (40, 9), (16, 12)]
    ]
    eager = pixels.decode_batch(tf.constant(encoded), size, transform)
    decode: Callable = lambda batch: pixels.decode_batch(batch, size, transform)  # noqa: E731
    (mapped,) = tf.data.Dataset.from_tensor_slices(encoded).batch(3).map(decode)
    np.testing.assert_array_equal(eager, mapped)


def _bomb(kind: str) -> bytes:
    """An image whose header declares 20,000 x 10,000 pixels, as small as its format allows."""
    small = io.BytesIO(_encoded(NOISE, kind))
    data = bytearray(small.getvalue())
    wide, tall = 20_000, 10_000
    match kind:
        case "PNG":
            data[16:24] = wide.to_bytes(4, "big") + tall.to_bytes(4, "big")
        case "JPEG":
            at = data.index(b"\xff\xc0") + 5
            data[at : at + 4] = tall.to_bytes(2, "big") + wide.to_bytes(2, "big")
        case "GIF":
            data[6:10] = wide.to_bytes(2, "little") + tall.to_bytes(2, "little")
        case "BMP":  # the rows from the top down
            data[18:26] = wide.to_bytes(4, "little") + (-tall).to_bytes(4, "little", signed=True)
        case "WEBP":
            data[26:30] = (16_000).to_bytes(2, "little") + tall.to_bytes(2, "little")
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
def test_a_bomb_is_refused_by_its_header(kind: str) -> None:
    pixels_of_it = 160_000_000 if kind == "WEBP" else 200_000_000
    with pytest.raises(tf.errors.InvalidArgumentError, match=f"an image of {pixels_of_it} pixels, more than"):
        pixels.decode(tf.constant(_bomb(kind)), 3)


@pytest.mark.parametrize("options", [{"lossless": True}, {"lossless": False}, {"icc_profile": b"x" * 128}])
def test_pixels_of_every_kind_of_webp_are_counted(options: dict) -> None:
    encoded = tf.constant(_encoded(NOISE, "WEBP", **options))
    assert int(pixel_limit.of_others(encoded)) == 23 * 31


def test_frames_of_an_animation_count() -> None:
    frames = [Image.fromarray(np.roll(NOISE, step, 0)) for step in range(60)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    encoded = tf.constant(buffer.getvalue())
    assert 20 * 23 * 31 <= int(pixel_limit.of_others(encoded)) <= 24 * 23 * 31
    assert pixels.decode(encoded, 3).shape == (23, 31, 3)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than the 10000 that are decoded"):
        pixels.decode(encoded, 3, max_pixels=10_000)
