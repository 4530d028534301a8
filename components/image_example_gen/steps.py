"""The two Beam steps of the ingest: inspect bundles of files, then copy their records into the splits.

Between them the executor divides the images, which needs to know all of them, but only their digests.
The steps import nothing but Beam and this package's light modules, so a worker starts quickly.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import NamedTuple

import apache_beam as beam

from components.image_example_gen import bundles, files, records
from components.image_example_gen.workers import Workers
from modules import progress

#: Code of a record in `Shard.codes` that goes into no split; 0, 1, 2 are the positions in SPLITS.
LEFT_OUT = 255


class Shard(NamedTuple):
    """Bundles whose records form file `index` of `total` of every split; one byte a record says of which."""

    index: int
    total: int
    codes: list[tuple[int, bytes]]


class InspectBundles(beam.DoFn):
    """Inspects bundles, in this process or on several plain processes beside it.

    Args:
      place: where bundles are read from and written to.
      processes: 1 where the runner has its own workers; else how many to start.
      total: files in all, for the progress.
    """

    def __init__(self, place: bundles.Place, processes: int, total: int) -> None:
        self._place = place
        self._processes = processes
        self._total = total
        self._done = 0
        self._workers: Workers | None = None

    def start_bundle(self) -> None:
        if self._processes > 1:
            self._workers = Workers(self._processes, self._place)

    def process(self, bundle: int) -> None:
        if self._workers is None:
            self._report(bundles.run(bundle, self._place))
        else:
            # Handing over returns while the processes work; the last ones are awaited in finish_bundle.
            self._report(self._workers.submit(bundle))

    def finish_bundle(self) -> None:
        if self._workers is not None:
            for finished in self._workers.drain():
                self._report(finished)
            self._workers.close()
            self._workers = None

    def teardown(self) -> None:
        if self._workers is not None:
            self._workers.close()

    def _report(self, finished: int) -> None:
        self._done += finished
        progress.emit("ingest", self._done, self._total)


class WriteShards(beam.DoFn):
    """Copies the records of a shard's bundles into one TFRecord file a split, without looking into them.

    Args:
      source: folder of the bundles.
      targets: folder of each split, in the order of SPLITS.
    """

    def __init__(self, source: str, targets: list[str]) -> None:
        self._source = source
        self._targets = targets

    def process(self, shard: Shard) -> None:
        for code, target in enumerate(self._targets):
            # Without `.gz` every reader of TFX takes the file as uncompressed.
            name = f"data_tfrecord-{shard.index:05d}-of-{shard.total:05d}"
            files.write(os.path.join(target, name), self._records(shard, code))

    def _records(self, shard: Shard, code: int) -> Iterator[bytes]:
        for index, codes in shard.codes:
            if code not in codes:
                continue
            data = memoryview(files.read(bundles.record_path(self._source, index)))
            for (start, end), split in zip(records.framed_spans(data), codes, strict=True):
                if split == code:
                    yield data[start:end]
