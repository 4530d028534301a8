"""The record of a search, `trials.json`: every trial with its values and what became of it.

It is what the report draws, what a later search starts from, and what the summary of a run is made of.
"""

from __future__ import annotations

import pathlib
from typing import Any, Literal

from pydantic import JsonValue, ValidationError

from modules.base_settings import Settings
from modules.errors import InputError

FILE = "trials.json"


class Trial(Settings):
    """One trial.

    Attributes:
      number: from 0, in the order in which they began; those of an earlier search stand first.
      values: by dotted key of the configuration.
      score: the objective of the weights that were kept; None for a failed trial.
      curve: the same after each epoch, of the weights kept until then.
      seconds: wall time, images decoded already.
      status: `stopped` by the median rule, `cut` by the end of the budget; both count with what they reached.
      reason: why it did not complete.
      earlier: whether it belongs to the search that this one started from.
    """

    number: int
    values: dict[str, JsonValue]
    score: float | None
    curve: list[float]
    seconds: float
    status: Literal["completed", "stopped", "cut", "failed"]
    reason: str = ""
    earlier: bool = False

    @property
    def epochs(self) -> int:
        return len(self.curve)


class Search(Settings):
    """A search.

    Attributes:
      objective: metric.
      sign: 1 when more is better, -1 when less is.
      context: digest of all that a score depends on besides the values: fixed settings and data.
      defaults: values of the first trial.
      seconds: that it took, over all its processes and interruptions.
      ended: what ended it: the number of trials, the minutes, that everything was tried, or failures.
    """

    objective: str
    sign: int
    algorithm: str
    context: str
    defaults: dict[str, JsonValue]
    seconds: float
    ended: Literal["trials", "minutes", "space", "failures", ""]
    trials: list[Trial]

    @property
    def finished(self) -> list[Trial]:
        """Trials with a score, the best first; of equal ones the earliest."""
        scored = [trial for trial in self.trials if trial.score is not None]
        return sorted(scored, key=lambda trial: -self.sign * trial.score)

    @property
    def best(self) -> Trial:
        return self.finished[0]

    @property
    def default(self) -> Trial | None:
        """The trial of the defaults, when it did not fail."""
        return next((trial for trial in self.finished if trial.values == self.defaults), None)

    def summary(self) -> dict[str, Any]:
        """What a run says of the search, JSON."""
        best, default = self.best, self.default
        return {
            "objective": self.objective,
            "algorithm": self.algorithm,
            "trials": sum(not trial.earlier for trial in self.trials),
            "earlier": sum(trial.earlier for trial in self.trials),
            "failed": sum(trial.status == "failed" for trial in self.trials),
            "seconds": round(self.seconds, 1),
            "ended": self.ended,
            "best_trial": best.number,
            "best_score": best.score,
            "default_score": default.score if default else None,
            "gain": self.sign * (best.score - default.score) if default else None,
            "best": best.values,
            "defaults": self.defaults,
        }


def read(path: str) -> Search:
    """The record of an earlier search.

    Args:
      path: `trials.json`, the folder that holds it, or a working directory, whose latest search it is then.

    Raises:
      InputError: when there is none.
    """
    given = pathlib.Path(path)
    found = [given] if given.is_file() else [given / FILE]
    if not found[0].is_file():
        below = given.glob(f"artifacts/Tuner/tuner_results/*/{FILE}")
        found = sorted(below, key=lambda one: int(one.parent.name))
    if not found:
        raise InputError(
            f"There is no search in {path}: expected {FILE}, the folder that holds it, or a working "
            "directory."
        )
    try:
        search = Search.model_validate_json(found[-1].read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise InputError(f"{found[-1]} is no record of a search.") from error
    if not search.finished:
        raise InputError(f"No trial of {found[-1]} has a score.")
    return search
