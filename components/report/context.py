"""What every part of the page gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from components.report.run import Run
from components.report.sources import Sources


@dataclass(frozen=True)
class Context:
    """A run and its artifacts.

    Attributes:
      sources: the artifacts.
      run: which nodes ran.
      config: the configuration of the run, as JSON; empty when it is not known.
      code: digest of the code.
      artifacts: name and address of what the report was made from.
    """

    sources: Sources
    run: Run = field(default_factory=Run)
    config: dict[str, Any] = field(default_factory=dict)
    code: str = ""
    artifacts: Sequence[tuple[str, str]] = ()
