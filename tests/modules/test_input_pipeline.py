"""Training batches: every image once an epoch, in the order of seed and epoch, wherever a training begins."""

from __future__ import annotations

import numpy as np
import pytest

from modules import input_pipeline
from modules.input_pipeline import PixelStore


def _batches(images: int, batch_size: int, number: int, **options) -> list[tuple[np.ndarray, ...]]:
    # 40x40x3: the megabyte that is gathered at once holds three batches of 64, and more than ten of 16.
    pixels = np.random.default_rng(0).integers(0, 256, (images, 40, 40, 3), np.uint8)
    store = PixelStore(pixels, np.arange(images, dtype=np.int32))
    found = input_pipeline.training_batches(store, batch_size, seed=3, **options).take(number)
    batches = list(found.as_numpy_iterator())
    for pixels_, labels, *_ in batches:
        assert np.array_equal(pixels_, pixels[labels])
    return batches


@pytest.mark.parametrize("images", [5, 63, 64, 300])
@pytest.mark.parametrize("batch_size", [7, 16, 64])
def test_batches_follow_one_permutation_an_epoch(images: int, batch_size: int) -> None:
    steps = -(-images // batch_size)
    labels = [batch[1] for batch in _batches(images, batch_size, 3 * steps)]
    for epoch, found in enumerate(_epochs(labels, steps)):
        order = np.random.default_rng((3, epoch)).permutation(images)
        wanted = [np.sort(order[at : at + batch_size]) for at in range(0, images, batch_size)]
        assert [batch.tolist() for batch in found] == [batch.tolist() for batch in wanted]


def _epochs(batches: list[np.ndarray], steps: int) -> list[list[np.ndarray]]:
    return [batches[at : at + steps] for at in range(0, len(batches), steps)]


def test_a_training_that_goes_on_sees_what_an_undisturbed_one_sees() -> None:
    whole = _batches(300, 16, 3 * 19)
    later = _batches(300, 16, 19, first_epoch=2)
    assert [batch[1].tolist() for batch in later] == [batch[1].tolist() for batch in whole[2 * 19 :]]


@pytest.mark.parametrize("images", [63, 64])
def test_parts_make_up_a_batch_that_divides(images: int) -> None:
    whole = _batches(images, 7, 10, divisor=2)
    parts = [_batches(images, 7, 10, divisor=2, part=(index, 2)) for index in range(2)]
    for batch, *pieces in zip(whole, *parts, strict=True):
        assert sorted(np.concatenate([piece[1] for piece in pieces])) == batch[1].tolist()
        # The only one that does not divide is a last batch of one image, which is not lost.
        assert len(batch[1]) in (6, 1)


def test_weights_go_with_their_classes() -> None:
    weights = np.random.default_rng(1).random(63).astype(np.float32)
    for _, labels, found in _batches(63, 16, 8, class_weights=weights):
        assert np.array_equal(found, weights[labels])
