"""How much a run of the benchmarks measures: all of it, or what ten minutes allow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Scale:
    """Sizes of a run.

    Attributes:
      quick: whether this is the short run, whose figures are no more than a hint.
      repetitions: of everything that is compared.
      share: the images of a part are divided by this.
      fashion: folder of the idx files of Fashion-MNIST; without it made images of the same size stand in.
    """

    quick: bool = False
    fashion: Path | None = None

    @property
    def repetitions(self) -> int:
        return 1 if self.quick else 3

    @property
    def share(self) -> int:
        return 10 if self.quick else 1
