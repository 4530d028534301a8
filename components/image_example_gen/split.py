"""Divides images into splits: stratified by class, keyed by content, stable while the data grow.

Equal images, and images of one group, form a unit that stays whole. A unit that was divided before keeps its
split (the ledger). The others are taken in the order of a keyed hash of their content, so neither names nor
the order of listing matter, and fill what each class still lacks in each split. Without groups every split
of every class ends within one image of the share asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from components.image_example_gen.settings import SplitSettings
from modules.features import SPLITS, TEST, TRAIN, VALIDATION


class Item(NamedTuple):
    """An image to divide. `ready` is the split folder it lies in, None under class folders."""

    sha256: str
    label: str
    group: str | None = None
    ready: str | None = None


def assign(
    items: Sequence[Item],
    settings: SplitSettings,
    ready: Sequence[str] = (),
    ledger: Mapping[str, str] | None = None,
) -> list[str]:
    """The split of every item.

    Args:
      items: the images.
      settings: shares and seed.
      ready: the splits that lie ready as folders; what is missing is taken from the images in train.
      ledger: SHA-256 to split of an earlier ingest, which is kept.
    """
    splits = [item.ready or TRAIN for item in items]
    missing = [split for split in SPLITS if split not in ready]
    if not missing:
        return splits
    shares = _shares(settings, [TRAIN, *missing] if ready else SPLITS)
    divided = [index for index, item in enumerate(items) if not ready or item.ready == TRAIN]
    units = _units(items, divided, settings.seed)
    lacking = _targets(Counter(items[index].label for index in divided), shares)
    waiting = units
    if ledger:
        waiting = []
        for unit in units:
            known = Counter(
                split for index in unit[1] if (split := ledger.get(items[index].sha256)) in shares
            )
            if known:
                _put(unit[1], known.most_common(1)[0][0], items, lacking, splits)
            else:
                waiting.append(unit)
    # Units of several images first: the single ones can then fill every gap exactly.
    waiting.sort(key=lambda unit: (len(unit[1]) == 1, unit[0]))
    for _, members in waiting:
        _put(members, _choose(members, items, lacking, shares), items, lacking, splits)
    return splits


def planned_counts(
    totals: Mapping[str, int], settings: SplitSettings, ready: Sequence[str] = ()
) -> dict[str, dict[str, int]]:
    """Images by class and split that `assign` will reach when all are different and none is known.

    Args:
      totals: images by class: all of them, or those in the train folder of ready splits.
    """
    missing = [split for split in SPLITS if split not in ready]
    return _targets(totals, _shares(settings, [TRAIN, *missing] if ready else SPLITS))


def _shares(settings: SplitSettings, splits: Sequence[str]) -> dict[str, float]:
    asked = {TRAIN: settings.train, VALIDATION: settings.validation, TEST: settings.test}
    total = sum(asked[split] for split in splits)
    return {split: asked[split] / total for split in splits}


def _units(items: Sequence[Item], divided: Sequence[int], seed: int) -> list[tuple[bytes, list[int]]]:
    """What must stay together, as (keyed hash, positions): items of equal content or of one group."""
    salt = seed.to_bytes(8, "big", signed=True)
    members: dict[str, list[int]] = defaultdict(list)
    for index in divided:
        members[items[index].sha256].append(index)
    if any(items[index].group is not None for index in divided):
        return _grouped_units(items, members, salt)
    return [
        (hashlib.blake2b(sha256.encode(), key=salt, digest_size=16).digest(), indices)
        for sha256, indices in members.items()
    ]


def _grouped_units(
    items: Sequence[Item], members: Mapping[str, list[int]], salt: bytes
) -> list[tuple[bytes, list[int]]]:
    """Joins groups that share an image, by union-find over groups and contents."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while (above := parent.setdefault(name, name)) != name:
            parent[name] = parent[above]
            name = above
        return name

    names = {}
    for sha256, indices in members.items():
        # A prefix keeps a group called like a digest apart from that digest.
        grouped = ["group " + group for index in indices if (group := items[index].group) is not None]
        names[sha256] = grouped[0] if grouped else sha256
        for other in grouped[1:]:
            parent[root(other)] = root(grouped[0])
    units: dict[str, tuple[bytes, list[int]]] = {}
    for sha256, indices in members.items():
        name = names[sha256]
        key = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), key=salt, digest_size=16).digest()
        smallest, joined = units.get(root(name), (key, []))
        units[root(name)] = (min(smallest, key), joined + indices)
    return list(units.values())


def _targets(totals: Mapping[str, int], shares: Mapping[str, float]) -> dict[str, dict[str, int]]:
    """Whole numbers within one of each share of each class, whose rounding evens out over the classes.

    Rounding each class for itself would leave the test split empty when every class has five images.
    """
    carried = dict.fromkeys(shares, 0.0)
    targets = {}
    for label in sorted(totals):
        exact = {split: totals[label] * share for split, share in shares.items()}
        # The tolerance keeps 0.1 * 30 from becoming 2.
        counts = {split: int(amount + 1e-9) for split, amount in exact.items()}
        rest = totals[label] - sum(counts.values())
        open_splits = [split for split in shares if exact[split] - counts[split] > 1e-9]
        open_splits.sort(key=lambda split: carried[split] + exact[split] - counts[split], reverse=True)
        for split in open_splits[:rest]:
            counts[split] += 1
        for split in shares:
            carried[split] += exact[split] - counts[split]
        targets[label] = counts
    return targets


def _choose(
    members: Sequence[int],
    items: Sequence[Item],
    lacking: Mapping[str, Mapping[str, int]],
    shares: Mapping[str, float],
) -> str:
    if len(members) == 1:
        lacks = lacking[items[members[0]].label]
        # One split after the other, in the order of the hash: when images are added, only those near
        # the two borders could have gone elsewhere.
        for split in (TEST, VALIDATION, TRAIN):
            if lacks.get(split, 0) > 0:
                return split
    labels = Counter(items[index].label for index in members)
    return max(
        reversed(list(shares)),
        key=lambda split: sum(count * lacking[label][split] for label, count in labels.items()),
    )


def _put(
    members: Sequence[int],
    split: str,
    items: Sequence[Item],
    lacking: Mapping[str, dict[str, int]],
    splits: list[str],
) -> None:
    for index in members:
        splits[index] = split
        lacking[items[index].label][split] -= 1


def counts_by_split(splits: Sequence[str], labels: Sequence[str]) -> dict[str, dict[str, int]]:
    """Images by split and class, every split present."""
    counts: dict[str, dict[str, int]] = {split: defaultdict(int) for split in SPLITS}
    for split, label in zip(splits, labels, strict=True):
        counts[split][label] += 1
    return {split: dict(sorted(by_label.items())) for split, by_label in counts.items()}
