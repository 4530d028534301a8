"""Finds images that stand where they must not: under two labels, or on both sides of the evaluation.

Equal images are found by digest. Nearly equal ones have difference hashes within a few bits; all pairs of
100,000 would be five billion, so hashes are cut into bands: of d + 3 bands at least three are untouched by d
differing bits, and only hashes that agree on some three bands are compared (M. Norouzi et al., "Fast Exact
Search in Hamming Space with Multi-Index Hashing", 2014, with the bands combined).
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from modules.features import TEST, TRAIN, VALIDATION

#: A picture stays in the split that is the more precious: the test must not shrink for the train's sake.
PRECIOUS = {TRAIN: 0, VALIDATION: 1, TEST: 2}

#: A hash with fewer set (or unset) bits is that of a plain area or a ramp, which pictures share by chance.
_MINIMUM_BITS = 6
_BANDS_AGREED = 3
#: Mean difference of two thumbnails' grey levels up to which they may show one picture.
_ALIKE_LEVELS = 4.0
_BLOCK_PAIRS = 1 << 19
_NEIGHBOURS = 32


class Clash(NamedTuple):
    """Image `index` stands against image `other`: positions in what was given; `distance` in bits."""

    index: int
    other: int
    distance: int


def label_clashes(digests: Sequence[str], labels: Sequence[str]) -> list[Clash]:
    """Every image whose bytes stand under another label as well, each with one such other image."""
    if len(set(digests)) == len(digests):
        return []
    groups: dict[str, list[int]] = defaultdict(list)
    for index, digest in enumerate(digests):
        groups[digest].append(index)
    clashes = []
    for members in groups.values():
        if len(members) > 1:
            for index in members:
                other = next((one for one in members if labels[one] != labels[index]), None)
                if other is not None:
                    clashes.append(Clash(index, other, 0))
    return sorted(clashes)


def split_clashes(digests: Sequence[str], splits: Sequence[str]) -> list[Clash]:
    """Every image that stands in a more precious split as well, with its most precious copy."""
    if len(set(digests)) == len(digests):
        return []
    best: dict[str, int] = {}
    for index, digest in enumerate(digests):
        known = best.setdefault(digest, index)
        if PRECIOUS[splits[index]] > PRECIOUS[splits[known]]:
            best[digest] = index
    return [
        Clash(index, best[digest], 0)
        for index, digest in enumerate(digests)
        if PRECIOUS[splits[best[digest]]] > PRECIOUS[splits[index]]
    ]


def near_clashes(
    hashes: Sequence[int], thumbnails: Sequence[bytes], splits: Sequence[str], distance: int
) -> list[Clash]:
    """Every image that is nearly equal to one in a more precious split, with one such image.

    Args:
      hashes: 64-bit difference hashes.
      thumbnails: `figures.Figures.thumbnail` of each image; hashes of simple pictures agree by chance.
      splits: of each image.
      distance: bits that may differ, at most 3.
    """
    values = np.array(hashes, np.uint64)
    small = np.frombuffer(b"".join(thumbnails), np.uint8).reshape(len(values), -1)
    ranks = np.array([PRECIOUS[split] for split in splits], np.int8)
    best_rank, best, bits_apart = ranks.copy(), np.arange(len(values)), np.zeros(len(values), np.int64)
    for index, other, apart in _near_pairs(values, ranks, distance):
        better = ranks[other] > best_rank[index]
        index, other, apart = index[better], other[better], apart[better]
        alike = _mean_difference(small[index], small[other]) <= _ALIKE_LEVELS
        # Of several neighbours of one image the last written stands, so the most precious goes last.
        order = np.argsort(ranks[other[alike]], kind="stable")
        index, other, apart = index[alike][order], other[alike][order], apart[alike][order]
        best_rank[index], best[index], bits_apart[index] = ranks[other], other, apart
    return [
        Clash(int(index), int(best[index]), int(bits_apart[index]))
        for index in np.flatnonzero(best_rank > ranks)
    ]


def _mean_difference(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    # Greater less smaller stays within a byte, which is four times as fast as signed numbers.
    return (np.maximum(one, two) - np.minimum(one, two)).mean(axis=1, dtype=np.float32)


_Pairs = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]


def _near_pairs(values: np.ndarray, ranks: np.ndarray, distance: int) -> _Pairs:
    """Positions of hashes at most `distance` apart, lower rank first, and how far; some come repeatedly."""
    bits = np.bitwise_count(values)
    chosen = np.flatnonzero((bits >= _MINIMUM_BITS) & (bits <= 64 - _MINIMUM_BITS))
    count = distance + _BANDS_AGREED
    edges = [64 * band // count for band in range(count + 1)]
    bands = [np.uint64((1 << end) - (1 << start)) for start, end in itertools.pairwise(edges)]
    for agreed in itertools.combinations(bands, _BANDS_AGREED):
        keys = values[chosen] & np.bitwise_or.reduce(np.array(agreed))
        order = np.argsort(keys, kind="stable")
        members, keys = chosen[order], keys[order]
        for one, two in _candidates(keys, ranks[members]):
            one, two = members[one], members[two]
            apart = np.bitwise_count(values[one] ^ values[two])
            near = apart <= distance
            one, two, apart = one[near], two[near], apart[near].astype(np.int64)
            swap = ranks[one] > ranks[two]
            yield np.where(swap, two, one), np.where(swap, one, two), apart


def _candidates(keys: np.ndarray, ranks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions of equal keys of different rank; keys are sorted."""
    # Small groups, which are nearly all: every one's first, second, ... neighbour at once.
    for shift in range(1, _NEIGHBOURS + 1):
        equal = keys[shift:] == keys[:-shift]
        if not equal.any():
            return
        together = np.flatnonzero(equal & (ranks[shift:] != ranks[:-shift]))
        yield together, together + shift
    # The few large groups (plain pictures of one kind): all against all, a block at a time.
    starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
    ends = np.r_[starts[1:], len(keys)]
    large = ends - starts > _NEIGHBOURS
    for start, end in zip(starts[large], ends[large], strict=True):
        group = np.arange(start, end)
        for rank in (1, 2):
            higher, lower = group[ranks[group] == rank], group[ranks[group] < rank]
            step = max(1, _BLOCK_PAIRS // max(1, len(lower)))
            for at in range(0, len(higher), step):
                part = higher[at : at + step]
                yield np.tile(lower, len(part)), np.repeat(part, len(lower))
