"""The whole ingest, without TFX: list, inspect, divide, write; memory holds digests, never images.

Pass 1 (Beam) inspects every file once and leaves Examples in bundles. The splits are then assigned from the
digests. Pass 2 (Beam) copies the Examples into the splits' files. Files are taken in the order of a hash of
their path, so the classes are mixed within every split, and the result depends on nothing but the data.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import apache_beam as beam

from components.image_example_gen import bundles, division, outcome, source, steps
from components.image_example_gen.data import Resolved, list_data
from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.source import Listing, SourceFile
from components.image_example_gen.walk import Refused, shown
from modules.features import SPLITS

#: Target size of the files of one shard, all splits together; readers read several files at once.
SHARD_BYTES = 128 << 20
_BUNDLE_BYTES = 32 << 20
_BUNDLE_FILES = 512


class Targets(NamedTuple):
    """Folders: of the artifacts `examples` and `quarantine`, and for the bundles in between.

    `scratch` grows as large as the data; on a distributed runner all workers must share it. The caller
    removes it.
    """

    examples: str
    quarantine: str
    scratch: str


def ingest(
    data: Resolved,
    settings: IngestSettings,
    targets: Targets,
    make_pipeline: Callable[[], beam.Pipeline],
    processes: int = 1,
    ledger: Mapping[str, str] | None = None,
) -> dict[str, object]:
    """Ingests a data folder or an archive of one.

    Args:
      data: what to read.
      settings: what to refuse and how to divide.
      targets: where to write.
      make_pipeline: a new Beam pipeline for each pass.
      processes: plain processes that inspect files, where the runner itself has one process only.
      ledger: SHA-256 to split of an earlier ingest.

    Returns:
      The summary, as written to `summary.json`.

    Raises:
      InputError: the folder cannot be used, too much of it is bad, or it is too small to be divided.
    """
    began = time.monotonic()
    listing = list_data(data, settings, targets.scratch)
    planned = list(_plan_bundles(listing))
    for index, part in enumerate(planned):
        bundles.plan(targets.scratch, index, [(file.path, shown(file.path), file.label) for file in part])
    place = bundles.Place(listing.root, targets.scratch, bundles.Bounds.of(settings))
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Bundles" >> beam.Create(range(len(planned)))
            | "Inspect" >> beam.ParDo(steps.InspectBundles(place, processes, len(listing.files)))
        )
    # From here on hundreds of thousands of small objects pile up and none is in a circle; the collector
    # would go through them again and again (measured: a sixth of the time).
    gc.disable()
    try:
        return _finish(listing, planned, settings, targets, make_pipeline, ledger, began)
    finally:
        gc.enable()


def _finish(
    listing: Listing,
    planned: list[list[SourceFile]],
    settings: IngestSettings,
    targets: Targets,
    make_pipeline: Callable[[], beam.Pipeline],
    ledger: Mapping[str, str] | None,
    began: float,
) -> dict[str, object]:
    """Divides what pass 1 left, and writes it."""
    images: list[division.Image] = []
    refused = list(listing.refused)
    for index, part in enumerate(planned):
        for file, result in zip(part, bundles.read_outcomes(targets.scratch, index), strict=True):
            if isinstance(result, bundles.Rejected):
                refused.append(Refused(file.path, result.reason, result.detail, file.size))
            else:
                images.append(division.Image(file, result, index))
    divided = division.divide(images, listing, refused, settings, ledger)

    codes = [bytearray() for _ in planned]
    for image in images:
        codes[image.bundle].append(steps.LEFT_OUT if image.split is None else SPLITS.index(image.split))
    folders = [os.path.join(targets.examples, f"Split-{name}") for name in SPLITS]
    sizes = [sum(file.size for file in part) for part in planned]
    with make_pipeline() as pipeline:
        _ = (
            pipeline
            | "Shards" >> beam.Create(_plan_shards(codes, sizes))
            | "Write" >> beam.ParDo(steps.WriteShards(targets.scratch, folders))
        )
    return outcome.write(listing, divided, targets.examples, targets.quarantine, time.monotonic() - began)


def _plan_bundles(listing: Listing) -> Iterator[list[SourceFile]]:
    """Cuts the files into units of work, small enough for an even load at the end, large enough to pay."""
    most = min(_BUNDLE_FILES, max(8, math.ceil(len(listing.files) / 64)))
    part: list[SourceFile] = []
    size = 0
    for file in sorted(listing.files, key=source.hash_order):
        if part and (len(part) >= most or size + file.size > _BUNDLE_BYTES):
            yield part
            part, size = [], 0
        part.append(file)
        size += file.size
    if part:
        yield part


def _plan_shards(codes: list[bytearray], sizes: list[int]) -> list[steps.Shard]:
    """Groups consecutive bundles into at least two shards of about equal size."""
    total = min(len(codes), max(2, math.ceil(sum(sizes) / SHARD_BYTES)))
    shards = [steps.Shard(index, total, []) for index in range(total)]
    reached, whole = 0, max(1, sum(sizes))
    for index, size in enumerate(sizes):
        # By the middle of the bundle, so that one large bundle does not drag its neighbours along.
        shard = min(total - 1, (reached + size // 2) * total // whole)
        shards[shard].codes.append((index, bytes(codes[index])))
        reached += size
    return shards
