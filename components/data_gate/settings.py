"""Settings of the data gate."""

from __future__ import annotations

from pydantic import Field

from modules.base_settings import Settings


class GateSettings(Settings):
    """What the data is held against before anything is trained."""

    schema_file: str | None = Field(
        None,
        description=(
            "A schema of your own (TensorFlow Metadata text format) instead of one inferred from the data, "
            "so that anything new is an anomaly. Relative to the configuration file."
        ),
    )
