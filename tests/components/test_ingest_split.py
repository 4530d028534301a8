"""The division into splits: exact, stable, whole, and blind to names and order."""

from __future__ import annotations

import hashlib
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.image_example_gen import split
from components.image_example_gen.settings import SplitSettings
from components.image_example_gen.split import Item
from modules.features import SPLITS, TEST, TRAIN, VALIDATION


def digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def items(counts: dict[str, int], first: int = 0) -> list[Item]:
    """Different images, so many a class."""
    labels = [label for label, count in counts.items() for _ in range(count)]
    return [Item(digest(first + number), label) for number, label in enumerate(labels)]


settings_strategy = st.builds(
    lambda validation, test, seed: SplitSettings(
        train=1 - validation - test, validation=validation, test=test, seed=seed
    ),
    st.sampled_from([0.05, 0.1, 0.15, 0.3]),
    st.sampled_from([0.05, 0.1, 0.2, 0.33]),
    st.integers(0, 3),
)
counts_strategy = st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 120), min_size=1)


@given(counts_strategy, settings_strategy)
def test_every_class_is_divided_within_one_image_of_the_shares(counts, settings) -> None:
    images = items(counts)
    splits = split.assign(images, settings)
    reached = Counter(zip((image.label for image in images), splits, strict=True))
    planned = split.planned_counts(counts, settings)
    for label, count in counts.items():
        for name, share in zip(SPLITS, (settings.train, settings.validation, settings.test), strict=True):
            assert abs(reached[label, name] - count * share) < 1
            assert reached[label, name] == planned[label][name]


@given(counts_strategy, settings_strategy, st.randoms(use_true_random=False))
def test_the_order_of_listing_does_not_matter(counts, settings, rng: random.Random) -> None:
    images = items(counts)
    shuffled = rng.sample(images, len(images))
    straight = dict(zip(images, split.assign(images, settings), strict=True))
    assert dict(zip(shuffled, split.assign(shuffled, settings), strict=True)) == straight


@given(counts_strategy, settings_strategy, st.data())
def test_equal_images_never_part_even_under_two_labels(counts, settings, drawn) -> None:
    images = items(counts)
    copies = drawn.draw(st.lists(st.sampled_from(images), min_size=1, max_size=30))
    relabelled = [image._replace(label=drawn.draw(st.sampled_from("abcdef"))) for image in copies]
    images = images + relabelled
    found = defaultdict(set)
    for image, name in zip(images, split.assign(images, settings), strict=True):
        found[image.sha256].add(name)
    assert all(len(names) == 1 for names in found.values())


@given(counts_strategy, counts_strategy, settings_strategy)
def test_with_a_ledger_growth_moves_no_old_image_and_the_shares_still_hold(counts, more, settings) -> None:
    old = items(counts)
    ledger = {image.sha256: name for image, name in zip(old, split.assign(old, settings), strict=True)}
    everything = items(more, first=100_000) + old
    splits = split.assign(everything, settings, ledger=ledger)
    for image, name in zip(everything, splits, strict=True):
        assert ledger.get(image.sha256, name) == name
    totals = Counter(image.label for image in everything)
    reached = Counter(zip((image.label for image in everything), splits, strict=True))
    for label, count in totals.items():
        for name, share in zip(SPLITS, (settings.train, settings.validation, settings.test), strict=True):
            # What was rounded up for the old images may have to stand one above for the new total.
            assert abs(reached[label, name] - count * share) < 2


def test_without_a_ledger_growth_by_a_tenth_moves_few() -> None:
    old = items({"a": 5000, "b": 5000})
    before = dict(zip(old, split.assign(old, SplitSettings()), strict=True))
    grown = old + items({"a": 500, "b": 500}, first=100_000)
    after = dict(zip(grown, split.assign(grown, SplitSettings()), strict=True))
    moved = sum(after[image] != name for image, name in before.items())
    assert moved < 0.02 * len(old)


@given(
    st.lists(
        st.tuples(st.integers(0, 25), st.sampled_from("ab"), st.integers(0, 300)), min_size=1, max_size=200
    ),
    settings_strategy,
)
def test_groups_stay_whole_also_when_they_share_an_image(drawn, settings) -> None:
    images = [Item(digest(number), label, f"patient {group}") for group, label, number in drawn]
    splits = split.assign(images, settings)
    for key in ("group", "sha256"):
        found = defaultdict(set)
        for image, name in zip(images, splits, strict=True):
            found[getattr(image, key)].add(name)
        assert all(len(names) == 1 for names in found.values())


def test_many_groups_reach_the_shares_as_nearly_as_whole_groups_can() -> None:
    images = [
        Item(digest(group * 1000 + number), "ab"[group % 2], f"group {group}")
        for group in range(200)
        for number in range(1 + group % 7)
    ]
    splits = Counter(split.assign(images, SplitSettings()))
    assert splits[TEST] == pytest.approx(0.1 * len(images), abs=8)
    assert splits[VALIDATION] == pytest.approx(0.1 * len(images), abs=8)


def test_ten_equal_groups_leave_no_split_empty() -> None:
    images = [Item(digest(g * 100 + n), "ab"[n % 2], str(g)) for g in range(10) for n in range(50)]
    assert Counter(split.assign(images, SplitSettings())) == {TRAIN: 400, VALIDATION: 50, TEST: 50}


def test_many_small_classes_fill_every_split() -> None:
    images = items({f"class {number}": 5 for number in range(40)})
    assert Counter(split.assign(images, SplitSettings())) == {TRAIN: 160, VALIDATION: 20, TEST: 20}


def test_another_seed_divides_differently() -> None:
    images = items({"a": 200, "b": 200})
    first = split.assign(images, SplitSettings(seed=0))
    second = split.assign(images, SplitSettings(seed=1))
    assert Counter(first) == Counter(second)
    assert first != second


def test_ready_splits_stay_and_what_is_missing_is_taken_from_train() -> None:
    train = [image._replace(ready=TRAIN) for image in items({"a": 90, "b": 45})]
    test = [image._replace(ready=TEST) for image in items({"a": 10, "b": 10}, first=1000)]
    splits = split.assign([*train, *test], SplitSettings(), ready=(TRAIN, TEST))
    assert splits[len(train) :] == [TEST] * 20
    taken = Counter(zip((image.label for image in train), splits, strict=False))
    # 0.8 to 0.1 of what lies in train.
    assert taken == {("a", TRAIN): 80, ("a", VALIDATION): 10, ("b", TRAIN): 40, ("b", VALIDATION): 5}
    assert split.assign(train, SplitSettings(), ready=SPLITS) == [TRAIN] * len(train)


@pytest.mark.parametrize("wrong", [{"train": 0.9}, {"train": 1.0, "validation": 0, "test": 0}, {"train": -1}])
def test_shares_that_make_no_sense_are_refused(wrong) -> None:
    with pytest.raises(ValueError):
        SplitSettings(**wrong)
