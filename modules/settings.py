"""Typed settings of what TFX calls by import path: pixels, scaling, network, and the trainer's whole.

Each class is one section of the configuration file. Defaults stand here and nowhere else; the
descriptions become `docs/configuration.md`. Settings travel to executors as JSON and are parsed back
into the same classes.
"""

from __future__ import annotations

import pathlib
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, model_validator

from modules.architectures import registry
from modules.augmentation.settings import Augmentations
from modules.base_settings import Settings
from modules.train_settings import TrainSettings


class PixelSettings(Settings):
    """What every image becomes before a network sees it (part of the `data` section)."""

    image_size: tuple[Annotated[int, Field(ge=8, le=4096)], Annotated[int, Field(ge=8, le=4096)]] = Field(
        (128, 128), description="Height and width in pixels that every image is resized to."
    )
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for colour.")


Scaling = Literal["unit", "tf", "torch", "standardize", "none"]


class TransformSettings(Settings):
    """Resize and scaling, computed once by TFX Transform and carried in the served model."""

    scaling: Scaling = Field(
        "unit",
        description=(
            "`unit`: 0 to 1. `tf`: -1 to 1. `torch`: ImageNet mean and deviation. `standardize`: mean and "
            "deviation a channel over the training split. `none`: 0 to 255."
        ),
    )
    resize: Literal["stretch", "crop", "pad"] = Field(
        "stretch",
        description=(
            "`stretch` ignores the aspect ratio; `crop` keeps it and cuts what hangs over; `pad` keeps it "
            "and fills with black."
        ),
    )
    method: Literal["bilinear", "bicubic", "area", "nearest", "lanczos3"] = Field(
        "bilinear", description="Interpolation of the resize; all but `nearest` and `area` are antialiased."
    )


class ModelSettings(Settings):
    """The network; keys beyond `architecture` and `head` are options of that network."""

    # Options differ by network, so they are checked against the network's own class below.
    model_config = ConfigDict(frozen=True, extra="allow")

    architecture: str = Field(
        "simple_cnn", description="Name of a network; `imagemill architectures` lists them."
    )
    head: Literal["auto", "softmax", "sigmoid"] = Field(
        "auto",
        description="`auto`: one sigmoid unit for two classes, else softmax. `sigmoid` needs two classes.",
    )

    @model_validator(mode="after")
    def _options_fit_the_architecture(self) -> ModelSettings:
        self.options  # noqa: B018 - parsing is the check
        return self

    def resolve(self, folder: pathlib.Path) -> ModelSettings:
        """The same settings with paths made absolute; `folder` is that of the configuration file."""
        # What the network adds, such as the checksum of a weights file, becomes a setting like any other.
        resolved = self.options.resolve(folder).model_dump(mode="json", exclude_unset=True)
        return self.model_copy(update=resolved)

    @property
    def options(self) -> Settings:
        """The options of the chosen network, parsed by the class that the network registered."""
        return registry.get(self.architecture).options.model_validate(self.model_extra or {})


class ServeSettings(Settings):
    """How sure the served model says it is, and when it rather says nothing."""

    calibrate: bool = Field(
        True,
        description=(
            "Divide the logits by a temperature fitted on the validation split, so that confidences mean "
            "what they say. No label changes."
        ),
    )
    abstain_below: float = Field(
        0.0,
        ge=0,
        lt=1,
        description=(
            "Below this confidence the served label is empty and `abstained` is true; 0 always answers. The "
            "evaluation lists what share of the images is answered, and how well, at several confidences."
        ),
    )


class TrainerSettings(Settings):
    """All that the trainer needs, as it travels in TFX's `custom_config`."""

    pixels: PixelSettings
    model: ModelSettings
    train: TrainSettings
    augment: Augmentations = ()
    serve: ServeSettings = ServeSettings()
    # None for the one that Transform was asked for; tuning may choose another.
    scaling: Scaling | None = None
