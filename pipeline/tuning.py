"""What a person sees of a search: a line while it goes on, and a table of what it found."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from modules.tuning.spaces import text


def progress(search: dict[str, Any], latest: dict[str, Any]) -> list[str]:
    """Words for the line of the node.

    Args:
      search: the last report of the stage `tuning`; `received` is when it came, by `time.monotonic`.
      latest: the last report of whatever stage, such as the epochs of the trial.
    """
    words = [f"trial {min(search['done'] + 1, search['total'])}/{search['total']}"]
    if "best" in search:
        words.append(f"best {search['best']:.4f}")
    elif "epoch" in latest:  # beside the best there is no room in 80 columns
        words.append(f"epoch {latest['epoch']}/{latest['epochs']}")
    if "seconds_left" in search:
        left = max(0.0, search["seconds_left"] - (time.monotonic() - search["received"]))
        minutes, seconds = divmod(int(left), 60)
        words.append(f"{minutes}:{seconds:02} left")
    return words


def show(console: Console, found: dict[str, Any]) -> None:
    """Prints the best values beside the defaults, and what they gained."""
    table = Table(box=None, pad_edge=False)
    table.add_column("tuned")
    table.add_column("default", justify="right")
    table.add_column("best", justify="right")
    for key, value in found["best"].items():
        default = found["defaults"].get(key)
        table.add_row(key, Text(text(default)), Text(text(value), "" if value == default else "bold"))
    scores = [found["default_score"], found["best_score"]]
    shown = ["failed" if score is None else f"{score:.4f}" for score in scores]
    table.add_row(found["objective"], *shown, style="green")
    console.print(table)
    made = "1 trial" if found["trials"] == 1 else f"{found['trials']} trials"
    failed = f", {found['failed']} of them failed" if found["failed"] else ""
    earlier = f"; {found['earlier']} earlier ones" if found["earlier"] else ""
    gain = "" if found["gain"] is None else f" A gain of {found['gain']:.4f} over the defaults."
    console.print(f"{made}{failed}{earlier}, {found['seconds'] / 60:.1f} min.{gain}", highlight=False)
