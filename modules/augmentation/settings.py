"""The list of augmentations as a typed field: names or one-key mappings in YAML, steps and groups in Python.

augment:
  - horizontal_flip
  - rotation: {degrees: 10, probability: 0.8}
  - one_of:
      probability: 0.5
      steps: [blur, gaussian_noise]
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from modules.augmentation import steps as registry
from modules.augmentation.steps import Step


def _parse(value: Any) -> Step:
    if isinstance(value, Step):
        return value
    match value:
        case str(name):
            options: Any = {}
        case dict() if len(value) == 1 and isinstance(next(iter(value)), str):
            ((name, options),) = value.items()
        case _:
            raise ValueError(
                "an augmentation is a name, or one name with its options, {name: {option: value}}"
            )
    step = registry.get(name)
    try:
        return step.model_validate({} if options is None else options)
    except ValidationError as error:
        # pydantic puts the place of this entry before these; the name and a helpful word are ours to add.
        faults = [_fault(step, fault) for fault in error.errors()]
        raise ValidationError.from_exception_data(name, faults) from None


def _fault(step: type[Step], fault: ErrorDetails) -> InitErrorDetails:
    message = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(fault["loc"][-1]), step.model_fields, n=1)
        hint = f"did you mean {near[0]}?" if near else f"{step.name} has {', '.join(step.model_fields)}"
        message = f"unknown option; {hint}"
    elif fault["type"] in ("model_type", "model_attributes_type"):
        message = f"options are a mapping, such as {{{step.name}: {{probability: 0.5}}}}"
    elif fault["type"] == "tuple_type":
        message = "expected two values, [first, second]"
    return InitErrorDetails(
        type=PydanticCustomError("augmentation", "{message}", {"message": message}),
        loc=(step.name, *fault["loc"]),
        input=fault["input"],
    )


def _dump(step: Step) -> dict[str, Any]:
    return {step.name: step.model_dump(mode="json")}


def _listed(value: Any) -> Any:
    if value is None:  # `augment:` with nothing behind it
        return ()
    if not isinstance(value, list | tuple):
        raise ValueError("expected a list of augmentations")
    return value


#: An ordered list of augmentations, to be used as a field of any settings class.
Augmentations = Annotated[
    tuple[Annotated[Step, BeforeValidator(_parse), PlainSerializer(_dump)], ...], BeforeValidator(_listed)
]


def _one_can_happen(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    if not any(step.probability > 0 for step in steps):
        raise ValueError("a group needs a step, with a probability above 0")
    return steps


class Group(Step):
    """Augmentations under one probability."""

    steps: Annotated[Augmentations, AfterValidator(_one_can_happen)] = Field(
        description="The augmentations and groups in it."
    )


@registry.register("sequence")
class Sequence(Group):
    """All of its steps in their order, each with its own probability."""


@registry.register("one_of")
class OneOf(Group):
    """Exactly one of its steps, drawn for each image; their probabilities are the weights of the draw."""


def walk(steps: Augmentations) -> Iterator[Step]:
    """Every step, groups and what is in them."""
    for step in steps:
        yield step
        if isinstance(step, Group):
            yield from walk(step.steps)


def needs_one_hot(steps: Augmentations) -> bool:
    """Whether labels get mixed, so that they must be vectors and the loss must take them."""
    return any(step.mixes for step in walk(steps))


def check(steps: Augmentations, channels: int) -> None:
    """Holds the list against the images.

    Raises:
      ValueError: when an augmentation of colours would get grey images.
    """
    if channels != 1:
        return
    unfit = dict.fromkeys(step.name for step in walk(steps) if step.needs_color)
    if unfit:
        one = len(unfit) == 1
        raise ValueError(
            f"{', '.join(unfit)} need{'s' if one else ''} colour, and data.channels is 1; remove "
            f"{'it' if one else 'them'} (brightness_contrast takes grey images) or set data.channels to 3"
        )


class Description(NamedTuple):
    """What there is to say of an augmentation: `options` has a field with a description for each option."""

    name: str
    summary: str
    options: type[Step]


def describe() -> list[Description]:
    """Every augmentation and group, for the documentation."""
    described = []
    for name in registry.names():
        step = registry.get(name)
        described.append(Description(name, (step.__doc__ or "").strip().splitlines()[0], step))
    return described
