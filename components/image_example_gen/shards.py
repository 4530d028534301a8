"""Copies the records of bundles into the files of the splits, without looking into them."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from components.image_example_gen import bundles, files, records

#: Target size of the files of one shard, all splits together; readers read several files at once.
BYTES = 128 << 20
#: Code of a record in `Shard.codes` that goes into no split; 0, 1, 2 are the positions in SPLITS.
LEFT_OUT = 255


class Shard(NamedTuple):
    """Bundles whose records form file `index` of `total` of every split; one byte a record says of which."""

    index: int
    total: int
    codes: list[tuple[int, bytes]]


class Place(NamedTuple):
    """Folder of the bundles, and that of each split, in the order of SPLITS."""

    source: str
    targets: list[str]


def plan(codes: Sequence[bytearray], sizes: Sequence[int]) -> list[Shard]:
    """Groups consecutive bundles into at least two shards of about equal size.

    Args:
      codes: of the records of each bundle.
      sizes: of each bundle, in bytes.
    """
    total = min(len(codes), max(2, math.ceil(sum(sizes) / BYTES)))
    shards = [Shard(index, total, []) for index in range(total)]
    reached, whole = 0, max(1, sum(sizes))
    for index, size in enumerate(sizes):
        # By the middle of the bundle, so that one large bundle does not drag its neighbours along.
        shard = min(total - 1, (reached + size // 2) * total // whole)
        shards[shard].codes.append((index, bytes(codes[index])))
        reached += size
    return shards


def write(shard: Shard, place: Place) -> None:
    """Writes one TFRecord file a split."""
    for code, target in enumerate(place.targets):
        # Without `.gz` every reader of TFX takes the file as uncompressed.
        name = f"data_tfrecord-{shard.index:05d}-of-{shard.total:05d}"
        files.write(os.path.join(target, name), _records(shard, place.source, code))


def _records(shard: Shard, source: str, code: int) -> Iterator[bytes]:
    for index, codes in shard.codes:
        if code not in codes:
            continue
        data = memoryview(files.read(bundles.record_path(source, index)))
        for (start, end), split in zip(records.framed_spans(data), codes, strict=True):
            if split == code:
                yield data[start:end]
