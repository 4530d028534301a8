"""Typed settings of a search: how, for what, and for how long."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from modules.base_settings import Settings
from modules.train_settings import Monitor
from modules.tuning.spaces import Space


class TuneSettings(Settings):
    """A search for the best settings before training; off if absent."""

    algorithm: Literal["random", "bayesian", "hyperband", "grid"] = Field(
        "bayesian",
        description=(
            "`bayesian`: a Gaussian process says what to try next. `hyperband`: many trials of few epochs, "
            "of which the better ones go on. `grid`: every combination; five values of a range without a "
            "step. All but `hyperband` leave the epochs to each trial."
        ),
    )
    objective: Monitor = Field(
        "val_accuracy", description="Metric of the weights that a trial keeps; accuracies up, losses down."
    )
    trials: int = Field(20, ge=1, description="Trials at most.")
    minutes: float | None = Field(
        None,
        gt=0,
        description="Minutes at most; the trial that runs then ends with its epoch and counts as it is.",
    )
    epochs: int | None = Field(
        None,
        ge=1,
        description="Epochs of a trial at most, of those that training has; default all of them.",
    )
    seed: int = Field(0, ge=0, description="Seed of what is tried; every trial trains with `train.seed`.")
    early_stop: Literal["median", "none"] = Field(
        "median",
        description=(
            "`median`: a trial ends when its best is worse than the median of earlier trials at that epoch. "
            "Not with `hyperband`, which ends trials itself."
        ),
    )
    early_stop_trials: int = Field(3, ge=1, description="Earlier trials that it takes to do so.")
    early_stop_epochs: int = Field(1, ge=1, description="Epochs that every trial gets.")
    max_failures: int = Field(
        3, ge=1, description="The search fails when so many trials have (no number, out of memory)."
    )
    warm_start_from: str | None = Field(
        None,
        description="Earlier search (`trials.json`, its folder or a working directory) to learn from.",
    )
    use: str | None = Field(
        None, description="Earlier search whose best values are taken; then nothing is searched."
    )
    spaces: dict[str, Space] = Field(
        default_factory=dict,
        description="Search spaces by key. Filled from the keys that are given as spaces where they stand.",
    )

    @property
    def sign(self) -> int:
        """1 when more is better, -1 when less is."""
        return 1 if self.objective.endswith("accuracy") else -1

    @property
    def defaults(self) -> dict[str, object]:
        """Values of the first trial."""
        return {key: space.default for key, space in self.spaces.items()}
