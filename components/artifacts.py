"""Artifact types of this project's components."""

from tfx.types.artifact import Artifact


class Quarantine(Artifact):
    """What the ingest left out, and a summary of what it took.

    - `quarantine.jsonl`: one object a file left out: `path`, `reason` (a key of
      `components.image_example_gen.images.REASONS`), `detail`, `size` (bytes).
    - `summary.json`: `examples` (per split and class), `quarantined` (per reason), `classes`, ...
    """

    TYPE_NAME = "Quarantine"
