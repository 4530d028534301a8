"""What a measurement gives: ratios against an alternative, their spread, and a bar to hold or to miss."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Figure:
    """One line of the results.

    Attributes:
      name: what was measured.
      against: what it is compared with.
      values: one a repetition; ratios, unless `unit` says otherwise.
      bar: what the median has to reach; None where there is nothing to reach.
      at_least: whether more is better.
      unit: of the values.
      remark: the seconds, rates or bytes behind them.
    """

    name: str
    against: str
    values: list[float]
    bar: float | None = None
    at_least: bool = False
    unit: str = "x"
    remark: str = ""

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`held`, `MISSED`, or nothing without a bar."""
        if self.bar is None:
            return ""
        good = self.median >= self.bar if self.at_least else self.median <= self.bar
        return "held" if good else "MISSED"

    @property
    def wanted(self) -> str:
        """The bar in words."""
        if self.bar is None:
            return ""
        return f"at {'least' if self.at_least else 'most'} {self.bar:g} {self.unit}"

    @property
    def shown(self) -> str:
        """Median and range."""
        if len(self.values) == 1:
            return f"{self.median:.3g} {self.unit}"
        return f"{self.median:.3g} {self.unit} ({min(self.values):.3g} to {max(self.values):.3g})"


@dataclass(frozen=True)
class Table:
    """Rows that belong to a part of the results and have no bar."""

    title: str
    columns: list[str]
    rows: list[list[str]]


@dataclass
class Results:
    """What one part measured, and in what circumstances."""

    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Results:
        return cls(
            [Figure(**one) for one in value["figures"]], [Table(**one) for one in value.get("tables", [])]
        )


def ratios(
    name: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    bar: float | None,
    remark: Callable[[float, float], str] = lambda ours, theirs: f"{ours:.2f} s against {theirs:.2f} s",
) -> Figure:
    """A figure of seconds against seconds, pair by pair; the remark is made of both medians."""
    middle = remark(statistics.median(ours), statistics.median(theirs))
    return Figure(name, against, [a / b for a, b in zip(ours, theirs, strict=True)], bar, remark=middle)
