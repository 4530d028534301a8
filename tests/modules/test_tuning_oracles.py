"""The oracles without trainings: what they hand out, when they end, which trials they stop."""

from __future__ import annotations

import pathlib
from collections.abc import Callable
from typing import Any

import pytest
from keras_tuner.engine.trial import Trial

from modules.tuning import oracles, record
from modules.tuning.settings import TuneSettings

SPACES = {
    "train.learning_rate": {"float": [1e-4, 1e-1], "log": True, "default": 1e-3},
    "train.batch_size": {"choice": [16, 64], "default": 64},
    "model.l2": {"choice": [None, 1e-4], "default": None},
    "train.early_stopping.patience": {"int": [1, 4], "default": 2},
}


def _tune(**settings: Any) -> TuneSettings:
    return TuneSettings.model_validate({"spaces": SPACES, **settings})


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(oracles, "time", clock)
    return clock


Score = Callable[[dict[str, Any], int], float]


def _score(values: dict[str, Any], epoch: int) -> float:
    """Better with the rate, and with every epoch."""
    return values["train.learning_rate"] + 0.001 * epoch


class Search:
    """Runs trials that take ten seconds an epoch."""

    def __init__(self, tune: TuneSettings, folder: pathlib.Path, clock: Clock, epochs: int = 4, **more: Any):
        self.tune, self.clock, self.epochs = tune, clock, epochs
        self.oracle = oracles.build(tune, epochs, more.get("earlier", []), more.get("starts", []))
        self.oracle._set_project_dir(str(folder), "search")
        self.epochs_run: dict[str, int] = {}

    def next(self) -> Trial:
        return self.oracle.create_trial("tuner0")

    def run(self, trial: Trial, score: Score = _score, epoch_seconds: float = 10) -> None:
        values = oracles.decoded(trial.hyperparameters.values, self.tune.spaces)
        for epoch in range(1, trial.hyperparameters.values.get("tuner/epochs", self.epochs) + 1):
            self.clock.now += epoch_seconds
            self.epochs_run[trial.trial_id] = epoch
            answer = self.oracle.update_trial(
                trial.trial_id, {self.tune.objective: score(values, epoch)}, step=epoch
            )
            if answer.status == "STOPPED":
                break
        self.end(trial, "COMPLETED")

    def end(self, trial: Trial, status: str) -> None:
        trial.status = status
        self.oracle.end_trial(trial)

    def go(self, score: Score = _score) -> list[dict[str, Any]]:
        """Runs to the end; the values of the trials in their order."""
        while (trial := self.next()).status == "RUNNING":
            self.run(trial, score)
        return [
            oracles.decoded(self.oracle.trials[one].hyperparameters.values, self.tune.spaces)
            for one in self.oracle.start_order
        ]


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband", "grid"])
def test_every_oracle_begins_with_the_defaults_stays_in_the_spaces_and_ends(
    tmp_path: pathlib.Path, clock: Clock, algorithm: str
) -> None:
    tune = _tune(algorithm=algorithm, trials=10, seed=1, early_stop="none")
    search = Search(tune, tmp_path, clock)
    tried = search.go()
    assert len(tried) == 10
    assert search.oracle.ended == "trials"
    assert tried[0] == tune.defaults
    for values in tried:
        assert all(space.contains(values[key]) for key, space in tune.spaces.items()), values
        assert isinstance(values["train.early_stopping.patience"], int)
        assert values["model.l2"] in (None, 1e-4)
    assert search.epochs_run["00"] == 4, "the defaults get all epochs, whatever the algorithm"
    again = Search(tune, tmp_path / "again", clock)
    assert again.go() == tried, "the same seed tries the same"
    other = Search(tune.model_copy(update={"seed": 2}), tmp_path / "other", clock)
    assert (other.go() == tried) == (algorithm == "grid")


def test_a_grid_tries_every_combination_once(tmp_path: pathlib.Path, clock: Clock) -> None:
    spaces = {"train.batch_size": SPACES["train.batch_size"], "train.epochs": {"int": [2, 8], "step": 3}}
    spaces["train.epochs"]["default"] = 5
    tune = TuneSettings.model_validate({"spaces": spaces, "algorithm": "grid", "trials": 100})
    search = Search(tune, tmp_path, clock)
    tried = search.go(lambda values, epoch: 0.5)
    assert sorted((values["train.batch_size"], values["train.epochs"]) for values in tried) == [
        (batch, epochs) for batch in (16, 64) for epochs in (2, 5, 8)
    ]
    assert search.oracle.ended == "space"


def test_a_gaussian_process_finds_the_better_end(tmp_path: pathlib.Path, clock: Clock) -> None:
    space = {"train.learning_rate": {"float": [0, 1], "default": 0.1}}
    tune = TuneSettings.model_validate({"spaces": space, "trials": 15, "early_stop": "none"})
    tried = Search(tune, tmp_path, clock).go(
        lambda values, epoch: -((values["train.learning_rate"] - 0.8) ** 2)
    )
    rates = [values["train.learning_rate"] for values in tried]
    assert min(abs(rate - 0.8) for rate in rates[6:]) < 0.02


def test_hyperband_gives_more_epochs_to_the_better_ones(tmp_path: pathlib.Path, clock: Clock) -> None:
    tune = _tune(algorithm="hyperband", trials=14, seed=3)
    search = Search(tune, tmp_path, clock, epochs=9)
    search.go()
    started = [search.oracle.trials[one] for one in search.oracle.start_order]
    epochs = [trial.hyperparameters.values["tuner/epochs"] for trial in started]
    assert epochs[0] == 9  # the defaults
    first = started[1:10]
    assert epochs[1:10] == [1] * 9
    promoted = [trial for trial in started if "tuner/trial_id" in trial.hyperparameters.values][:3]
    scores = sorted((trial.score for trial in first), reverse=True)
    past = [search.oracle.trials[one.hyperparameters.values["tuner/trial_id"]].score for one in promoted]
    assert past == scores[:3]


def test_the_minutes_end_the_search_within_an_epoch(tmp_path: pathlib.Path, clock: Clock) -> None:
    search = Search(_tune(algorithm="random", minutes=1.2, early_stop="none"), tmp_path, clock)
    began = clock.now
    tried = search.go()
    assert search.oracle.ended == "minutes"
    assert len(tried) == 2
    assert search.epochs_run == {"00": 4, "01": 4}  # 40 s, and 32 s of 40 s: ended by the end of an epoch
    assert 72 <= clock.now - began < 72 + 10
    assert search.oracle.stopped == {"01": "minutes"}
    assert search.oracle.trials["01"].status == "COMPLETED", "it counts with what it reached"


def test_no_trial_begins_that_could_not_end_an_epoch(tmp_path: pathlib.Path, clock: Clock) -> None:
    search = Search(_tune(algorithm="random", minutes=44 / 60, early_stop="none"), tmp_path, clock)
    assert len(search.go()) == 1
    assert search.oracle.ended == "minutes"


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband", "grid"])
def test_a_killed_search_goes_on_with_what_it_has_and_the_time_it_spent(
    tmp_path: pathlib.Path, clock: Clock, algorithm: str
) -> None:
    tune = _tune(algorithm=algorithm, trials=6, minutes=10, early_stop="none")
    began = clock.now
    killed = Search(tune, tmp_path, clock)
    for _ in range(3):
        killed.run(killed.next())
    in_mid_trial = killed.next()
    clock.now += 10
    killed.oracle.update_trial(in_mid_trial.trial_id, {tune.objective: 0.5}, step=1)
    clock.now += 5  # and here the process ends

    resumed = Search(tune, tmp_path, clock)
    resumed.oracle.reload()
    assert resumed.oracle.seconds == clock.now - began - 5
    tried = resumed.go()
    assert all(tried.count(values) == 1 for values in tried) or algorithm == "hyperband"
    assert sorted(resumed.epochs_run) == ["3", "4", "5"], "the one that was killed, and two new ones"
    assert resumed.oracle.start_order == ["0", "1", "2", "3", "4", "5"]


def test_a_trial_below_the_median_is_stopped(tmp_path: pathlib.Path, clock: Clock) -> None:
    tune = _tune(algorithm="random", trials=6, early_stop_trials=3, early_stop_epochs=2)
    search = Search(tune, tmp_path, clock)
    for score in (0.5, 0.6, 0.7, 0.2, 0.65):
        search.run(search.next(), lambda values, epoch, score=score: score)
    assert search.epochs_run == {"0": 4, "1": 4, "2": 4, "3": 2, "4": 4}
    assert search.oracle.stopped == {"3": "median"}
    down = _tune(algorithm="random", objective="val_loss", early_stop_trials=1)
    search = Search(down, tmp_path / "down", clock)
    for score in (0.5, 0.6, 0.4):
        search.run(search.next(), lambda values, epoch, score=score: score)
    assert search.epochs_run == {"00": 4, "01": 1, "02": 4}
    assert search.oracle.get_best_trials(1)[0].trial_id == "02"


def test_the_score_is_that_of_the_weights_that_are_kept(tmp_path: pathlib.Path, clock: Clock) -> None:
    """With `train.monitor: val_loss` the best accuracy may belong to weights that are not kept."""
    search = Search(_tune(algorithm="random"), tmp_path, clock)
    search.run(trial := search.next(), lambda values, epoch: 0.9 if epoch == 2 else 0.8)
    assert search.oracle.trials[trial.trial_id].score == 0.8


def test_failures_are_counted_over_the_whole_search(tmp_path: pathlib.Path, clock: Clock) -> None:
    search = Search(_tune(algorithm="bayesian", trials=20, max_failures=2), tmp_path, clock)
    for status in ("COMPLETED", "FAILED", "COMPLETED", "FAILED"):
        trial = search.next()
        search.run(trial) if status == "COMPLETED" else search.end(trial, status)
    assert search.next().status == "STOPPED"
    assert search.oracle.ended == "failures"


def _earlier(tune: TuneSettings, rates: list[float]) -> list[record.Trial]:
    return [
        record.Trial(
            number=number,
            values={**tune.defaults, "train.learning_rate": rate},
            score=rate,
            curve=[rate / 2, rate],
            seconds=1,
            status="completed",
        )
        for number, rate in enumerate(rates)
    ]


@pytest.mark.parametrize("algorithm", ["random", "bayesian", "hyperband", "grid"])
def test_earlier_trials_count_and_are_not_run_again(
    tmp_path: pathlib.Path, clock: Clock, algorithm: str
) -> None:
    tune = _tune(algorithm=algorithm, trials=3)
    earlier = _earlier(tune, [1e-3, 0.05, 0.1])  # the first are the defaults
    search = Search(tune, tmp_path, clock, earlier=earlier)
    search.oracle.add_earlier(earlier)
    tried = search.go(lambda values, epoch: 0.01)
    assert len(tried) == 3
    assert not [values for values in tried if values in [one.values for one in earlier]]
    assert search.oracle.get_best_trials(1)[0].trial_id == "earlier-2"


def test_settings_of_another_search_are_tried_first(tmp_path: pathlib.Path, clock: Clock) -> None:
    tune = _tune(algorithm="random", trials=3)
    start = {**tune.defaults, "train.batch_size": 16}
    tried = Search(tune, tmp_path, clock, starts=[start, tune.defaults]).go()
    assert tried[:2] == [tune.defaults, start]
    assert tried[2] not in tried[:2]
