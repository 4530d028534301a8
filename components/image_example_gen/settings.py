"""Typed settings of the ingest: the part of the configuration's `data:` section that decides what is read."""

from __future__ import annotations

import math
import re
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from modules.settings import Settings

Policy = Literal["fail", "drop", "warn"]
Ratio = Annotated[float, Field(gt=0, lt=1)]
Byte = Annotated[int, Field(ge=0, le=255)]


class SplitSettings(Settings):
    """How the images of class folders are divided. Ready split folders keep their division."""

    train: Ratio = Field(0.8, description="Share of the images of each class that is trained on.")
    validation: Ratio = Field(
        0.1, description="Share that watches the training (early stopping, best epoch)."
    )
    test: Ratio = Field(0.1, description="Share that only the evaluation sees.")
    seed: int = Field(0, description="Another seed divides the same images differently.")

    @model_validator(mode="after")
    def _sums_to_one(self) -> SplitSettings:
        total = self.train + self.validation + self.test
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ValueError(f"train + validation + test must be 1, received {total:g}")
        return self


class DuplicateSettings(Settings):
    """What happens to images that would make the evaluation lie: the same picture on both sides of it.

    `fail` stops the run, `drop` leaves the image out and lists it in the quarantine, `warn` only lists it.
    """

    other_label: Policy = Field(
        "drop", description="One image (equal bytes) under two labels: `drop` leaves out every copy."
    )
    other_split: Policy = Field(
        "drop",
        description="Equal images in two ready splits: `drop` keeps the copy in test, else in validation.",
    )
    near: Policy = Field(
        "warn",
        description="Nearly equal images (perceptual hash) in two splits: `drop` keeps the copy in test, "
        "else in validation.",
    )
    near_distance: int = Field(
        2,
        ge=0,
        le=3,
        description="Two images are nearly equal when at most this many of the 64 bits of their difference "
        "hashes differ, and their thumbnails hardly do.",
    )


class IngestSettings(Settings):
    """What `ImageExampleGen` reads, refuses and how it divides. The folder itself travels separately."""

    split: SplitSettings = Field(default_factory=SplitSettings, description="Division into splits.")
    max_bad_fraction: float = Field(
        0.05,
        ge=0,
        le=1,
        description="The run stops when more than this share of the files cannot be learned from.",
    )
    max_pixels: int = Field(
        25_000_000,
        ge=1,
        le=170_000_000,
        description="Images of more pixels are refused by their header, before they are decoded. "
        "A pixel costs up to 16 bytes of memory while it is read.",
    )
    max_file_bytes: int = Field(
        100_000_000, ge=1, le=2_000_000_000, description="Larger files are refused without being read."
    )
    min_side: int = Field(
        4, ge=1, description="Images with a side shorter than this many pixels are refused."
    )
    background: tuple[Byte, Byte, Byte] = Field(
        (255, 255, 255), description="Red, green, blue that shows through where an image is transparent."
    )
    group_pattern: str | None = Field(
        None,
        description="Regular expression searched in the path relative to the data folder. Images whose first "
        "group (or whole match) is equal, such as one patient or camera, stay in one split.",
    )
    class_names: dict[str, str] = Field(
        default_factory=dict,
        description="Folder name to class name: renames a class, or merges folders given the same name.",
    )
    classes: tuple[str, ...] | None = Field(
        None,
        description="The frozen vocabulary of class names: when set, a new or missing class stops the run.",
    )
    follow_symlinks: bool = Field(
        False,
        description="Whether symbolic links may lead out of the data folder. Links inside it always may.",
    )
    duplicates: DuplicateSettings = Field(
        default_factory=DuplicateSettings, description="Policies for equal and nearly equal images."
    )
    spans: int = Field(
        1, ge=1, description="How many of the latest spans are read when the path holds {SPAN}."
    )
    new_spans_only: bool = Field(
        False,
        description="Whether a span that was ingested counts as unchanged, whatever happened to its files, "
        "so that only a new span is learned from.",
    )

    @field_validator("group_pattern")
    @classmethod
    def _compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"is no regular expression: {error}; received {pattern!r}") from None
        return pattern

    @field_validator("classes")
    @classmethod
    def _distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and (len(classes) < 2 or len(set(classes)) != len(classes)):
            raise ValueError(f"must list at least two different class names, received {list(classes)}")
        return classes

    @field_validator("class_names")
    @classmethod
    def _named(cls, names: dict[str, str]) -> dict[str, str]:
        empty = [folder for folder, name in names.items() if not name.strip()]
        if empty:
            raise ValueError(f"gives folder {empty[0]!r} an empty class name")
        return names
