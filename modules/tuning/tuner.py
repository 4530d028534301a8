"""`tuner_fn` of TFX Tuner: trials that are trainings of the resolved settings, over images decoded once.

A trial is the very training that `run_fn` would do with its values, ended early where the search says so.
So the training that follows passes through the same epochs and reaches what the best trial reached.

Everything lies in one folder below the pipeline root, which several processes may share: KerasTuner's
state, and a folder a trial with the state of its training and, when it ended, `outcome.json`.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import json
import os
import time
from typing import Any

import keras
import keras_tuner
import numpy as np
import tensorflow as tf
from absl import logging
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as trials
from keras_tuner.errors import FailedTrialError
from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.components.tuner.component import TunerFnResult

from modules import devices, resume, training, worker
from modules.errors import InputError
from modules.settings import TrainerSettings
from modules.transform_graph import TransformGraph
from modules.tuning import oracles, record
from modules.tuning.settings import TuneSettings
from modules.tuning.spaces import resolve, set_at

#: Earlier settings that are tried first where their figures do not hold.
_STARTS = 3
#: A trial that was begun so often without ending an epoch is what ends the process.
_ATTEMPTS = 3
# Files of a trial beside KerasTuner's.
_OUTCOME = "outcome.json"
_BEGUN = "begun.json"


def tuner_fn(fn_args: FnArgs) -> TunerFnResult:
    """Makes the tuner; called by TFX Tuner.

    Args:
      fn_args: uses `train_files`, `eval_files` (the validation split), `transform_graph_path`, `working_dir`
        (kept between attempts, so that a killed search goes on), and of `custom_config` `settings`, the JSON
        of `TrainerSettings` with the defaults, `tune`, that of `TuneSettings`, and `code`.
    """
    settings = TrainerSettings.model_validate_json(fn_args.custom_config["settings"])
    tune = TuneSettings.model_validate_json(fn_args.custom_config["tune"])
    return TunerFnResult(tuner=SettingsTuner(fn_args, settings, tune), fit_kwargs={})


class SettingsTuner(base_tuner.BaseTuner):
    """KerasTuner's loop over trials of our own."""

    def __init__(self, fn_args: FnArgs, settings: TrainerSettings, tune: TuneSettings):
        """Finds the search again if it was begun before.

        Args:
          fn_args: as for `tuner_fn`.
          settings: with the defaults of what is tuned.
          tune: the search.
        """
        self._fn_args = fn_args
        self._settings = settings
        self._tune = tune
        self._graph = TransformGraph(fn_args.transform_graph_path)
        self._context = self._digest()
        self._earlier, starts = self._warm_start()
        folder = resume.folder(
            fn_args.working_dir,
            settings.model_dump_json(),
            # What may be changed when a search goes on: a larger budget, more patience.
            tune.model_dump_json(exclude={"trials", "minutes", "max_failures"}),
            *fn_args.train_files,
            *fn_args.eval_files,
            fn_args.transform_graph_path,
            fn_args.custom_config["code"],
        )
        oracle = oracles.build(tune, self._epochs, self._earlier, starts)
        # KerasTuner puts a client in its place where this process is a worker.
        self._judge = oracle
        super().__init__(oracle, directory=fn_args.working_dir, project_name=os.path.basename(folder))
        if not oracle.trials and not self._is_worker():
            oracle.add_earlier(self._earlier)

    @property
    def _epochs(self) -> int:
        return min(self._settings.train.epochs, self._tune.epochs or self._settings.train.epochs)

    def _digest(self) -> str:
        """Of everything that a score depends on besides the values that are tuned."""
        fixed = self._settings.model_dump(mode="json", exclude={"serve"})
        for key in self._tune.spaces:
            set_at(fixed, "scaling" if key == "transform.scaling" else key, None)
        files = [self._fn_args.train_files, self._fn_args.eval_files]
        sizes = [
            sum(tf.io.gfile.stat(name).length for pattern in patterns for name in tf.io.gfile.glob(pattern))
            for patterns in files
        ]
        text = json.dumps([fixed, self._epochs, self._tune.objective, self._graph.class_names, sizes])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _warm_start(self) -> tuple[list[record.Trial], list[dict[str, Any]]]:
        """Earlier trials whose figures hold here, and values to begin with where they do not."""
        if self._tune.warm_start_from is None:
            return [], []
        search = record.read(self._tune.warm_start_from)
        spaces = self._tune.spaces
        fit = [
            trial
            for trial in search.finished
            if all(
                key not in trial.values or space.contains(trial.values[key]) for key, space in spaces.items()
            )
        ]
        if search.context == self._context:
            return sorted(fit, key=lambda trial: trial.number), []
        starts = [
            self._tune.defaults | {key: trial.values[key] for key in spaces if key in trial.values}
            for trial in fit[:_STARTS]
        ]
        logging.info("Other data or fixed settings than in the earlier search: its best are tried first.")
        return [], starts

    # Made by the first trial: neither a chief nor a finished search needs them.
    @functools.cached_property
    def _placement(self) -> devices.Placement:
        return devices.place(self._settings.train.devices)

    @functools.cached_property
    def _splits(self) -> training.Splits:
        return training.decode(self._fn_args, self._graph, self._settings.train.cache_memory_mb)

    def search(self, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Runs trials until the budget is used up; as KerasTuner's chief, lets workers run them.

        Raises:
          InputError: when `tune.max_failures` trials failed, or none reached a figure.
        """
        is_chief = "KERASTUNER_ORACLE_IP" in os.environ and not self._is_worker()
        with contextlib.ExitStack() as stack:
            if is_chief:
                # The workers learn from it what is tuned.
                stack.enter_context(worker.orders(os.path.dirname(self.directory), self._fn_args))
            super().search(*fit_args, **fit_kwargs)
        if not self._is_worker():
            self._refuse_failures()

    def on_search_begin(self) -> None:
        """Leaves something to go on from, should the first trial be killed."""
        self.save()

    def reload(self) -> None:
        """Goes on with a search that was killed, which may have left a trial half written."""
        if not self._is_worker():
            self.oracle.reload()

    def run_trial(self, trial: trials.Trial, *fit_args: Any, **fit_kwargs: Any) -> None:
        """Trains with the values of a trial, and tells the oracle every epoch."""
        values = oracles.decoded(trial.hyperparameters.values, self._tune.spaces)
        directory = self.get_trial_dir(trial.trial_id)
        if tf.io.gfile.exists(f"{directory}/{_OUTCOME}"):
            # Killed when the trial had ended and before the oracle had written that it did.
            if reason := _read(f"{directory}/{_OUTCOME}")["reason"]:
                raise FailedTrialError(reason)
            return
        _ = self._placement, self._splits  # a device that is absent is no fault of the trial
        outcome: dict[str, Any] = {"values": values, "curve": [], "whole": False, "reason": ""}
        began, before = time.time(), 0.0
        try:
            before = self._train(trial, outcome, directory)
        except Exception as error:
            outcome["reason"] = _reason(error)
            logging.warning("Trial %s failed: %s", trial.trial_id, outcome["reason"], exc_info=True)
            _write(f"{directory}/{_OUTCOME}", {**outcome, "seconds": time.time() - began})
            raise FailedTrialError(outcome["reason"]) from error
        finally:
            # Of the trial there remains what it wrote; the next one needs the memory.
            keras.utils.clear_session(free_memory=True)
            gc.collect()
        _write(f"{directory}/{_OUTCOME}", {**outcome, "seconds": before + time.time() - began})
        if self._tune.algorithm != "hyperband" and tf.io.gfile.exists(f"{directory}/{resume.STATE}"):
            tf.io.gfile.remove(f"{directory}/{resume.STATE}")

    def _run_and_update_trial(self, trial: trials.Trial, *fit_args: Any, **fit_kwargs: Any) -> None:
        # The oracle heard of every epoch already; KerasTuner's own would report the end once more.
        self.run_trial(trial, *fit_args, **fit_kwargs)

    def _train(self, trial: trials.Trial, outcome: dict[str, Any], directory: str) -> float:
        """Trains; returns the seconds that killed processes spent on the trial before."""
        settings = resolve(self._settings, outcome["values"])
        special = trial.hyperparameters.values
        is_hyperband = "tuner/epochs" in special
        # Files that belong to a training that stays.
        changes = {"checkpoint": None, "tensorboard": None} | ({"resume": True} if is_hyperband else {})
        settings = settings.model_copy(update={"train": settings.train.model_copy(update=changes)})
        epochs = min(special.get("tuner/epochs", self._epochs), settings.train.epochs)
        if past := special.get("tuner/trial_id"):
            self._go_on_from(past, directory)
        _count_attempts(directory)
        earlier_seconds = 0.0
        curve = outcome["curve"]

        def stop_after(history: list[dict[str, float]], kept: int) -> bool:
            nonlocal earlier_seconds
            if not np.isfinite(history[-1]["loss"]):
                return True  # refused when the training ends
            if not curve:
                earlier_seconds = sum(epoch["seconds"] for epoch in history[:-1])
            curve.append(float(history[kept][self._tune.objective]))
            _write(f"{directory}/{_BEGUN}", {"begun": 0})
            number = len(history)
            told = self.oracle.update_trial(
                trial.trial_id, {self._tune.objective: curve[-1]}, step=number
            ).status
            outcome["whole"] = number >= epochs or told != trials.TrialStatus.STOPPED
            return number >= epochs or told == trials.TrialStatus.STOPPED

        training.learn(settings, self._graph, self._splits, self._placement, directory, stop_after)
        return earlier_seconds

    def _go_on_from(self, past: str, directory: str) -> None:
        """Hyperband lets the better trials go on: from the beginning of the last epoch that they trained."""
        state, mine = (f"{folder}/{resume.STATE}" for folder in (self.get_trial_dir(past), directory))
        if tf.io.gfile.exists(state) and not tf.io.gfile.exists(mine):
            tf.io.gfile.copy(state, mine)

    def _outcomes(self) -> dict[str, dict[str, Any]]:
        """What the trials that ended left, by trial, whichever process ran them."""
        found = tf.io.gfile.glob(f"{self.project_dir}/trial_*/{_OUTCOME}")
        return {path.split("/")[-2].removeprefix("trial_"): _read(path) for path in found}

    def record(self) -> record.Search:
        """The search so far."""
        judge, outcomes = self._judge, self._outcomes()
        rows = [trial.model_copy(update={"earlier": True}) for trial in self._earlier]
        for one in judge.start_order:
            trial, outcome = judge.trials[one], outcomes.get(one)
            if outcome is None or trial.status not in ("COMPLETED", "FAILED"):
                continue  # killed, and not gone on with
            status, reason = "completed", outcome["reason"]
            if trial.status == "FAILED":
                status = "failed"
            elif not outcome["whole"]:
                status, reason = _STOPS[judge.stopped[one]]
            row = {"values": outcome["values"], "curve": outcome["curve"], "seconds": outcome["seconds"]}
            score = None if status == "failed" else trial.score
            rows.append(record.Trial(number=0, score=score, status=status, reason=reason, **row))
        return record.Search(
            objective=self._tune.objective,
            sign=self._tune.sign,
            algorithm=self._tune.algorithm,
            context=self._context,
            defaults=self._tune.defaults,
            seconds=judge.seconds,
            ended=judge.ended,
            trials=[row.model_copy(update={"number": number}) for number, row in enumerate(rows)],
        )

    def get_best_hyperparameters(self, num_trials: int = 1) -> list[keras_tuner.HyperParameters]:
        """The best values as the configuration takes them, which is how the trainer gets them."""
        best = []
        for trial in self.record().finished[:num_trials]:
            best.append(self._judge.get_space())
            best[-1].values = trial.values
        return best

    def forget(self) -> None:
        """Deletes what a killed search would have gone on from."""
        tf.io.gfile.rmtree(self.project_dir)

    def _refuse_failures(self) -> None:
        search = self.record()
        failed = [trial for trial in search.trials if trial.status == "failed"]
        if len(failed) < self._tune.max_failures and search.finished:
            return
        if not failed:
            raise InputError("Tuning: no trial ended an epoch within tune.minutes; raise it.")
        values = ", ".join(f"{key}={value}" for key, value in failed[-1].values.items())
        raise InputError(
            f"Tuning: {len(failed)} of {len(search.trials)} trials failed, the last with {values}: "
            f"{failed[-1].reason.rstrip('.')}. Narrow the search spaces; or raise tune.max_failures (now "
            f"{self._tune.max_failures}), and the next run goes on with the trials that are done."
        )


#: Status and reason of trials that the oracle stopped, by its word.
_STOPS = {
    "minutes": ("cut", "tune.minutes were used up"),
    "median": ("stopped", "worse than the median of earlier trials at that epoch"),
}


def _count_attempts(directory: str) -> None:
    """Refuses a trial that ended its process several times, say for lack of memory."""
    path = f"{directory}/{_BEGUN}"
    begun = _read(path)["begun"] if tf.io.gfile.exists(path) else 0
    if begun >= _ATTEMPTS:
        raise InputError(
            f"its process ended {begun} times in the same epoch without a word; probably it ran out of memory"
        )
    _write(path, {"begun": begun + 1})


def _reason(error: Exception) -> str:
    """Why a trial failed, in a line."""
    if isinstance(error, tf.errors.ResourceExhaustedError | MemoryError):
        return "out of memory: a smaller network, batch or image would fit"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0]


def _read(path: str) -> dict[str, Any]:
    with tf.io.gfile.GFile(path) as file:
        return json.loads(file.read())


def _write(path: str, content: dict[str, Any]) -> None:
    with tf.io.gfile.GFile(f"{path}.new", "w") as file:
        file.write(json.dumps(content))
    tf.io.gfile.rename(f"{path}.new", path, overwrite=True)
