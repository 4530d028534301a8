"""The list of augmentations as a person writes it, as it travels, and what is said of a mistake in it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from modules.augmentation import settings, steps
from modules.base_settings import Settings


class Section(Settings):
    """A section with a list in it, as the configuration has one."""

    augment: settings.Augmentations = ()


def parse(text: str) -> settings.Augmentations:
    return Section.model_validate({"augment": yaml.safe_load(text)}).augment


RICH = """
- horizontal_flip
- rotation:
- zoom: {scale: [0.9, 1.3], fill: constant}
- one_of:
    probability: 0.8
    steps:
      - blur
      - sequence: {steps: [gaussian_noise, {coarse_dropout: {holes: [1, 2]}}]}
"""


def test_names_mappings_and_groups_are_read_in_order() -> None:
    flip, rotation, zoom, one_of = parse(RICH)
    assert flip == steps.HorizontalFlip() and rotation == steps.Rotation()
    assert (zoom.scale, zoom.fill) == ((0.9, 1.3), "constant")
    assert one_of.probability == 0.8
    blur, sequence = one_of.steps
    assert blur == steps.Blur()
    assert sequence.steps[1].holes == (1, 2)


def test_a_list_comes_back_from_json_and_python_as_it_was() -> None:
    section = Section(augment=parse(RICH))
    assert Section.model_validate_json(section.model_dump_json()) == section
    assert Section.model_validate(section.model_dump(mode="json")) == section
    assert Section.model_validate(section.model_dump()) == section
    assert Section(augment=section.augment) == section
    assert Section.model_validate({"augment": None}) == Section()


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("[rotatoin]", "augment.0", "no augmentation is called 'rotatoin'; did you mean rotation?"),
        ("[{rotation: {degres: 3}}]", "augment.0.rotation.degres", "unknown option; did you mean degrees?"),
        ("[blur, {zoom: {scale: [2, 1]}}]", "augment.1.zoom.scale", "2, is above its second, 1"),
        ("[{zoom: {scale: 2}}]", "augment.0.zoom.scale", "expected two values"),
        (
            "[{one_of: {steps: [blur, {blur: {sigma: [0, 1]}}]}}]",
            "augment.0.one_of.steps.1.blur.sigma.0",
            "greater than or equal to 0.1",
        ),
        (
            "[{one_of: {steps: [{sequence: {steps: [blurr]}}]}}]",
            "augment.0.one_of.steps.0.sequence.steps.0",
            "did you mean blur?",
        ),
        ("[{rotation: {probability: 2}}]", "augment.0.rotation.probability", "less than or equal to 1"),
        ("[{rotation: 5}]", "augment.0.rotation", "options are a mapping"),
        ("[{rotation: {}, blur: {}}]", "augment.0", "one name with its options"),
        ("[5]", "augment.0", "one name with its options"),
        ("horizontal_flip", "augment", "expected a list"),
        ("[{sequence: {steps: []}}]", "augment.0.sequence.steps", "a group needs a step"),
        ("[{one_of: {steps: [{blur: {probability: 0}}]}}]", "augment.0.one_of.steps", "probability above 0"),
    ],
)
def test_a_mistake_is_told_once_with_its_place(text: str, place: str, message: str) -> None:
    with pytest.raises(ValidationError) as caught:
        parse(text)
    (fault,) = caught.value.errors()
    assert ".".join(map(str, fault["loc"])) == place
    assert message in fault["msg"]


def _every_default() -> list[dict[str, Any]]:
    return [{name: {"steps": ["blur"]} if name in ("one_of", "sequence") else {}} for name in steps.names()]


def test_every_augmentation_has_defaults_and_is_described() -> None:
    assert len(Section(augment=_every_default()).augment) == len(steps.names())
    for name, summary, options in settings.describe():
        assert summary.endswith("."), name
        assert all(field.description for field in options.model_fields.values()), name


def test_mixing_is_seen_inside_groups() -> None:
    assert settings.needs_one_hot(parse("[{sequence: {steps: [blur, {one_of: {steps: [cut_mix]}}]}}]"))
    assert settings.needs_one_hot(parse("[mix_up]"))
    assert not settings.needs_one_hot(parse(RICH))


def test_colour_is_refused_for_grey_images() -> None:
    colourful = parse("[blur, {one_of: {steps: [channel_shuffle, color_jitter]}}]")
    settings.check(colourful, channels=3)
    settings.check(parse(RICH), channels=1)
    with pytest.raises(ValueError, match=r"channel_shuffle, color_jitter.*data\.channels"):
        settings.check(colourful, channels=1)


def test_settings_do_not_import_keras() -> None:
    code = "import modules.augmentation.settings, sys; print({'keras', 'tensorflow'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
