"""Finds images that stand where they must not: under two labels, or on both sides of the evaluation.

Equal images are found by digest. Nearly equal ones have difference hashes within a few bits; all pairs of
100,000 would be five billion, so hashes are cut into bands: of d + 3 bands at least three are untouched by d
differing bits, and only hashes that agree on some three bands are compared (M. Norouzi et al., "Fast Exact
Search in Hamming Space with Multi-Index Hashing", 2014, with the bands combined).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from modules.features import TEST, TRAIN, VALIDATION

#: A picture stays in the split that is the more precious: the test must not shrink for the train's sake.
PRECIOUS = {TRAIN: 0, VALIDATION: 1, TEST: 2}

#: A hash with fewer set (or unset) bits is that of a plain area or a ramp, which pictures share by chance.
_MINIMUM_BITS = 6
_BANDS_AGREED = 3
_BLOCK = 2048


class Clash(NamedTuple):
    """Image `index` stands against image `other`: positions in what was given; `distance` in bits."""

    index: int
    other: int
    distance: int


def label_clashes(digests: Sequence[str], labels: Sequence[str]) -> list[Clash]:
    """Every image whose bytes stand under another label as well, each with one such other image."""
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


def near_clashes(hashes: Sequence[int], splits: Sequence[str], distance: int) -> list[Clash]:
    """Every image that is nearly equal to one in a more precious split, with one such image.

    Args:
      hashes: 64-bit difference hashes.
      splits: of each image.
      distance: bits that may differ, at most 3.
    """
    values, kinds = np.unique(np.array(hashes, np.uint64), return_inverse=True)
    bits = np.bitwise_count(values)
    telling = (bits >= _MINIMUM_BITS) & (bits <= 64 - _MINIMUM_BITS)
    # Per hash, its image in the most precious split; an image clashes with the best of the neighbours.
    rank = np.full(len(values), -1)
    holder = np.zeros(len(values), np.int64)
    for index, (kind, split) in enumerate(zip(kinds.tolist(), splits, strict=True)):
        if PRECIOUS[split] > rank[kind]:
            rank[kind], holder[kind] = PRECIOUS[split], index
    nearest_rank, nearest, bits_apart = rank.copy(), holder.copy(), np.zeros(len(values), np.int64)
    for one, two, apart in _near_pairs(values, telling, distance):
        for here, there in ((one, two), (two, one)):
            better = rank[there] > nearest_rank[here]
            # Of several neighbours of one hash the last written stands, so the best goes last.
            order = np.argsort(rank[there[better]], kind="stable")
            here_better, there_better = here[better][order], there[better][order]
            nearest_rank[here_better] = rank[there_better]
            nearest[here_better] = holder[there_better]
            bits_apart[here_better] = apart[better][order]
    return [
        Clash(index, int(nearest[kind]), int(bits_apart[kind]))
        for index, (kind, split) in enumerate(zip(kinds.tolist(), splits, strict=True))
        if telling[kind] and nearest_rank[kind] > PRECIOUS[split]
    ]


def _near_pairs(
    values: np.ndarray, telling: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Positions of different hashes at most `distance` apart, and how far; a pair may come repeatedly."""
    if distance == 0:
        return
    chosen = np.flatnonzero(telling)
    count = distance + _BANDS_AGREED
    edges = [64 * band // count for band in range(count + 1)]
    bands = [
        np.uint64(((1 << (end - start)) - 1) << start) for start, end in zip(edges, edges[1:], strict=False)
    ]
    for agreed in combinations(bands, _BANDS_AGREED):
        keys = values[chosen] & np.bitwise_or.reduce(np.array(agreed))
        order = np.argsort(keys, kind="stable")
        members, keys = chosen[order], keys[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]])
        for start, end in zip(starts, np.r_[starts[1:], len(keys)], strict=True):
            if end - start > 1:
                yield from _compare(values, members[start:end], distance)


def _compare(
    values: np.ndarray, members: np.ndarray, distance: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    for at in range(0, len(members), _BLOCK):
        block = members[at : at + _BLOCK]
        for other_at in range(at, len(members), _BLOCK):
            others = members[other_at : other_at + _BLOCK]
            apart = np.bitwise_count(values[block][:, None] ^ values[others][None, :])
            one, two = np.nonzero(apart <= distance)
            yield block[one], others[two], apart[one, two].astype(np.int64)
