"""Settings of the drift gate."""

from __future__ import annotations

from pydantic import Field

from modules.base_settings import Settings


class DriftSettings(Settings):
    """How much the training data may differ from those of the last run that passed."""

    max_divergence: float = Field(
        0.2,
        gt=0,
        le=1,
        description=(
            "Largest Jensen-Shannon divergence (0 equal, 1 nothing in common) of brightness, contrast, "
            "sharpness, size, aspect, format and file size."
        ),
    )
    max_label_change: float = Field(
        0.15, gt=0, le=1, description="Largest change of a class's share of the images, 0 to 1."
    )
    accept: bool = Field(
        False,
        description=(
            "Let the data pass whatever has moved, and measure later data by them. Meant for one run: "
            "`--set drift.accept=true`."
        ),
    )
