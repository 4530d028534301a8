"""Plots of odd data, the way of a plot into the page, and what is said of the curves."""

from __future__ import annotations

import re

import numpy as np
import pytest

from components.report.blocks import number
from components.report.plots import data, mistakes, network, training
from components.report.plots.style import INK, to_svg
from components.report.sections.mistakes import pairs_confused
from components.report.sections.training import remark

NAMES = ["$5$ bill", "a name that is much too long for the side of a plot", "_", "<b>&"]


def _svg(figure) -> str:
    return to_svg(figure, "plot", "a plot")


def test_names_are_shown_as_they_are() -> None:
    text = _svg(data.balance({"train": dict.fromkeys(NAMES, 3), "test": {"_": 1}}))
    assert ">$5$ bill<" in text
    assert "&lt;b&gt;&amp;" in text
    assert "a name that is much t…" in text


def test_a_plot_takes_the_colour_and_the_font_of_the_page() -> None:
    text = _svg(mistakes.confusion(np.array([[3, 1], [0, 4]]), ["one", "two"]))
    assert INK not in text
    assert "currentColor" in text
    assert "<text" in text
    assert "font-family" not in text
    assert "<style" not in text
    assert all(name.startswith("plot-") for name in re.findall(r'\bid="([^"]*)"', text))
    used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', text))
    assert used <= set(re.findall(r'\bid="([^"]*)"', text))


@pytest.mark.parametrize("classes", [2, 30, 200])
def test_a_confusion_matrix_of_any_size_stays_small(classes: int) -> None:
    counts = np.random.default_rng(0).integers(0, 9, (classes, classes))
    assert len(_svg(mistakes.confusion(counts, [f"class {index}" for index in range(classes)]))) < 200_000


def test_equal_kernels_and_one_kernel_can_be_drawn() -> None:
    for shape in ((3, 3, 1, 1), (5, 5, 3, 7), (3, 3, 64, 40)):
        _svg(network.kernels(np.zeros(shape), None))
        _svg(network.kernels(np.zeros(shape), np.zeros(shape)))


def test_curves_of_one_epoch_can_be_drawn() -> None:
    epoch = {"epoch": 1, "loss": 0.4, "learning_rate": 0.0, "images_per_second": 9.0, "input_wait": 0.2}
    _svg(training.curves([epoch]))
    _svg(training.pace([epoch]))


def test_the_most_confused_pair_comes_first() -> None:
    assert pairs_confused(np.array([[5, 2, 0], [1, 4, 3], [0, 0, 9]])) == [(1, 2, 3), (0, 1, 2), (1, 0, 1)]


def _epochs(losses: list[float], validation: list[float], accuracy: float = 0.9) -> list[dict]:
    return [
        {
            "epoch": index + 1,
            "loss": loss,
            "val_loss": other,
            "accuracy": accuracy,
            "val_accuracy": 0.88,
            "kept": other == min(validation),
        }
        for index, (loss, other) in enumerate(zip(losses, validation, strict=True))
    ]


@pytest.mark.parametrize(
    ("history", "said"),
    [
        (_epochs([0.9, 0.5, 0.2, 0.1], [0.8, 0.5, 0.6, 0.9]), "part after epoch 2"),
        (_epochs([0.9, 0.5, 0.4], [0.8, 0.6, 0.5]), "still falling"),
        (_epochs([0.9, 0.5, 0.4, 0.39], [0.8, 0.5, 0.48, 0.49]), "stay together"),
        (_epochs([0.9, 0.5, 0.4, 0.39], [0.8, 0.5, 0.48, 0.49], accuracy=0.99), "partly by heart"),
        (_epochs([0.9], [0.8]), "One epoch"),
    ],
)
def test_the_remark_on_the_curves(history: list[dict], said: str) -> None:
    assert said in remark(history)[0]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"),
        (True, "✓"),
        (12345, "12,345"),
        (0.91434, "0.9143"),
        (3e-6, "3e-06"),
        (0.0, "0.0000"),
        (1234.56, "1,234.6"),
        (np.float32(0.5), "0.5000"),
    ],
)
def test_numbers_are_short(value: object, shown: str) -> None:
    assert number(value) == shown
