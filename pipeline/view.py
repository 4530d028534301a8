"""What a person sees of a run: the nodes while it goes on, and the summary at its end."""

from __future__ import annotations

import contextlib
import pathlib
import time
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline import tuning

_SPLITS = ("train", "validation", "test")


@dataclass
class _Node:
    state: str = "waiting"
    started: float = 0.0
    seconds: float | None = None
    # Progress by stage and process: done, total and the figures of the last report.
    progress: dict[str, dict[int, dict[str, Any]]] = field(default_factory=dict)


class RunView:
    """Shows the nodes of a run: redrawn in place on a terminal, a line each elsewhere.

    Use as a context manager and feed with `RunView.listen`.
    """

    _SIGNS = {  # noqa: RUF012 - a constant
        "waiting": ("·", "dim"),
        "running": ("▸", "cyan"),
        "complete": ("✓", "green"),
        "cached": ("✓", "blue"),
        "failed": ("✗", "red"),
        "interrupted": ("✗", "yellow"),
    }

    def __init__(self, console: Console):
        self._console = console
        self._live = (
            Live(console=console, refresh_per_second=8, transient=False) if console.is_terminal else None
        )
        self._nodes: dict[str, _Node] = {}
        self._current: str | None = None
        self._opened = time.monotonic()
        self._note = "starting"

    def __enter__(self) -> RunView:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        for name, node in self._nodes.items():
            if node.state == "running":
                node.state = "interrupted" if kind and not issubclass(kind, Exception) else "failed"
                node.seconds = time.monotonic() - node.started
                if not self._live:
                    self._line(name)
        self._note = ""
        if self._live:
            self._draw()
            self._live.stop()

    def listen(self, event: dict[str, Any]) -> None:
        """Takes one event or progress report of a run."""
        match event.get("event"):
            case "importing":
                self._note = "importing TFX"
            case "compiled":
                self._note = ""
                self._nodes = {name: _Node() for name in event["nodes"]}
            case "started":
                self._current = event["node"]
                self._nodes[self._current] = _Node("running", time.monotonic())
            case "finished":
                node = self._nodes[event["node"]]
                node.state = "cached" if event["cached"] else "complete"
                node.seconds = event["seconds"]
                if not self._live:
                    self._line(event["node"])
            case None if self._current:
                event = {**event, "received": time.monotonic()}
                self._nodes[self._current].progress.setdefault(event["stage"], {})[event["pid"]] = event
        if self._live:
            self._draw()

    def _line(self, name: str) -> None:
        node = self._nodes[name]
        self._console.print(f"{name:<18} {node.state:<11} {node.seconds:6.1f} s", highlight=False)

    def _draw(self) -> None:
        table = Table.grid(padding=(0, 1))
        table.add_column(width=1)
        table.add_column(min_width=17)
        table.add_column(min_width=8)
        table.add_column(justify="right", min_width=8)
        table.add_column(no_wrap=True)
        for name, node in self._nodes.items():
            sign, style = self._SIGNS[node.state]
            seconds = node.seconds
            if node.state == "running":
                seconds = time.monotonic() - node.started
            shown = "" if seconds is None else f"{seconds:.1f} s"
            more = self._progress(node) if node.state == "running" else ""
            table.add_row(Text(sign, style), name, Text(node.state, style), shown, more)
        note = Text(f"{self._note} {time.monotonic() - self._opened:.0f} s", "dim") if self._note else Text()
        self._live.update(Group(table, note) if self._note else table)

    def _progress(self, node: _Node) -> Table | Text | str:
        if not node.progress:
            return ""
        stage, reports = list(node.progress.items())[-1]
        done = sum(report["done"] for report in reports.values())
        total = max((report["total"] or 0) for report in reports.values())
        last = list(reports.values())[-1]
        if "tuning" in node.progress:
            # The trainings and their epochs come and go; the search is what one waits for.
            (search,) = list(node.progress["tuning"].values())[-1:]
            return Text("  ".join(tuning.progress(search, last)), "dim")
        words = [f"epoch {last['epoch']}/{last['epochs']}" if "epoch" in last else stage]
        if "val_accuracy" in last:
            words.append(f"val_acc {last['val_accuracy']:.4f}")
        if "epoch" not in last:
            words.append(f"{done:,}/{total:,}" if total else f"{done:,}")
        return _bar(done, total, words)


def _bar(done: int, total: int, words: list[str]) -> Table:
    row = Table.grid(padding=(0, 1))
    row.add_column()
    row.add_column(no_wrap=True)
    if total:
        row.add_row(ProgressBar(total, min(done, total), width=14), Text("  ".join(words), "dim"))
    else:
        row.add_row(Text("  ".join(words), "dim"))
    return row


def print_result(console: Console, result: dict[str, Any], log: str) -> None:
    """Prints how a run ended, for a person."""
    if "error" in result:
        if result["exit_code"] == 2:
            console.print(Text(result["error"], "red"), soft_wrap=True)
        else:
            where = f" in {result['failed_node']}" if result["failed_node"] else ""
            console.print(Text(f"Failed{where}: {result['error']}", "red"), soft_wrap=True)
            console.print(f"The log has more: {shown_path(log)}", highlight=False, soft_wrap=True)
        return
    if "tuning" in result:
        tuning.show(console, result["tuning"])
    if "up_to" in result:
        console.print(f"Ran up to {result['up_to']}.", highlight=False)
        return
    console.print(_data_table(result))
    console.print(_metrics_table(result))
    if result["blessed"]:
        console.print(Text(result["verdict"]), soft_wrap=True)
    if result["pushed_version"]:
        console.print(
            Text.assemble(
                ("Pushed " if result["is_new_version"] else "In production already: ", "green"),
                shown_path(result["pushed_path"]),
            ),
            soft_wrap=True,
        )
    else:
        reasons = "; ".join(result["not_blessed_because"])
        console.print(Text.assemble(("Not pushed", "yellow"), f": {reasons}."), soft_wrap=True)
    page = pathlib.Path(result["nodes"]["Report"]["outputs"]["report"], "report.html")
    console.print(f"Report: {shown_path(page)}", highlight=False, soft_wrap=True)


def shown_path(path: str | pathlib.Path) -> str:
    """A path as short as it can be typed: relative when it lies below the working directory."""
    with contextlib.suppress(ValueError):
        return str(pathlib.Path(path).absolute().relative_to(pathlib.Path.cwd()))
    return str(path)


def _data_table(result: dict[str, Any]) -> Text:
    counts = ", ".join(f"{result['examples'][split]:,} {split}" for split in _SPLITS)
    classes = f"{len(result['classes'])} classes"
    text = Text(f"{counts}; {classes}")
    if result["quarantined"]:
        reasons = ", ".join(f"{count:,} {name}" for name, count in result["quarantined_because"].items())
        text.append(f"; {result['quarantined']:,} left out: {reasons}", "yellow")
    return text


def _metrics_table(result: dict[str, Any]) -> Table:
    baseline = result["baseline_metrics"]
    table = Table(box=None, pad_edge=False)
    table.add_column("test split")
    table.add_column("this model", justify="right")
    table.add_column("95 % interval", style="dim")
    if baseline:
        table.add_column("in production", justify="right")
    for name, value in result["metrics"].items():
        if value is None:
            continue
        low, high = result["intervals"].get(name, (None, None))
        row = [name, f"{value:.4f}", "" if low is None else f"{low:.4f} to {high:.4f}"]
        if baseline:
            row.append(f"{baseline[name]:.4f}" if name in baseline else "")
        table.add_row(*row)
    return table
