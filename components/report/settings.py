"""Settings of the report."""

from __future__ import annotations

from pydantic import Field

from modules.base_settings import Settings


class ReportSettings(Settings):
    """How much of the data the report looks at."""

    suspect_images: int = Field(
        20_000,
        ge=0,
        description=(
            "Images of training and validation whose labels are compared with what the network says; those "
            "of the test split always are. 0 leaves the training and validation splits out."
        ),
    )
    suspect_seconds: float = Field(
        30.0, gt=0, description="Time for that, in seconds; the report says how many images it sufficed for."
    )
