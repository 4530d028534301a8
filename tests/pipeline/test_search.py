"""Search spaces in the configuration: taken where they stand, checked before anything runs."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import pytest

from modules.errors import InputError
from modules.settings import TrainerSettings
from modules.tuning import record
from modules.tuning.spaces import Space, resolve
from pipeline import config, search


@pytest.fixture
def load(tmp_path: pathlib.Path):
    def load(text: str, *overrides: str) -> config.Config:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return config.load(path, overrides)

    return load


EVERYWHERE = """
tune: {trials: 5}
model: {architecture: fashion_cnn, l2: {float: [1.0e-6, 1.0e-3], log: true}}
transform: {scaling: {choice: [standardize, unit]}}
train:
  epochs: 6
  learning_rate: {float: [1e-4, 1e-2], log: true}
  batch_size: {choice: [16, 64]}
  clip_norm: {choice: [null, 1.0]}
  early_stopping: {patience: {int: [1, 9]}}
  schedule: {choice: [{kind: constant}, {kind: cosine, warmup_epochs: 1}]}
  momentum: {float: [0.1, 0.9], default: 0.8}
  optimizer: sgd
augment:
  - horizontal_flip
  - one_of: {steps: [rotation: {degrees: {float: [5, 30]}}, blur]}
  - {choice: [blur, gaussian_noise]}
"""


def test_spaces_leave_their_defaults_in_place(load) -> None:
    loaded = load(EVERYWHERE)
    assert loaded.tune.defaults == {
        # The declared default where it lies in the space, else the middle or the first choice.
        "model.l2": pytest.approx(3.16228e-5),
        "transform.scaling": "unit",
        "train.learning_rate": 1e-3,
        "train.batch_size": 16,
        "train.clip_norm": None,
        "train.early_stopping.patience": 5,
        "train.schedule": {"kind": "constant"},
        "train.momentum": 0.8,
        "augment.1.one_of.steps.0.rotation.degrees": 15.0,
        "augment.2": "blur",
    }
    assert loaded.model.options.l2 == pytest.approx(3.16228e-5)
    assert loaded.train.early_stopping.patience == 5
    assert loaded.augment[1].steps[0].degrees == 15
    assert [step.name for step in loaded.augment] == ["horizontal_flip", "one_of", "blur"]
    # And it goes to the worker process as JSON.
    assert config.Config.model_validate(json.loads(json.dumps(loaded.model_dump(mode="json")))) == loaded


def test_the_best_values_are_merged_into_the_settings(load) -> None:
    loaded = load(EVERYWHERE)
    settings = TrainerSettings(
        pixels=loaded.data.pixels, model=loaded.model, train=loaded.train, augment=loaded.augment
    )
    merged = resolve(
        settings,
        {
            "model.l2": 1e-4,
            "transform.scaling": "standardize",
            "train.learning_rate": 0.002,
            "train.clip_norm": 1.0,
            "train.early_stopping.patience": 7,
            "train.schedule": {"kind": "cosine", "warmup_epochs": 1},
            "augment.1.one_of.steps.0.rotation.degrees": 25.5,
            "augment.2": "gaussian_noise",
            "tuner/epochs": 3,
        },
    )
    assert merged.model.options.l2 == 1e-4
    assert merged.scaling == "standardize"
    assert merged.train.learning_rate == 0.002
    assert merged.train.clip_norm == 1.0
    assert merged.train.early_stopping.patience == 7
    assert merged.train.schedule.kind == "cosine"
    assert merged.augment[1].steps[0].degrees == 25.5
    assert merged.augment[2].name == "gaussian_noise"
    assert merged.train.epochs == 6
    assert merged.train.batch_size == 16


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {learning_rate: {float: [1e-2, 1e-4]}}", "the lowest value, 0.01, is not below the highest"),
        ("train: {learning_rate: {float: [0, 1], log: true}}", "log needs a lowest value above 0"),
        ("train: {learning_rate: {float: [1]}}", "takes two ends"),
        ("train: {learning_rate: {float: [a, b]}}", "'a' is no number"),
        ("train: {batch_size: {int: [1, 2.5]}}", "2.5 is no whole number"),
        ("train: {batch_size: {choice: []}}", "a choice needs at least two values"),
        ("train: {batch_size: {choice: [8, 8]}}", "each of them once"),
        ("train: {batch_size: {int: 3}}", "a search space is {float: [lowest, highest]}"),
        ("train: {batch_size: {int: [1, 8], defalt: 2}}", "a search space is {float: [lowest, highest]}"),
        ("train: {batch_size: {int: [1, 8], default: 9}}", "the default 9 lies outside"),
        ("train: {batch_size: {choice: [8, {int: [16, 32]}]}}", "within a choice"),
        (
            "train: {learning_rat: {float: [0.1, 1]}}",
            "train.learning_rat: unknown key; did you mean learning_rate?",
        ),
        (
            "train: {optimzer: {kind: {choice: [a, b]}}}",
            "train.optimzer: unknown key; did you mean optimizer?",
        ),
        ("augment: [{rotation: {degree: {float: [1, 2]}}}]", "unknown option; did you mean degrees?"),
        (
            "train: {learning_rate: {float: [-1, 1]}}",
            "greater than 0 (received -1) [the search space of train.learn",
        ),
        ("train: {optimizer: {choice: [adam, adamm]}}", "the search space of train.optimizer holds 'adamm'"),
        (
            "train: {momentum: 0.9, optimizer: {choice: [sgd, adam]}}",
            "momentum is an option of sgd and rmsprop",
        ),
        ("model: {architecture: {choice: [mlp, mlq]}}", "no network is called 'mlq'"),
        (
            "transform: {resize: {choice: [crop, pad]}}",
            "transform.resize: only keys of model, train, augment",
        ),
        ("data: {channels: {choice: [1, 3]}}", "data.channels: only keys of model, train, augment"),
        ("train: {devices: {choice: [cpu, gpu]}}", "it changes nothing of what is learned"),
        ("train: {devices: workers, batch_size: {choice: [8, 16]}}", "train.devices: workers"),
        ("train: {epochs: 3, batch_size: {choice: [8, 16]}}", "tune.epochs: 5 is more than the training has"),
        ("train: {batch_size: 8}", "there is nothing to tune"),
    ],
)
def test_a_space_that_makes_no_sense_is_refused(load, text: str, message: str) -> None:
    with pytest.raises(InputError) as refused:
        load(f"tune: {{epochs: 5}}\n{text}")
    assert message in str(refused.value)
    assert "config.yaml: " in str(refused.value)


def test_a_space_needs_the_section(load) -> None:
    with pytest.raises(InputError, match=r"train\.batch_size: a search space without a section tune"):
        load("train: {batch_size: {choice: [8, 16]}}")
    with pytest.raises(InputError, match=r"tune\.trails: unknown key; did you mean trials"):
        load("tune: {trails: 3}\ntrain: {batch_size: {choice: [8, 16]}}")


def test_a_class_may_be_called_int(load) -> None:
    assert load("train: {class_weights: {int: 2, float: 1}}").train.class_weights == {"int": 2, "float": 1}


def test_every_network_of_a_search_can_be_built_before_it_begins(load) -> None:
    loaded = load(
        "tune: {}\nmodel: {architecture: {choice: [mnist_cnn, simple_cnn]}}\ntrain: {batch_size: 8}"
    )
    found = {remark: model.architecture for remark, model in search.networks(loaded)}
    assert found == {
        "": "simple_cnn",
        "model.architecture: the search space holds 'mnist_cnn': ": "mnist_cnn",
    }


def _record(path: pathlib.Path, values: dict[str, Any]) -> None:
    trials = [
        record.Trial(
            number=number, values=values | more, score=score, curve=[score], seconds=1, status="completed"
        )
        for number, (score, more) in enumerate([(0.5, {"train.batch_size": 16}), (0.7, {})])
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    found = record.Search(
        objective="val_accuracy",
        sign=1,
        algorithm="random",
        context="",
        defaults=trials[0].values,
        seconds=2,
        ended="trials",
        trials=trials,
    )
    path.write_text(found.model_dump_json(), encoding="utf-8")


def test_an_earlier_search_can_be_used_in_place_of_a_new_one(load, tmp_path: pathlib.Path) -> None:
    values = {"train.batch_size": 64, "transform.scaling": "tf", "train.early_stopping.patience": 3}
    text = """
        tune: {use: before}
        train: {batch_size: {choice: [16, 64]}, early_stopping: {patience: {int: [1, 9]}}}
    """
    with pytest.raises(InputError, match="There is no search in"):
        load(text)
    _record(tmp_path / "before" / "artifacts" / "Tuner" / "tuner_results" / "7" / "trials.json", values)
    loaded = load(text)
    assert loaded.tune is None
    assert loaded.train.batch_size == 64
    assert loaded.train.early_stopping.patience == 3
    assert loaded.transform.scaling == "tf"
    # Also over a configuration that has no spaces.
    assert load("", "tune.use=before").train.batch_size == 64


@pytest.mark.parametrize(
    "space",
    [
        {"float": [0.001, 0.1], "log": True},
        {"float": [0, 1], "step": 0.25},
        {"int": [1, 9]},
        {"int": [8, 64], "log": True, "step": 2},
        {"choice": [1, 0.5]},
        {"choice": [True, False, None, "one", {"kind": "cosine"}]},
    ],
)
def test_values_survive_the_way_through_keras_tuner(space: dict[str, Any]) -> None:
    parsed = Space.model_validate(space)
    for value in [*parsed.points(), *parsed.values, parsed.middle()]:
        back = parsed.decode(parsed.encode(value))
        assert back == value
        assert type(back) is type(value) or parsed.kind == "float"
        assert parsed.contains(back)
    assert Space.model_validate(parsed.model_dump(mode="json")) == parsed
    if space.get("step") == 2:
        assert parsed.points() == [8, 16, 32, 64]
