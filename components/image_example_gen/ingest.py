"""The whole ingest, without TFX: list, inspect, divide, write; memory holds digests, never images.

Pass 1 inspects every file once and leaves Examples in bundles. The splits are then assigned from the digests.
Pass 2 copies the Examples into the splits' files. Both are pipelines of Beam where it has workers of its own;
else processes of this machine do them. Files are taken in the order of a hash of their path, so the classes
are mixed within every split, and the result depends on nothing but the data.
"""

from __future__ import annotations

import gc
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

import apache_beam as beam

from components.image_example_gen import bundles, division, outcome, shards, source, steps, workers
from components.image_example_gen.data import Resolved, list_data
from components.image_example_gen.settings import IngestSettings
from components.image_example_gen.source import Listing, SourceFile
from components.image_example_gen.walk import Refused, shown
from modules import progress
from modules.features import SPLITS

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
    if processes == 1:
        return _ingest(data, settings, targets, _OnBeam(make_pipeline), ledger, began)
    with workers.Workers(processes) as pool:
        return _ingest(data, settings, targets, _Here(pool), ledger, began)


class _OnBeam:
    """Both passes as Beam pipelines."""

    def __init__(self, make_pipeline: Callable[[], beam.Pipeline]) -> None:
        self._make_pipeline = make_pipeline

    def inspect(self, place: bundles.Place, parts: Iterator[list[SourceFile]], total: int) -> _Inspected:
        planned = list(_planned(parts, place.target))
        gc.enable()  # decoding may be done in this process, and what it leaves are no small objects
        with self._make_pipeline() as pipeline:
            _ = (
                pipeline
                | "Bundles" >> beam.Create(range(len(planned)))
                | "Inspect" >> beam.ParDo(steps.InspectBundles(place, total))
            )
        gc.disable()
        return [(part, bundles.read_outcomes(place.target, index)) for index, part in enumerate(planned)]

    def write(self, planned: list[shards.Shard], place: shards.Place) -> None:
        with self._make_pipeline() as pipeline:
            _ = pipeline | "Shards" >> beam.Create(planned) | "Write" >> beam.ParDo(steps.WriteShards(place))

    def wait(self) -> None:
        """Nothing is left to wait for."""


class _Here:
    """Both passes by processes of this machine."""

    def __init__(self, pool: workers.Workers) -> None:
        self._pool = pool

    def inspect(self, place: bundles.Place, parts: Iterator[list[SourceFile]], total: int) -> _Inspected:
        self._pool.go_to(place)
        planned: list[list[SourceFile]] = []
        outcomes: dict[int, list[bundles.Accepted | bundles.Rejected]] = {}
        done = 0

        def take(finished: Iterable[workers.Finished]) -> None:
            nonlocal done
            for bundle, count in finished:
                done += count
                progress.emit("ingest", done, total)
                outcomes[bundle] = bundles.read_outcomes(place.target, bundle)

        for index, part in enumerate(_planned(parts, place.target)):
            planned.append(part)
            take(self._pool.inspect(index))
        take(self._pool.drain())
        return [(part, outcomes[index]) for index, part in enumerate(planned)]

    def write(self, planned: list[shards.Shard], place: shards.Place) -> None:
        """Returns while the last ones are written."""
        for shard in planned:
            self._pool.write(shard, place)

    def wait(self) -> None:
        """Until all shards are written."""
        for _ in self._pool.drain():
            pass


_Inspected = list[tuple[list[SourceFile], list[bundles.Accepted | bundles.Rejected]]]


def _ingest(
    data: Resolved,
    settings: IngestSettings,
    targets: Targets,
    passes: _OnBeam | _Here,
    ledger: Mapping[str, str] | None,
    began: float,
) -> dict[str, object]:
    # Hundreds of thousands of small objects pile up and none is in a circle; the collector would go through
    # them again and again (measured: a sixth of the time).
    gc.disable()
    try:
        listing = list_data(data, settings, targets.scratch)
        place = bundles.Place(listing.root, targets.scratch, bundles.Bounds.of(settings))
        inspected = passes.inspect(place, _parts(listing), len(listing.files))
        images: list[division.Image] = []
        refused = list(listing.refused)
        for index, (part, outcomes) in enumerate(inspected):
            for file, result in zip(part, outcomes, strict=True):
                if isinstance(result, bundles.Rejected):
                    refused.append(Refused(file.path, result.reason, result.detail, file.size))
                else:
                    images.append(division.Image(file, result, index))
        divided = division.divide(images, listing, refused, settings, ledger)

        codes = [bytearray() for _ in inspected]
        for image in images:
            codes[image.bundle].append(shards.LEFT_OUT if image.split is None else SPLITS.index(image.split))
        sizes = [sum(file.size for file in part) for part, _ in inspected]
        folders = [os.path.join(targets.examples, f"Split-{name}") for name in SPLITS]
        passes.write(shards.plan(codes, sizes), shards.Place(targets.scratch, folders))

        def finish() -> float:
            passes.wait()
            return time.monotonic() - began

        return outcome.write(listing, divided, targets.examples, targets.quarantine, finish)
    finally:
        gc.enable()


def _planned(parts: Iterator[list[SourceFile]], target: str) -> Iterator[list[SourceFile]]:
    """Writes down the files of each bundle."""
    for index, part in enumerate(parts):
        bundles.plan(target, index, [(file.path, shown(file.path), file.label) for file in part])
        yield part


def _parts(listing: Listing) -> Iterator[list[SourceFile]]:
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
