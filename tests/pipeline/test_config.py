"""The configuration: defaults, overrides, and a helpful line for every mistake."""

from __future__ import annotations

import pathlib

import pytest

from modules.errors import InputError
from pipeline import config


@pytest.fixture
def write(tmp_path: pathlib.Path):
    def write(text: str) -> pathlib.Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def test_an_empty_file_is_all_defaults(write) -> None:
    loaded = config.load(write(""))
    assert loaded == config.Config()
    assert loaded.model.architecture == "simple_cnn"


def test_paths_are_relative_to_the_file(write, tmp_path: pathlib.Path) -> None:
    loaded = config.load(write("data: {path: photos}"))
    assert loaded.data.path == str(tmp_path / "photos")


def test_data_option_is_relative_to_the_working_directory(write, monkeypatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.chdir(tmp_path.parent)
    loaded = config.load(write("data: {path: photos}"), data="elsewhere")
    assert loaded.data.path == str(tmp_path.parent / "elsewhere")


def test_overrides_apply_in_order(write) -> None:
    loaded = config.load(
        write("train: {epochs: 3}"),
        [
            "train.epochs=5",
            "train.learning_rate=1e-3",
            "data.image_size=[28, 32]",
            "data.split={train: 0.6, validation: 0.2, test: 0.2, seed: 7}",
            "model.architecture=mnist_cnn",
            "model.style=subclass",
            "train.epochs=6",
        ],
    )
    assert loaded.train.epochs == 6
    assert loaded.train.learning_rate == 1e-3
    assert loaded.data.image_size == (28, 32)
    assert loaded.data.split.seed == 7
    assert loaded.model.options.style == "subclass"


def test_a_config_survives_the_way_to_the_worker(write) -> None:
    loaded = config.load(write("model: {architecture: mnist_cnn, style: subclass}\ndata: {path: x}"))
    assert config.Config.model_validate(loaded.model_dump(mode="json")) == loaded


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("model: {architecture: simple_cn}", "did you mean 'simple_cnn'"),
        (
            "model: {architecture: mnist_cnn, styl: functional}",
            "model.styl: unknown key; did you mean style?",
        ),
        ("data: {image_siz: [3, 3]}", "data.image_siz: unknown key; did you mean image_size?"),
        ("trian: {epochs: 3}", "trian: unknown key; did you mean train?"),
        ("train: {epochs: 0}", "train.epochs: Input should be greater than or equal to 1 (received 0)"),
        ("train: {optimizer: adm}", "train.optimizer"),
        ("data: {image_size: [0, 28]}", "data.image_size.0"),
        ("data: {channels: 2}", "data.channels"),
        ("data: {split: {train: 0.9, validation: 0.2, test: 0.1}}", "must be 1"),
        ("train: [1, 2", "line 1"),
        (
            "train:\n  epochs: 3\n  epochs: 4",
            "line 3, column 3: not valid YAML: the key 'epochs' stands twice",
        ),
        ("- a list", "received a list"),
        ("gate: {schema_file: nowhere.pbtxt}", "gate.schema_file: there is no file"),
    ],
)
def test_mistakes_name_the_place_and_the_way_out(write, text: str, expected: str) -> None:
    path = write(text)
    with pytest.raises(InputError) as caught:
        config.load(path)
    assert expected in str(caught.value)
    assert str(path.parent) in str(caught.value)


@pytest.mark.parametrize(
    "override", ["train.epochs", "=3", "train..epochs=3", "train.epochs.deep=3", "train.epochs=[1"]
)
def test_malformed_overrides_are_refused(write, override: str) -> None:
    with pytest.raises(InputError, match="--set"):
        config.load(write("train: {epochs: 3}"), [override])


def test_a_missing_file_is_named(tmp_path: pathlib.Path) -> None:
    with pytest.raises(InputError, match=r"no configuration file .*nowhere\.yaml"):
        config.load(tmp_path / "nowhere.yaml")


def test_every_example_configuration_loads() -> None:
    examples = sorted((pathlib.Path(__file__).parents[2] / "configs").glob("*.yaml"))
    assert examples
    for example in examples:
        config.load(example)
