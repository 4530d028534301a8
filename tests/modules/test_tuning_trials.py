"""Trials that are real trainings: failures, a kill, another search's figures, several processes."""

from __future__ import annotations

import functools
import io
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_transform.beam as tft_beam
from PIL import Image
from tensorflow_transform.tf_metadata import dataset_metadata, schema_utils
from tfx.components.trainer.fn_args_utils import FnArgs

from modules import devices, features, preprocessing, resume, training
from modules.errors import InputError
from modules.settings import PixelSettings, TrainerSettings, TransformSettings
from modules.transform_graph import TransformGraph
from modules.tuning import record
from modules.tuning.spaces import resolve
from modules.tuning.tuner import SettingsTuner, tuner_fn

ROOT = pathlib.Path(__file__).parents[2]
PIXELS = PixelSettings(image_size=(8, 8), channels=1)
SPEC = {
    features.IMAGE: tf.io.FixedLenFeature([], tf.string),
    features.LABEL: tf.io.FixedLenFeature([], tf.string),
}


def _examples(images: int, seed: int) -> list[dict[str, bytes]]:
    """Noise of three brightnesses: learnable, and never all right."""
    rng = np.random.default_rng(seed)
    examples = []
    for number in range(images):
        noise = rng.normal(70 + 50 * (number % 3), 90, (8, 8)).clip(0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(noise).save(file, "PNG")
        name = ("dark", "light", "lighter")[number % 3]
        examples.append({features.IMAGE: file.getvalue(), features.LABEL: name.encode()})
    return examples


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Examples of both splits, and Transform's graph with three scalings."""
    folder = tmp_path_factory.mktemp("data")
    splits = {"train": _examples(90, seed=0), "validation": _examples(60, seed=1)}
    for split, examples in splits.items():
        (folder / split).mkdir()
        with tf.io.TFRecordWriter(str(folder / split / "data.tfrecord")) as writer:
            for example in examples:
                values = {
                    name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                    for name, value in example.items()
                }
                message = tf.train.Example(features=tf.train.Features(feature=values))
                writer.write(message.SerializeToString())
    settings = preprocessing.PreprocessingSettings(
        pixels=PIXELS,
        transform=TransformSettings(),
        background=(255, 255, 255),
        scalings=("unit", "tf", "standardize"),
    )
    function = functools.partial(
        preprocessing.preprocessing_fn, custom_config={"settings": settings.model_dump_json()}
    )
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(SPEC))
    options = beam.options.pipeline_options.PipelineOptions(
        ["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
    )
    with beam.Pipeline(options=options) as pipeline, tft_beam.Context(temp_dir=str(folder / "temp")):
        graph = (pipeline | beam.Create(splits["train"]), metadata) | tft_beam.AnalyzeDataset(function)
        graph | tft_beam.WriteTransformFn(str(folder / "graph"))
    return folder


RATE = {"train.learning_rate": {"float": [1e-3, 0.3], "log": True, "default": 1e-3}}


def _fn_args(
    data: pathlib.Path, root: pathlib.Path, train: dict[str, Any] | None = None, **tune: Any
) -> FnArgs:
    settings = TrainerSettings.model_validate(
        {
            "pixels": PIXELS,
            "model": {"architecture": "mlp"},
            "train": {
                "epochs": 3,
                "batch_size": 16,
                "learning_rate": 1e-3,
                "optimizer": "sgd",
                **(train or {}),
            },
        }
    )
    return FnArgs(
        train_files=[f"{data}/train/*"],
        eval_files=[f"{data}/validation/*"],
        transform_graph_path=f"{data}/graph",
        working_dir=f"{root}/unfinished",
        custom_config={
            "settings": settings.model_dump_json(),
            "tune": json.dumps(
                {"spaces": RATE, "trials": 4, "algorithm": "random", "early_stop": "none", **tune}
            ),
            "code": "",
        },
    )


def _search(*arguments: Any, **named: Any) -> tuple[SettingsTuner, record.Search]:
    tuner = tuner_fn(_fn_args(*arguments, **named)).tuner
    tuner.search()
    return tuner, tuner.record()


def test_the_best_settings_train_to_the_figure_that_their_trial_reached(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    spaces = RATE | {"transform.scaling": {"choice": ["unit", "standardize"], "default": "unit"}}
    tuner, search = _search(data, tmp_path, spaces=spaces, trials=4, seed=5)
    assert [trial.status for trial in search.trials] == ["completed"] * 4
    assert search.default.number == 0
    assert search.best.score > search.default.score
    assert search.summary()["gain"] == search.best.score - search.default.score
    # What TFX hands to the trainer.
    (best,) = tuner.get_best_hyperparameters()
    fn_args = _fn_args(data, tmp_path)
    settings = TrainerSettings.model_validate_json(fn_args.custom_config["settings"])
    resolved = resolve(settings, best.get_config()["values"])
    assert resolved.train.learning_rate == search.best.values["train.learning_rate"]
    graph = TransformGraph(fn_args.transform_graph_path)
    splits = training.decode(fn_args, graph, 100)
    directory = resume.folder(str(tmp_path / "training"), "once more")
    _, fit = training.learn(resolved, graph, splits, devices.place("cpu"), directory)
    (kept,) = [epoch for epoch in fit.history if epoch["kept"]]
    assert kept["val_accuracy"] == search.best.score


def test_a_scaling_that_is_tuned_is_the_one_that_transform_computed(data: pathlib.Path) -> None:
    graph = TransformGraph(f"{data}/graph")
    pixels = np.stack([tf.io.decode_image(one[features.IMAGE]) for one in _examples(90, seed=0)])
    scale, offset = graph.scaling("standardize")
    seen = pixels * scale + offset
    assert (seen.mean(), seen.std()) == (pytest.approx(0, abs=1e-5), pytest.approx(1, abs=1e-4))
    np.testing.assert_allclose(graph.scaling("tf"), [[1 / 127.5], [-1]], rtol=1e-6)
    np.testing.assert_array_equal(graph.scaling(), graph.scaling("unit"))


def test_failed_trials_are_recorded_and_too_many_end_the_search(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # A rate that diverges, and a head that this data refuse, which nobody knew before the data.
    spaces = {
        "train.learning_rate": {"choice": [1e-3, 1e30]},
        "model.head": {"choice": ["softmax", "sigmoid"]},
    }
    for space in spaces.values():
        space["default"] = space["choice"][0]
    grid = {"spaces": spaces, "algorithm": "grid"}
    with pytest.raises(InputError, match=r"2 of 3 trials failed, the last with .*raise tune\.max_failures"):
        _search(data, tmp_path, max_failures=2, **grid)
    done = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("outcome.json")}
    assert len(done) == 3
    _, search = _search(data, tmp_path, max_failures=4, **grid)
    assert {path: path.stat().st_mtime_ns for path in done} == done, "the three were not run again"
    by_values = {tuple(trial.values.values()): trial for trial in search.trials}
    assert {key: trial.status for key, trial in by_values.items()} == {
        (1e-3, "softmax"): "completed",
        (1e-3, "sigmoid"): "failed",
        (1e30, "softmax"): "failed",
        (1e30, "sigmoid"): "failed",
    }
    assert "sigmoid needs two classes" in by_values[1e-3, "sigmoid"].reason
    assert "Training diverged" in by_values[1e30, "softmax"].reason
    assert search.best.values == {"train.learning_rate": 1e-3, "model.head": "softmax"}


def test_lack_of_memory_fails_the_trial_alone(
    data: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn = training.learn

    def greedy(settings: TrainerSettings, *rest: Any) -> Any:
        if settings.train.batch_size == 64:
            raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
        return learn(settings, *rest)

    monkeypatch.setattr(training, "learn", greedy)
    spaces = {"train.batch_size": {"choice": [16, 64], "default": 16}}
    _, search = _search(data, tmp_path, spaces=spaces, algorithm="grid")
    assert [trial.status for trial in search.trials] == ["completed", "failed"]
    assert search.trials[1].reason.startswith("out of memory")


def test_hyperband_goes_on_with_the_weights_of_the_trial_before(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    # The defaults; three of an epoch each, of which the best goes on; and the next bracket.
    _, search = _search(data, tmp_path, algorithm="hyperband", trials=6, seed=2)
    whole, *short = search.trials
    assert whole.values == search.defaults
    assert whole.epochs == 3
    assert [trial.epochs for trial in short] == [1, 1, 1, 3, 3]
    (before,) = [trial for trial in short[:3] if trial.values == short[3].values]
    assert before.score == max(trial.score for trial in short[:3])
    assert short[3].curve[0] == before.curve[0]


CHILD = """
import sys
from tests.modules import test_tuning_trials as shared
import pathlib
shared._search(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), trials=6, minutes=30)
"""


def _start(code: str, *arguments: str, **environment: str) -> subprocess.Popen:
    command = [sys.executable, *(("-c", code) if code else ()), *arguments]
    return subprocess.Popen(command, cwd=ROOT, env=os.environ | environment, stderr=subprocess.PIPE)


def _outcomes(root: pathlib.Path) -> dict[str, int]:
    return {path.parent.name: path.stat().st_mtime_ns for path in root.rglob("outcome.json")}


def test_a_search_killed_after_three_trials_runs_the_others_alone(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    child = _start(CHILD, str(data), str(tmp_path))
    while len(_outcomes(tmp_path)) < 3 and child.poll() is None:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    assert child.wait() == -signal.SIGKILL, child.stderr.read().decode()[-2000:]
    done = _outcomes(tmp_path)
    assert len(done) < 6
    tuner, search = _search(data, tmp_path, trials=6, minutes=30)
    assert len(search.trials) == 6
    assert done.items() <= _outcomes(tmp_path).items(), "a trial that was done ran again"
    assert search.seconds > sum(trial.seconds for trial in search.trials), "the time before counts"
    tuner.forget()
    assert list(tmp_path.glob("unfinished/*")) == []


AT_A_BAD_MOMENT = """
import os, signal, sys, pathlib
from tests.modules import test_tuning_trials as shared
from modules.tuning import oracles, tuner
moment = sys.argv[3]
owner = {"on_trial_end": tuner.SettingsTuner, "_save_trial": oracles.Budgeted}[moment]
real, calls = getattr(owner, moment), []
def one(self, trial):
    if moment == "_save_trial":
        real(self, trial)
    if trial.trial_id == "1" and not calls.append(0):
        os.kill(os.getpid(), signal.SIGKILL)
    if moment != "_save_trial":
        real(self, trial)
setattr(owner, moment, one)
shared._search(pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), trials=3)
"""


@pytest.mark.parametrize(("moment", "ended"), [("on_trial_end", 2), ("_save_trial", 1)])
def test_a_search_killed_between_two_files_loses_no_trial_and_repeats_none(
    data: pathlib.Path, tmp_path: pathlib.Path, moment: str, ended: int
) -> None:
    # When a trial has ended that the oracle has not heard of, and when one is written that it has not named.
    child = _start(AT_A_BAD_MOMENT, str(data), str(tmp_path), moment)
    complaint = child.communicate()[1].decode()
    assert child.returncode == -signal.SIGKILL, complaint[-2000:]
    done = _outcomes(tmp_path)
    assert len(done) == ended
    _, search = _search(data, tmp_path, trials=3)
    assert [trial.status for trial in search.trials] == ["completed"] * 3
    assert done.items() <= _outcomes(tmp_path).items(), "a trial that was done ran again"


def test_a_trial_that_ends_its_process_again_and_again_is_given_up(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    tuner = tuner_fn(_fn_args(data, tmp_path, trials=1)).tuner
    folder = pathlib.Path(tuner.get_trial_dir("0"))
    (folder / "begun.json").write_text('{"begun": 3}')
    with pytest.raises(InputError, match="its process ended 3 times"):
        tuner.search()


def test_a_later_search_takes_over_what_an_earlier_one_did(
    data: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    _, first = _search(data, tmp_path / "first", trials=3)
    (tmp_path / "trials.json").write_text(first.model_dump_json())
    path = str(tmp_path / "trials.json")
    _, second = _search(data, tmp_path / "second", trials=1, seed=7, warm_start_from=path)
    assert [(one.values, one.curve, one.earlier) for one in second.trials[:3]] == [
        (one.values, one.curve, True) for one in first.trials
    ]
    assert len(second.trials) == 4
    assert second.trials[3].values not in [one.values for one in first.trials]
    assert second.best.score >= first.best.score
    assert second.default.score == first.default.score
    assert second.summary()["trials"] == 1
    # With other fixed settings the figures do not hold: the values are tried again.
    _, third = _search(
        data, tmp_path / "third", train={"seed": 1}, trials=2, early_stop="none", warm_start_from=path
    )
    assert [one.earlier for one in third.trials] == [False, False]
    assert third.trials[0].values == first.defaults
    best = [one.values for one in first.finished if one.values != first.defaults]
    assert third.trials[1].values == best[0]


@pytest.mark.slow
def test_a_chief_and_two_workers_share_a_search(data: pathlib.Path, tmp_path: pathlib.Path) -> None:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    address = {"KERASTUNER_ORACLE_IP": "127.0.0.1", "KERASTUNER_ORACLE_PORT": port}
    code = """
import sys, pathlib
from tests.modules import test_tuning_trials as shared
data, root = map(pathlib.Path, sys.argv[1:])
_, search = shared._search(data, root, spaces=shared.SHARED, trials=8)
(root / "trials.json").write_text(search.model_dump_json())
"""
    chief = _start(code, str(data), str(tmp_path), KERASTUNER_TUNER_ID="chief", **address)
    module = ("-m", "modules.tuning.worker", str(tmp_path), "--wait", "250")
    workers = [_start("", *module, KERASTUNER_TUNER_ID=name, **address) for name in ("one", "two")]
    for process in (*workers, chief):
        error = process.communicate(timeout=280)[1]
        assert process.returncode == 0, error.decode()[-3000:]
    search = record.read(str(tmp_path))
    assert len(search.trials) == 8
    assert search.trials[0].values == search.defaults
    assert {trial.status for trial in search.trials} == {"completed", "failed"}
    # Reasons come from the workers, although KerasTuner does not send them.
    assert all("diverged" in trial.reason for trial in search.trials if trial.status == "failed")
    assert {path.name for path in tmp_path.rglob("*.json")} >= {"one.json", "two.json", "oracle.json"}


#: Some trials of it diverge.
SHARED = {"train.learning_rate": {"choice": [1e-3, 1e-2, 0.02, 0.03, 0.05, 0.1, 0.2, 1e30], "default": 1e-3}}
