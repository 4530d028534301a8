"""Artifact types of this project's components."""

from tfx.types.artifact import Artifact


class Quarantine(Artifact):
    """What the ingest left out, and a summary of what it took.

    - `quarantine.jsonl`: one object a file left out: `path`, `reason` (a key of
      `components.image_example_gen.images.REASONS`), `detail`, `size` (bytes).
    - `duplicates.jsonl`: one object a clash of equal or nearly equal images: `path`, `other`, `reason`,
      `distance` (bits of the hash), `action` (`drop` or `warn`).
    - `summary.json`: `examples` (per split and class), `quarantined` (per reason), `classes`, ...
    """

    TYPE_NAME = "Quarantine"


class PassedStatistics(Artifact):
    """`FeatureStats.pb`: statistics of a training split that passed the drift gate."""

    TYPE_NAME = "PassedStatistics"


class Report(Artifact):
    """What a person looks at after a run.

    - `report.html`: the page; it needs no other file and no network.
    - `suspects.jsonl`: one object a label that is probably wrong: `filename`, `split`, `label`, `suggestion`,
      `own` and `other` (probabilities of the two), the most suspect first.
    """

    TYPE_NAME = "Report"
