"""KerasTuner's oracles under a budget: they begin with the defaults, end in time, and stop bad trials.

An oracle lives in one process, also where several run trials; those ask it for values and tell it every
epoch (`update_trial`). So time, failures and the median rule are looked after here, once for all.

Sources: Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", 2012 (random); Snoek et al.,
"Practical Bayesian Optimization", 2012 (bayesian); Li et al., "Hyperband", 2018 (hyperband); Golovin et al.,
"Google Vizier", 2017 (median rule).
"""

from __future__ import annotations

import copy
import itertools
import json
import statistics
import time
from typing import Any

import keras_tuner
import tensorflow as tf
import threadpoolctl
from keras_tuner import oracles
from keras_tuner.engine import oracle as base
from keras_tuner.engine import trial as trials

from modules import progress
from modules.tuning.record import Trial
from modules.tuning.settings import TuneSettings
from modules.tuning.spaces import Space

_UNLIMITED = 10**6
# How the names of trials begin that an earlier search ran.
_EARLIER = "earlier-"


def hyperparameters(tune: TuneSettings) -> keras_tuner.HyperParameters:
    """The search spaces as KerasTuner has them."""
    spaces = keras_tuner.HyperParameters()
    for key, space in tune.spaces.items():
        default = space.encode(space.default)
        if space.kind == "choice" or tune.algorithm == "grid":
            values = space.points()
            if space.default not in values:
                values = [space.default, *values]
            spaces.Choice(key, [space.encode(one) for one in values], default=default)
            continue
        options = {"step": space.step, "sampling": "log" if space.log else "linear", "default": default}
        if space.kind == "float":
            spaces.Float(key, *map(float, space.values), **options)
        elif space.step is None and not space.log:
            spaces.Int(key, *space.values, default=default)
        else:
            spaces.Int(key, *space.values, **{**options, "step": space.step and int(space.step)})
    return spaces


class Budgeted:
    """What every oracle here has beside KerasTuner's; mixed in before one of its classes.

    Attributes:
      ended: why no further trial begins: `trials`, `minutes`, `space` or `failures`; empty until then.
      stopped: by trial, why it was told to stop: `minutes` or `median`.
    """

    def __init__(self, tune: TuneSettings, first: list[dict[str, Any]], limit: int, **options: Any):
        """Makes the oracle.

        Args:
          tune: the search.
          first: encoded values of the trials to begin with.
          limit: trials at most, those of earlier searches included.
          options: of KerasTuner's class.
        """
        super().__init__(
            objective=keras_tuner.Objective(tune.objective, "max" if tune.sign > 0 else "min"),
            hyperparameters=hyperparameters(tune),
            # KerasTuner takes 0 for no seed at all.
            seed=tune.seed + 1,
            # Failures are counted here, over the whole search.
            max_consecutive_failed_trials=_UNLIMITED,
            **options,
        )
        self.max_trials = limit
        self.verbose = 0
        self.ended = ""
        self.stopped: dict[str, str] = {}
        self._tune = tune
        self._first = first
        self._spent_before = 0.0
        self._began = time.monotonic()
        self._reported = self._began
        self._longest_epoch = 0.0

    @property
    def seconds(self) -> float:
        """Spent so far, also by processes that ended before this one began."""
        return self._spent_before + time.monotonic() - self._began

    @property
    def seconds_left(self) -> float | None:
        """Of the budget, None where it has no minutes."""
        return None if self._tune.minutes is None else 60 * self._tune.minutes - self.seconds

    @property
    def failed(self) -> list[trials.Trial]:
        """Trials that failed, in the order in which they did."""
        return [self.trials[one] for one in self.end_order if self.trials[one].status == "FAILED"]

    def add_earlier(self, found: list[Trial]) -> None:
        """Takes trials of an earlier search as if they had been run here."""
        for trial in found:
            values = hyperparameters(self._tune)
            values.values = {key: space.encode(trial.values[key]) for key, space in self._tune.spaces.items()}
            taken = trials.Trial(values, f"{_EARLIER}{trial.number}", trials.TrialStatus.COMPLETED)
            taken.metrics.register(self._tune.objective, direction=self.objective.direction)
            for epoch, figure in enumerate(trial.curve, 1):
                taken.metrics.update(self._tune.objective, figure, step=epoch)
            self.trials[taken.trial_id] = taken
            self.score_trial(taken)
            self._record_values(taken)
            self._save_trial(taken)

    def curve(self, trial: trials.Trial) -> dict[int, float]:
        """The objective of the weights kept until then, by epoch from 1."""
        if not trial.metrics.exists(self._tune.objective):
            return {}
        return {one.step: one.mean() for one in trial.metrics.get_history(self._tune.objective)}

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Values of the next trial: those to begin with, then the algorithm's."""
        if len(self.start_order) < len(self._first):
            return {"status": "RUNNING", "values": dict(self._first[len(self.start_order)])}
        # Of the small matrices of a Gaussian process, threads make nothing but work: measured, 17 times as
        # slow on two busy cores.
        with threadpoolctl.threadpool_limits(1, "blas"):
            proposed = super().populate_space(trial_id)
        if (
            self._tune.algorithm == "bayesian"
            and proposed.get("values")
            and self._duplicate(proposed["values"])
        ):
            # A Gaussian process that is sure of its best asks for it again and again.
            values = self._random_values()
            return {"status": "RUNNING" if values else "STOPPED", "values": values}
        return proposed

    @keras_tuner.synchronized
    def create_trial(self, tuner_id: str) -> trials.Trial:
        """The next trial, or one of status STOPPED when the budget is used up."""
        self.ended = self._end()
        if self.ended:
            self.tuner_ids.discard(tuner_id)
            return trials.Trial(self.hyperparameters.copy(), "none", trials.TrialStatus.STOPPED)
        self._reported = time.monotonic()
        trial = super().create_trial(tuner_id)
        if trial.status == trials.TrialStatus.STOPPED:
            self.ended = "trials" if len(self.trials) >= self.max_trials else "space"
        elif trial.status == trials.TrialStatus.IDLE:
            time.sleep(0.1)  # the worker asks again at once, and others train meanwhile
        self._tell()
        return trial

    @keras_tuner.synchronized
    def update_trial(self, trial_id: str, metrics: dict[str, float], step: int = 0) -> trials.Trial:
        """Takes the objective after an epoch; the status of what it returns is STOPPED to stop the trial."""
        now = time.monotonic()
        # With several workers this is too short, never too long: the budget is kept all the same.
        self._longest_epoch = max(self._longest_epoch, now - self._reported)
        self._reported = now
        trial = super().update_trial(trial_id, metrics, step)
        left = self.seconds_left
        if left is not None and left <= 0:
            self.stopped[trial_id] = "minutes"
        elif self._is_bad(trial_id, step):
            self.stopped[trial_id] = "median"
        self.save()  # so that a killed search knows the time it spent
        self._tell()
        answer = copy.copy(trial)
        if trial_id in self.stopped:
            answer.status = trials.TrialStatus.STOPPED
        return answer

    @keras_tuner.synchronized
    def end_trial(self, trial: trials.Trial) -> None:
        """Takes a trial that ended, however it did."""
        super().end_trial(trial)
        self._tell()

    def score_trial(self, trial: trials.Trial) -> None:
        """The score is the figure of the weights that were kept, which is the last that was reported."""
        curve = self.curve(trial)
        trial.best_step = max(curve)
        trial.score = curve[trial.best_step]

    def _end(self) -> str:
        if len(self.failed) >= self._tune.max_failures:
            return "failures"
        # A trial that could not end its first epoch in time would be for nothing.
        if self.seconds_left is not None and self.seconds_left <= self._longest_epoch / 2:
            return "minutes"
        return ""

    def _is_bad(self, trial_id: str, epoch: int) -> bool:
        tune = self._tune
        if tune.early_stop == "none" or tune.algorithm == "hyperband" or epoch < tune.early_stop_epochs:
            return False
        finished = [trial for trial in self.trials.values() if trial.status == "COMPLETED"]
        others = [curve[epoch] for curve in map(self.curve, finished) if epoch in curve]
        if len(others) < tune.early_stop_trials:
            return False
        reached = self.curve(self.trials[trial_id])[epoch]
        return tune.sign * reached < tune.sign * statistics.median(others)

    def _tell(self) -> None:
        """Progress of the search."""
        best = self.get_best_trials(1)
        score = best[0].score if best and best[0].status == "COMPLETED" else None
        figures = {} if score is None else {"best": score, "objective": self._tune.objective}
        if self.seconds_left is not None:
            figures["seconds_left"] = max(0.0, round(self.seconds_left, 1))
        done = len(self.end_order)
        progress.emit("tuning", done, self._tune.trials, **figures)

    def get_state(self) -> dict[str, Any]:
        """What a killed search needs to go on."""
        return {**super().get_state(), "seconds": self.seconds, "stopped": self.stopped}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on."""
        super().set_state(state)
        # A trial is written before the state that names it. Killed in between, it never began, and would
        # count as one of those that the budget allows.
        known = set(self.start_order)
        self.trials = {
            key: trial for key, trial in self.trials.items() if key in known or key.startswith(_EARLIER)
        }
        self._spent_before = state["seconds"]
        self.stopped = state["stopped"]

    def save(self) -> None:
        """Writes the state whole or not at all, whenever this process is killed."""
        _write(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial: trials.Trial) -> None:
        _write(f"{self._get_trial_dir(trial.trial_id)}/trial.json", trial.get_state())


def _write(path: str, content: dict[str, Any]) -> None:
    with tf.io.gfile.GFile(f"{path}.new", "w") as file:
        file.write(json.dumps(content))
    tf.io.gfile.rename(f"{path}.new", path, overwrite=True)


class _Random(Budgeted, oracles.RandomSearchOracle):
    pass


class _Bayesian(Budgeted, oracles.BayesianOptimizationOracle):
    pass


class _Hyperband(Budgeted, oracles.HyperbandOracle):
    pass


class _GridOracle(base.Oracle):
    """Every combination once; the defaults first, and the last key changes fastest.

    KerasTuner's own forgets where it was when its process ends.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The first combination that was not tried."""
        points = []
        for space in self.hyperparameters.space:
            points.append([space.default, *(one for one in space.values if one != space.default)])
        names = [space.name for space in self.hyperparameters.space]
        for combination in itertools.product(*points):
            values = dict(zip(names, combination, strict=True))
            if not self._duplicate(values):
                return {"status": "RUNNING", "values": values}
        return {"status": "STOPPED"}


class _Grid(Budgeted, _GridOracle):
    pass


def build(tune: TuneSettings, epochs: int, earlier: list[Trial], starts: list[dict[str, Any]]) -> Budgeted:
    """The oracle of a search.

    Args:
      tune: the search.
      epochs: of a trial at most.
      earlier: trials of an earlier search that this one counts as its own, see `add_earlier`.
      starts: values to begin with, after the defaults.
    """
    first = [] if any(trial.values == tune.defaults for trial in earlier) else [tune.defaults]
    first += [values for values in starts if values != tune.defaults]
    encoded = [{key: space.encode(values[key]) for key, space in tune.spaces.items()} for values in first]
    options: dict[str, Any] = {}
    match tune.algorithm:
        case "bayesian":
            # KerasTuner's three for each dimension would be most of a small budget.
            options["num_initial_points"] = max(3, min(3 * len(tune.spaces), tune.trials // 3))
        case "hyperband":
            # The budget ends it.
            options |= {"max_epochs": epochs, "hyperband_iterations": _UNLIMITED}
            whole = {"tuner/epochs": epochs, "tuner/initial_epoch": 0, "tuner/bracket": 0, "tuner/round": 0}
            encoded = [{**values, **whole} for values in encoded]
    kinds = {"random": _Random, "bayesian": _Bayesian, "hyperband": _Hyperband, "grid": _Grid}
    return kinds[tune.algorithm](tune, encoded, tune.trials + len(earlier), **options)


def decoded(values: dict[str, Any], spaces: dict[str, Space]) -> dict[str, Any]:
    """Values of a trial as the configuration takes them."""
    return {key: space.decode(values[key]) for key, space in spaces.items()}
