"""Search spaces, and the settings that a trial's values make. Importing this loads no Keras."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field, JsonValue, model_validator

from modules.base_settings import Settings
from modules.settings import TrainerSettings

KINDS = ("float", "int", "choice")
_OPTIONS = {"log", "step", "default"}
#: Points that a grid takes of a range without a step.
_GRID_POINTS = 5
#: Digits of a float that is tried: what a report shows is what was trained with.
_DIGITS = 6


def is_space(value: Any) -> bool:
    """Whether a value of the configuration is written as a search space, such as `{float: [0, 1]}`."""
    if not isinstance(value, dict):
        return False
    kinds = [kind for kind in KINDS if kind in value]
    return len(kinds) == 1 and isinstance(value[kinds[0]], list) and value.keys() <= {*kinds, *_OPTIONS}


class Space(Settings):
    """What one key may be: `{float: [1e-4, 1e-2], log: true}`, `{int: [1, 4]}`, `{choice: [16, 32]}`."""

    kind: Literal["float", "int", "choice"]
    values: tuple[JsonValue, ...] = Field(description="Both ends, which belong to it, or the choices.")
    log: bool = Field(False, description="Equal shares to equal ratios.")
    step: float | None = Field(
        None, gt=0, description="Distance of the values; with `log` the ratio, above 1. Without, any value."
    )
    default: JsonValue = Field(None, description="Value of the first trial.")

    @model_validator(mode="before")
    @classmethod
    def _from_the_short_form(cls, value: Any) -> Any:
        if not is_space(value):
            return value
        (kind,) = [kind for kind in KINDS if kind in value]
        rest = {name: option for name, option in value.items() if name != kind}
        rest = {name: _number(option) for name, option in rest.items()}
        return {"kind": kind, "values": [_number(one) for one in value[kind]], **rest}

    @model_validator(mode="after")
    def _makes_sense(self) -> Space:
        if self.kind == "choice":
            if self.log or self.step is not None:
                raise ValueError("log and step belong to float and int, not to choice")
            if len({json.dumps(value) for value in self.values}) < max(2, len(self.values)):
                raise ValueError("a choice needs at least two values, each of them once")
        else:
            self._check_range()
        if self.has_default and not self.contains(self.default):
            raise ValueError(f"the default {self.default!r} lies outside the space")
        return self

    def _check_range(self) -> None:
        numbers = (int,) if self.kind == "int" else (int, float)
        for value in self.values:
            if isinstance(value, bool) or not isinstance(value, numbers) or not math.isfinite(value):
                raise ValueError(f"{value!r} is no {'whole ' if self.kind == 'int' else ''}number")
        if len(self.values) != 2:
            raise ValueError(f"{self.kind} takes two ends, [lowest, highest]; received {len(self.values)}")
        low, high = self.values
        if low >= high:
            raise ValueError(f"the lowest value, {low}, is not below the highest, {high}")
        if self.log and low <= 0:
            raise ValueError(f"log needs a lowest value above 0; received {low}")
        if self.step is not None:
            if self.log and self.step <= 1:
                raise ValueError(f"with log, step is a ratio above 1; received {self.step:g}")
            if self.kind == "int" and self.step % 1:
                raise ValueError(f"the step of int is a whole number; received {self.step:g}")

    @property
    def has_default(self) -> bool:
        """Whether a default was given; none is one where it is among the choices."""
        return self.default is not None or ("default" in self.model_fields_set and self.contains(None))

    def contains(self, value: Any) -> bool:
        """Whether a value lies in the space; steps do not matter."""
        if self.kind == "choice":
            return any(_same(value, one) for one in self.values)
        number = isinstance(value, int) if self.kind == "int" else isinstance(value, int | float)
        return number and not isinstance(value, bool) and self.values[0] <= value <= self.values[1]

    def middle(self) -> JsonValue:
        """The value of a first trial when nothing else says one: the middle, or the first choice."""
        if self.kind == "choice":
            return self.values[0]
        low, high = self.values
        middle = math.sqrt(low * high) if self.log else (low + high) / 2
        return int(middle) if self.kind == "int" else _rounded(middle, low, high)

    def points(self) -> list[JsonValue]:
        """The values that a grid takes, the lowest first."""
        if self.kind == "choice":
            return list(self.values)
        low, high = self.values
        count = _GRID_POINTS
        if self.step is None and self.kind == "int" and high - low < count:
            count = high - low + 1
        if self.step is not None:
            span = math.log(high / low, self.step) if self.log else (high - low) / self.step
            steps = [
                low * self.step**index if self.log else low + index * self.step
                for index in range(math.floor(span + 1e-9) + 1)
            ]
        elif self.log:
            steps = [low * (high / low) ** (index / (count - 1)) for index in range(count)]
        else:
            steps = [low + (high - low) * index / (count - 1) for index in range(count)]
        if self.kind == "int":
            return list(dict.fromkeys(round(one) for one in steps))
        return [_rounded(one, low, high) for one in steps]

    def told_apart_by_number(self) -> bool:
        """Whether the choices are numbers, whose order means something."""
        return all(isinstance(one, int | float) and not isinstance(one, bool) for one in self.values)

    def encode(self, value: JsonValue) -> float | int | str:
        """A value as KerasTuner takes it, whose choices are all numbers or all text."""
        if self.kind != "choice":
            return float(value) if self.kind == "float" else int(value)
        if not self.told_apart_by_number():
            return json.dumps(value)
        return float(value) if any(isinstance(one, float) for one in self.values) else int(value)

    def decode(self, value: float | int | str) -> JsonValue:
        """A value of KerasTuner as the configuration takes it."""
        if self.kind == "int":
            return int(value)
        if self.kind == "float":
            return _rounded(value, *self.values)
        return next(one for one in self.values if _same(self.encode(one), value))


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-3 as text; everybody means the number."""
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        return float(value)
    return value


def _same(one: Any, other: Any) -> bool:
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def _rounded(value: float, low: float, high: float) -> float:
    return min(max(float(f"{value:.{_DIGITS}g}"), low), high)


def text(value: Any) -> str:
    """A value as people read it: YAML on one line, without the outer braces."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {text(one)}" for name, one in value.items())
    if isinstance(value, list):
        return f"[{', '.join(map(text, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:.{_DIGITS}g}" if isinstance(value, float) else str(value)


def steps_of(key: str) -> Iterator[str | int]:
    """The way to a key: names, and positions in lists."""
    for part in key.split("."):
        yield int(part) if part.isdecimal() else part


def get_at(tree: Any, key: str) -> Any:
    """The value at a dotted key of a tree of mappings and lists.

    Raises:
      KeyError, IndexError, TypeError: when there is none.
    """
    for step in steps_of(key):
        tree = tree[step]
    return tree


def set_at(tree: Any, key: str, value: Any) -> None:
    """Sets the value at a dotted key."""
    *way, last = steps_of(key)
    for step in way:
        tree = tree[step]
    tree[last] = value


def resolve(settings: TrainerSettings, values: dict[str, Any]) -> TrainerSettings:
    """The settings of a trial, and of the training that follows a search.

    Args:
      settings: with the defaults of what is tuned.
      values: by dotted key of the configuration, such as `train.learning_rate`; what KerasTuner adds for
        itself (`tuner/epochs`) is passed over.

    Raises:
      pydantic.ValidationError: when the values do not fit together.
    """
    tree = settings.model_dump(mode="json")
    for key, value in values.items():
        if not key.startswith("tuner/"):
            set_at(tree, "scaling" if key == "transform.scaling" else key, value)
    return TrainerSettings.model_validate(tree)
