"""Tuning: what the search found, and all its trials."""

from __future__ import annotations

from collections.abc import Iterator

from components.report.blocks import Block, Plot, Table, Text
from components.report.context import Context
from components.report.plots import tuning
from modules.tuning.spaces import text

_ENDED = {
    "trials": "all trials were made",
    "minutes": "the minutes were used up",
    "space": "everything was tried",
}


def found(context: Context) -> Iterator[Block]:
    """The best values beside the defaults, and what they gained."""
    search = context.sources.search
    if search is None:
        return
    best, default = search.best, search.default
    counts = f"{len(search.trials)} trials in {search.seconds / 60:.1f} minutes"
    ended = f"; the search ended since {_ENDED[search.ended]}" if search.ended in _ENDED else ""
    if default is None:
        yield Text(f"{counts}{ended}. The trial of the defaults failed.", "note")
    else:
        gain = search.sign * (best.score - default.score)
        tone = "good" if gain > 0 else "note"
        yield Text(f"{counts}{ended}. {search.objective} gained {gain:.4f} over the defaults.", tone)
    rows = [[key, text(search.defaults.get(key)), text(value)] for key, value in best.values.items()]
    yield Table(
        ["", "default", "best"],
        [*rows, [search.objective, default.score if default else None, best.score]],
    )


def scores(context: Context) -> Iterator[Block]:
    """The score of every trial in their order."""
    if (search := context.sources.search) is not None:
        yield Plot(
            tuning.scores(search),
            f"{search.objective} of {len(search.trials)} trials in their order; the best is trial "
            f"{search.best.number} with {search.best.score:.4f}",
        )


def parallel(context: Context) -> Iterator[Block]:
    """Values and scores of all trials."""
    if (search := context.sources.search) is not None:
        yield Plot(
            tuning.parallel(search),
            f"Parallel coordinates: a line for each of {len(search.finished)} trials through its values and "
            f"its {search.objective}",
            "A line is a trial; the best is green, of the others the better ones are darker",
            wide=True,
        )


def trials(context: Context) -> Iterator[Block]:
    """Every trial, the best first."""
    search = context.sources.search
    if search is None:
        return
    ordered = [*search.finished, *(one for one in search.trials if one.score is None)]
    yield Table(
        ["trial", search.objective, "epochs", "seconds", "", *search.defaults, "remark"],
        [
            [
                one.number,
                one.score,
                one.epochs,
                round(one.seconds, 1),
                f"{one.status}, earlier" if one.earlier else one.status,
                *(text(one.values.get(key)) for key in search.defaults),
                one.reason,
            ]
            for one in ordered
        ],
        f"{len(ordered)} trials, the best first",
        folded=len(ordered) > 12,
    )


PARTS = {"What was found": found, "Scores": scores, "Values and scores": parallel, "Trials": trials}
