"""The report's section on tuning, from records of searches of every kind."""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from components.report import page
from components.report.context import Context
from components.report.plots import tuning as plots
from components.report.plots.style import to_svg
from components.report.sections import tuning
from components.report.sources import Sources, Uris
from modules.tuning.record import FILE, Search, Trial

RATE, BATCH, SCHEDULE = "train.learning_rate", "train.batch_size", "train.schedule"


def _search(trials: list[tuple[dict[str, Any], float | None, str]], **more: Any) -> Search:
    made = [
        Trial(
            number=number,
            values=values,
            score=score,
            curve=[] if score is None else [score],
            seconds=2.5,
            status=status,
            reason="out of memory" if status == "failed" else "",
        )
        for number, (values, score, status) in enumerate(trials)
    ]
    named = {"objective": "val_accuracy", "sign": 1, "ended": "trials", "context": "", **more}
    return Search(algorithm="random", defaults=made[0].values, seconds=90, trials=made, **named)


MANY = _search(
    [
        (
            {RATE: 1e-3 * 1.7**number, BATCH: (16, 64)[number % 2], SCHEDULE: {"kind": "cosine"}},
            None if number == 5 else 0.9 + 0.001 * number,
            "failed" if number == 5 else ("completed", "stopped", "cut")[number % 3],
        )
        for number in range(9)
    ]
)


def _context(search: Search | None, folder: pathlib.Path) -> Context:
    uris = Uris("", "", "", "", "", tuner_results=None if search is None else str(folder))
    if search is not None:
        (folder / FILE).write_text(search.model_dump_json())
    return Context(Sources(uris))


def test_every_trial_stands_in_the_table_the_best_first(tmp_path: pathlib.Path) -> None:
    (table,) = tuning.trials(_context(MANY, tmp_path))
    assert len(table.rows) == 9
    assert table.columns[:2] == ["trial", "val_accuracy"]
    assert table.rows[0][:2] == [8, pytest.approx(0.908)]
    assert table.rows[-1][:2] == [5, None]
    assert table.rows[-1][-1] == "out of memory"


def test_what_was_found_is_compared_with_the_defaults(tmp_path: pathlib.Path) -> None:
    text, table = tuning.found(_context(MANY, tmp_path))
    assert "9 trials in 1.5 minutes" in text.text
    assert "val_accuracy gained 0.0080 over the defaults" in text.text
    assert [BATCH, "16", "16"] in table.rows
    assert table.rows[-1] == ["val_accuracy", 0.9, pytest.approx(0.908)]


def test_a_loss_goes_down(tmp_path: pathlib.Path) -> None:
    search = _search(
        [({BATCH: 16}, 0.5, "completed"), ({BATCH: 32}, 0.4, "completed")], objective="val_loss", sign=-1
    )
    text, _ = tuning.found(_context(search, tmp_path))
    assert "val_loss gained 0.1000" in text.text
    line = plots.scores(search).axes[0].get_lines()[-1]
    assert list(line.get_ydata()) == [0.5, 0.4]


def test_parallel_coordinates_have_a_line_for_each_trial_with_a_score() -> None:
    axes = plots.parallel(MANY).axes[0]
    lines = [line for line in axes.get_lines() if len(line.get_xdata()) == 4]
    assert len(lines) == 8
    best = lines[-1]
    assert best.get_linewidth() > lines[0].get_linewidth()
    assert best.get_ydata()[0] == pytest.approx(1)  # the highest rate
    assert best.get_ydata()[-1] == pytest.approx(1)  # and the highest score
    assert all(0 <= height <= 1 for line in lines for height in line.get_ydata())


@pytest.mark.parametrize(
    "search",
    [
        _search([({BATCH: 16}, 0.5, "completed")]),
        _search([({BATCH: 16}, None, "failed"), ({BATCH: 32}, 0.5, "completed")]),
        _search([({RATE: 10.0**-number, SCHEDULE: None}, 0.5, "completed") for number in range(8)]),
        _search([({"augment.0": one}, 0.5, "completed") for one in ("blur", {"blur": {}}, True, None)]),
    ],
)
def test_odd_searches_can_be_drawn(search: Search) -> None:
    for plot in (plots.scores, plots.parallel):
        assert to_svg(plot(search), "plot", "alt").startswith("<svg")


def test_without_a_search_there_is_nothing_to_say(tmp_path: pathlib.Path) -> None:
    context = _context(None, tmp_path)
    assert [block for part in tuning.PARTS.values() for block in part(context)] == []
    assert "tuning" in [anchor for anchor, _, _ in page.SECTIONS]
