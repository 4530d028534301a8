"""Every odd file meets its fate, and what is stored decodes in TensorFlow to what Pillow shows."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tensorflow as tf
from ingest_corpus import CORPUS, KEPT, REENCODED, Odd
from ingest_samples import grey_of
from PIL import Image, ImageOps, PngImagePlugin

from components.image_example_gen import headers, images
from components.image_example_gen.settings import IngestSettings
from modules import pixels

BOUNDS = images.Bounds.of(IngestSettings())


def pillow_shows(data: bytes) -> np.ndarray:
    """What Pillow alone makes of a file, for kinds without depth or alpha that need a decision."""
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode == "RGBA":
            upright = Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright)
        return np.asarray(upright.convert("RGB"))


def as_colour(array: np.ndarray) -> np.ndarray:
    return np.dstack([array] * 3) if array.ndim == 2 else array


@pytest.mark.parametrize("odd", CORPUS, ids=[odd.name for odd in CORPUS])
def test_every_odd_file_meets_its_fate(odd: Odd) -> None:
    try:
        decoded = images.decode(odd.data, BOUNDS)
    except images.ImageRefusedError as refusal:
        assert refusal.reason == odd.fate, refusal.detail
        assert refusal.detail and "\n" not in refusal.detail
        return
    assert (KEPT if decoded.encoded == odd.data else REENCODED) == odd.fate
    trained_on = pixels.decode(tf.constant(decoded.encoded), 3).numpy()
    expected = pillow_shows(odd.data) if odd.shown is None else as_colour(odd.shown)
    # Blending rounds once more than exact arithmetic; everything else is equal to the last bit.
    tolerance = 1 if "alpha" in odd.name or "rgba" in odd.name else 0
    np.testing.assert_allclose(trained_on.astype(int), expected.astype(int), atol=tolerance, rtol=0)
    assert (decoded.height, decoded.width) == expected.shape[:2]
    np.testing.assert_array_equal(decoded.grey, grey_of(decoded))
    if decoded.channels == 1:
        assert (trained_on == trained_on[..., :1]).all()


def test_the_corpus_is_large_and_covers_every_reason_of_content() -> None:
    assert len({odd.name for odd in CORPUS}) == len(CORPUS) >= 60
    of_content = {"empty", "not-an-image", "unsupported", "truncated", "corrupt", "too-large", "too-small"}
    assert {odd.fate for odd in CORPUS} == of_content | {KEPT, REENCODED}
    assert of_content < set(images.REASONS)


def test_a_png_of_nothing_but_pixels_is_read_as_pillow_reads_it() -> None:
    rng = np.random.default_rng(0)
    for number in range(200):
        height, width = rng.integers(BOUNDS.min_side, 40, 2)
        noise = rng.integers(0, 256, (height, width, 3) if number % 2 else (height, width), np.uint8)
        # Sorted columns are what the filters of PNG are for: each row gets its own.
        image = Image.fromarray(np.sort(noise, axis=0) if number % 3 else noise)
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=number % 10, optimize=number % 5 == 0, dpi=(72, 72))
        data = file.getvalue()
        assert headers.read("PNG", data).bare == image.mode
        decoded = images.decode(data, BOUNDS)
        assert decoded.encoded == data
        np.testing.assert_array_equal(decoded.grey, np.asarray(image.convert("L")))


def test_what_else_decides_how_a_png_is_shown_is_left_to_pillow() -> None:
    image = Image.new("RGB", (4, 4))
    remarks = PngImagePlugin.PngInfo()
    remarks.add_text("XML:com.adobe.xmp", "<orientation/>")
    for options in ({"transparency": (0, 0, 0)}, {"pnginfo": remarks}, {"icc_profile": b"profile"}):
        file = io.BytesIO()
        image.save(file, "PNG", **options)
        assert headers.read("PNG", file.getvalue()).bare == ""
