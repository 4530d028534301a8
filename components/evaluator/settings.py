"""Typed settings of the evaluation: the configuration's `evaluate:` section."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modules.base_settings import Settings

SliceName = Literal["brightness", "contrast", "sharpness", "size", "source"]


class EvaluateSettings(Settings):
    """What a model must show on the test split before it is pushed."""

    min_accuracy: float = Field(0.5, ge=0, le=1, description="Accuracy below this is never blessed.")
    min_class_recall: float = Field(
        0.0, ge=0, le=1, description="Nor is a model with a class whose recall is below this."
    )
    test: Literal["mcnemar", "bootstrap"] = Field(
        "mcnemar",
        description=(
            "Paired test of the answers against those of the model in production. `mcnemar` is exact where "
            "`margin` is 0; `bootstrap` wants a hundred images or more."
        ),
    )
    alpha: float = Field(
        0.05,
        gt=0,
        lt=0.5,
        description=(
            "How often the comparison may refuse a model that is as good as the one in production: half of "
            "it for all images together, half for the classes."
        ),
    )
    margin: float = Field(
        0.0, ge=0, lt=1, description="Accuracy may be this much below that of the model in production."
    )
    protect_classes: bool = Field(
        True, description="Refuse also when a single class is significantly worse than in production."
    )
    without_baseline: bool = Field(
        False,
        description=(
            "Bless without a comparison when the model in production is lost or damaged. Meant for one run: "
            "`--set evaluate.without_baseline=true`."
        ),
    )
    max_ece: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Largest expected calibration error: how far confidence is from accuracy on average.",
    )
    max_size_mb: float | None = Field(None, gt=0, description="Largest size of the served model, in MB.")
    max_latency_ms: float | None = Field(
        None,
        gt=0,
        description=(
            "Longest time to answer one image, in ms: the 95th percentile of what the validator measured, on "
            "its machine and with one request at a time."
        ),
    )
    top_k: int = Field(
        3,
        ge=2,
        description="Beside accuracy: how often the class is among so many likeliest; given more classes.",
    )
    slices: tuple[SliceName, ...] = Field(
        ("brightness", "size", "sharpness", "source"),
        description=(
            "Figures by which the test split is also evaluated in parts, in quarters each; `source` is the "
            "folder below the class folder. Classes are always told apart."
        ),
    )
