"""The two Beam steps of the ingest: inspect bundles of files, then copy their records into the splits.

Between them the executor divides the images, which needs to know all of them, but only their digests.
The steps import nothing but Beam and this package's light modules, so a worker starts quickly.
"""

from __future__ import annotations

import apache_beam as beam

from components.image_example_gen import bundles, shards
from modules import progress


class InspectBundles(beam.DoFn):
    """Inspects bundles.

    Args:
      place: where bundles are read from and written to.
      total: files in all, for the progress.
    """

    def __init__(self, place: bundles.Place, total: int) -> None:
        self._place = place
        self._total = total
        self._done = 0

    def process(self, bundle: int) -> None:
        self._done += bundles.run(bundle, self._place)
        progress.emit("ingest", self._done, self._total)


class WriteShards(beam.DoFn):
    """Writes shards.

    Args:
      place: where bundles are read from, and splits written to.
    """

    def __init__(self, place: shards.Place) -> None:
        self._place = place

    def process(self, shard: shards.Shard) -> None:
        shards.write(shard, self._place)
