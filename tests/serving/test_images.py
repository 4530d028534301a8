"""What is sent is what a viewer shows, and plain files are not touched."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.errors import BadImage
from serving.images import encode

RNG = np.random.default_rng(3)
PIXELS = RNG.integers(0, 256, (6, 9, 3), dtype=np.uint8)


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def shown(data: bytes) -> np.ndarray:
    """The pixels of the bytes that are sent."""
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_plain_png_goes_byte_for_byte(mode: str):
    data = saved(Image.fromarray(PIXELS).convert(mode), "PNG")
    assert encode(data, "x") == data


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_plain_jpeg_goes_byte_for_byte(mode: str, tmp_path: Path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(PIXELS).convert(mode).save(path)
    assert encode(path, "x") == path.read_bytes()
    assert encode(str(path), "x") == path.read_bytes()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(2, 9))
def test_an_orientation_is_applied(kind: str, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(PIXELS), kind, exif=exif)
    stored = np.asarray(Image.open(io.BytesIO(saved(Image.fromarray(PIXELS), kind))).convert("RGB"))
    expected = {
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored),
    }[orientation]
    np.testing.assert_array_equal(shown(encode(data, "x")), expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_an_upright_orientation_changes_nothing(kind: str):
    exif = Image.Exif()
    exif[0x0112] = 1
    data = saved(Image.fromarray(PIXELS), kind, exif=exif)
    assert encode(data, "x") == data


@pytest.mark.parametrize(
    "data",
    [
        saved(Image.fromarray(PIXELS), "TIFF"),
        saved(Image.fromarray(PIXELS), "BMP"),
        saved(Image.fromarray(PIXELS).quantize(16), "BMP"),
        saved(Image.fromarray(PIXELS).convert("CMYK"), "JPEG"),
        saved(Image.fromarray(PIXELS).quantize(16), "GIF"),
    ],
    ids=["tiff", "bmp", "palette-bmp", "cmyk-jpeg", "gif"],
)
def test_other_formats_become_the_png_that_a_viewer_shows(data: bytes):
    sent = encode(data, "x")
    assert sent.startswith(b"\x89PNG")
    np.testing.assert_array_equal(shown(sent), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


ALPHA = RNG.integers(0, 256, (6, 9), dtype=np.uint8)
CLEAR = np.dstack([PIXELS, ALPHA])


def over(background: tuple[int, int, int]) -> np.ndarray:
    """The pixels over a background, by the definition of alpha."""
    weight = ALPHA[:, :, None] / 255
    return PIXELS * weight + np.array(background) * (1 - weight)


@pytest.mark.parametrize("background", [(255, 255, 255), (0, 128, 20)])
@pytest.mark.parametrize(
    "image",
    [
        saved(Image.fromarray(CLEAR), "PNG"),
        saved(Image.fromarray(CLEAR), "WEBP", lossless=True, exact=True),
        saved(Image.fromarray(CLEAR), "TIFF"),
        CLEAR,
        Image.fromarray(CLEAR),
    ],
    ids=["png", "webp", "tiff", "array", "pillow"],
)
def test_the_background_shows_through(image: object, background: tuple[int, int, int]):
    sent = shown(encode(image, "x", background=background))  # type: ignore[arg-type]
    np.testing.assert_allclose(sent, over(background), atol=1.5)


def test_a_transparent_palette_entry_shows_the_background():
    palette = Image.fromarray(PIXELS).quantize(8)
    data = saved(palette, "PNG", transparency=3)
    sent, chosen = shown(encode(data, "x")), np.asarray(palette) == 3
    assert chosen.any() and (sent[chosen] == 255).all()
    np.testing.assert_array_equal(sent[~chosen], np.asarray(palette.convert("RGB"))[~chosen])


def test_grey_with_alpha_stays_grey():
    sent = shown(encode(saved(Image.fromarray(CLEAR[:, :, 2:]), "PNG"), "x"))
    assert sent.ndim == 2


def test_pixels_without_a_meaning_in_eight_bits_are_refused():
    with pytest.raises(BadImage, match="pixels of type F"):
        encode(saved(Image.fromarray(PIXELS[:, :, 0].astype(np.float32)), "TIFF"), "x")


def test_sixteen_bits_become_eight_without_turning_white():
    deep = (PIXELS[:, :, 0].astype(np.uint16) << 8) + 200
    np.testing.assert_array_equal(shown(encode(saved(Image.fromarray(deep), "PNG"), "x")), PIXELS[:, :, 0])


@pytest.mark.parametrize("pixels", [PIXELS, PIXELS[:, :, 0], PIXELS[:, :, :1], PIXELS[:, ::2]])
def test_arrays_arrive_unchanged(pixels: np.ndarray):
    np.testing.assert_array_equal(shown(encode(pixels, "x")), pixels.squeeze())


def test_a_pillow_image_is_turned_upright():
    image = Image.open(io.BytesIO(saved(Image.fromarray(PIXELS), "PNG")))
    image.getexif()[0x0112] = 3
    np.testing.assert_array_equal(shown(encode(image, "x")), PIXELS[::-1, ::-1])


def test_nothing_private_of_the_original_is_sent_along():
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a secret"
    sent = encode(saved(Image.fromarray(PIXELS), "JPEG", exif=exif), "x")
    assert b"secret" not in sent and b"eXIf" not in sent


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (b"", "empty"),
        (b"no image at all", "not an image"),
        ("no/such/file.png", "no such file"),
        (".", "folder"),
        (np.zeros((4, 4, 3), np.float32), "uint8.*float32"),
        (np.zeros((4, 4, 2), np.uint8), r"\(4, 4, 2\)"),
        (np.zeros((0, 4, 3), np.uint8), r"\(0, 4, 3\)"),
        (saved(Image.fromarray(PIXELS), "TIFF")[:90], "not an image|decoded"),
    ],
)
def test_a_bad_image_is_refused_with_its_name_and_reason(image: object, reason: str):
    with pytest.raises(BadImage, match=f"^rose.*{reason}"):
        encode(image, "rose")  # type: ignore[arg-type]


def test_too_many_pixels_are_refused_before_decoding():
    with pytest.raises(BadImage, match="9 x 6 pixels are more than the limit of 50"):
        encode(saved(Image.fromarray(PIXELS), "PNG"), "x", max_pixels=50)


def test_another_type_is_a_mistake_of_the_caller():
    with pytest.raises(TypeError, match="not int"):
        encode(7, "x")  # type: ignore[arg-type]
