"""One settings class an augmentation, registered by the name that it has in the configuration.

The names follow Keras where it has the operation. Levels are 0 to 255; sizes and shifts are fractions of the
image (but for the blur), so that one list fits every `data.image_size`. Amounts are drawn for every image.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field

from modules.base_settings import Settings

Fraction = Annotated[float, Field(ge=0, le=1)]
Pixel = Annotated[float, Field(ge=0, le=255)]


def _ordered(ends: tuple) -> tuple:
    if ends[0] > ends[1]:
        raise ValueError(
            f"the range is inverted: its first end, {ends[0]:g}, is above its second, {ends[1]:g}"
        )
    return ends


_Number = TypeVar("_Number", int, float)
Range = Annotated[tuple[_Number, _Number], AfterValidator(_ordered)]


class Step(Settings):
    """An entry of the list."""

    name: ClassVar[str]
    #: Whether it needs three channels.
    needs_color: ClassVar[bool] = False
    #: Whether it mixes images, and their labels with them.
    mixes: ClassVar[bool] = False

    probability: Fraction = Field(1.0, description="Share of the images that get it, chosen one by one.")


_registered: dict[str, type[Step]] = {}


def register(name: str) -> Callable[[type[Step]], type[Step]]:
    """Decorator that makes a settings class known by `name`."""

    def decorate(step: type[Step]) -> type[Step]:
        if name in _registered:
            raise ValueError(f"Two augmentations are registered as {name!r}: {_registered[name]} and {step}")
        step.name = name
        _registered[name] = step
        return step

    return decorate


def names() -> list[str]:
    """Names of all augmentations and groups, in the order in which they are documented."""
    return list(_registered)


def get(name: str) -> type[Step]:
    """The settings class of that name.

    Raises:
      ValueError: when there is none, with the nearest name.
    """
    if name not in _registered:
        near = difflib.get_close_matches(name, _registered, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_registered)}"
        raise ValueError(f"no augmentation is called {name!r}; {hint}")
    return _registered[name]


class _Sometimes(Step):
    probability: Fraction = Field(0.5, description="Share of the images that get it, chosen one by one.")


class _Filling(Step):
    fill: Literal["reflect", "nearest", "wrap", "constant"] = Field(
        "reflect", description="What shows where the image was moved away."
    )
    fill_value: Pixel = Field(0.0, description="Level of the `constant` fill.")


@register("horizontal_flip")
class HorizontalFlip(_Sometimes):
    """Mirrors left and right."""


@register("vertical_flip")
class VerticalFlip(_Sometimes):
    """Mirrors top and bottom."""


@register("rotation")
class Rotation(_Filling):
    """Turns about the centre."""

    degrees: float = Field(15.0, gt=0, le=180, description="Turned by up to this, either way.")


@register("quarter_turn")
class QuarterTurn(Step):
    """Turns by 90, 180 or 270 degrees; an image that is not square by 180 only, to keep its shape."""

    probability: Fraction = Field(
        0.75, description="Share of the images that are turned; at 0.75 all four positions are as frequent."
    )


@register("shift")
class Shift(_Filling):
    """Moves the image."""

    horizontal: Fraction = Field(0.1, description="Up to this fraction of the width, either way.")
    vertical: Fraction = Field(0.1, description="Up to this fraction of the height, either way.")


@register("zoom")
class Zoom(_Filling):
    """Scales about the centre and keeps the aspect ratio."""

    scale: Range[Annotated[float, Field(ge=0.5, le=10)]] = Field(
        (0.8, 1.2), description="Range of the magnification; above 1 the image grows."
    )


@register("shift_scale_rotate")
class ShiftScaleRotate(_Filling):
    """Moves, scales and turns with one interpolation."""

    shift: Fraction = Field(0.0625, description="Up to this fraction of each side, either way.")
    scale: Range[Annotated[float, Field(ge=0.1, le=10)]] = Field(
        (0.9, 1.1), description="Range of the magnification; above 1 the image grows."
    )
    degrees: float = Field(15.0, ge=0, le=180, description="Turned by up to this, either way.")


@register("random_crop")
class RandomCrop(Step):
    """Cuts a part out and resizes it to the image (Szegedy et al. 2015, arXiv:1409.4842)."""

    area: Range[Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.5, 1.0), description="Range of the part's share of the area."
    )
    aspect_ratio: Range[Annotated[float, Field(ge=0.1, le=10)]] = Field(
        (0.75, 4 / 3), description="Range of the part's width over height, relative to the image's."
    )


@register("center_crop")
class CenterCrop(Step):
    """Cuts the middle out and resizes it to the image."""

    fraction: float = Field(0.875, gt=0.1, le=1, description="Part of each side that stays.")


@register("brightness_contrast")
class BrightnessContrast(Step):
    """Makes brighter or darker, then scales about the mean of the image."""

    brightness: Fraction = Field(0.2, description="Up to this fraction of the full range is added or taken.")
    contrast: Fraction = Field(0.2, description="Contrast is multiplied by 1 - this to 1 + this.")


@register("hue_saturation_value")
class HueSaturationValue(Step):
    """Turns the hue, and scales saturation and value."""

    needs_color = True

    hue_degrees: float = Field(15.0, ge=0, le=180, description="Hue is turned by up to this, either way.")
    saturation: Fraction = Field(0.3, description="Saturation is multiplied by 1 - this to 1 + this.")
    value: Fraction = Field(0.2, description="Value is multiplied by 1 - this to 1 + this.")


@register("color_jitter")
class ColorJitter(Step):
    """Brightness, contrast, saturation and hue in one."""

    needs_color = True

    brightness: Fraction = Field(0.2, description="Up to this fraction of the full range is added or taken.")
    contrast: Fraction = Field(0.2, description="Contrast is multiplied by 1 - this to 1 + this.")
    saturation: Fraction = Field(0.2, description="Saturation is multiplied by 1 - this to 1 + this.")
    hue_degrees: float = Field(10.0, ge=0, le=180, description="Hue is turned by up to this, either way.")


@register("channel_shuffle")
class ChannelShuffle(_Sometimes):
    """Puts red, green and blue into another order."""

    needs_color = True


@register("gaussian_noise")
class GaussianNoise(_Sometimes):
    """Adds noise to every pixel of every channel."""

    deviation: Range[Annotated[float, Field(ge=0, le=128)]] = Field(
        (2.0, 15.0), description="Range of the standard deviation, in levels of 0 to 255."
    )


@register("clahe")
class Clahe(_Sometimes):
    """Contrast limited adaptive histogram equalization, of the brightness (Zuiderveld 1994)."""

    clip_limit: Range[Annotated[float, Field(ge=1, le=100)]] = Field(
        (1.0, 4.0), description="Range of the limit: how far a level may be above the mean of the histogram."
    )
    tiles: tuple[Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=16)]] = Field(
        (8, 8), description="Tiles down and across, each with a histogram of its own."
    )


@register("blur")
class Blur(_Sometimes):
    """Gaussian blur."""

    sigma: Range[Annotated[float, Field(ge=0.1, le=50)]] = Field(
        (0.2, 1.0), description="Range of the standard deviation, in pixels."
    )


@register("coarse_dropout")
class CoarseDropout(_Sometimes):
    """Covers rectangles (Zhong et al. 2017, arXiv:1708.04896; DeVries and Taylor 2017, arXiv:1708.04552)."""

    holes: Range[Annotated[int, Field(ge=1, le=64)]] = Field((1, 6), description="Range of their number.")
    size: Range[Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.06, 0.2), description="Range of each of their sides, as a fraction of the image's."
    )
    fill_value: Pixel = Field(0.0, description="Level that they are filled with.")


@register("rand_augment")
class RandAugment(Step):
    """Some of 14 operations, drawn for each image, of one strength (Cubuk et al. 2019, arXiv:1909.13719)."""

    operations: int = Field(2, ge=1, le=8, description="How many are applied, one after the other.")
    magnitude: float = Field(9.0, ge=0, le=30, description="Their strength; 30 is the strongest.")
    fill_value: Pixel = Field(0.0, description="Level that shows where the image was moved away.")


@register("mix_up")
class MixUp(Step):
    """Adds another image of the batch, and its label, by a weight (Zhang et al. 2017, arXiv:1710.09412)."""

    mixes = True
    alpha: float = Field(0.2, ge=0.05, le=10, description="The weight is drawn from Beta(alpha, alpha).")


@register("cut_mix")
class CutMix(Step):
    """Pastes a part of another image of the batch; the label by area (Yun et al. 2019, arXiv:1905.04899)."""

    mixes = True
    alpha: float = Field(1.0, ge=0.05, le=10, description="The share that stays is of Beta(alpha, alpha).")
