"""The whole run on Fashion-MNIST against a plain Keras script, and what a second run costs."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from pathlib import Path
from typing import Any

from benchmarks import commands, idx_to_folders, pictures
from benchmarks.figures import Figure, Results, Table, ratios
from benchmarks.scale import Scale

EPOCHS = 5
GATES = ("StatisticsGen", "SchemaGen", "ExampleValidator", "DataGate", "DriftGate")
CONFIG = commands.ROOT / "configs" / "fashion_mnist.yaml"


def folder(scale: Scale, scratch: Path) -> tuple[Path, str]:
    """70,000 images of 28x28 in `train` and `test`: Fashion-MNIST where it was given, else a stand-in."""
    data = scratch / "data"
    if scale.fashion and not scale.quick:
        idx_to_folders.write(scale.fashion, data, idx_to_folders.FASHION)
        return data, "Fashion-MNIST"
    pictures.write(data, 70_000 // scale.share, 28, 28, "PNG", splits=True)
    return data, f"{70_000 // scale.share:,} made images of 28x28"


def measure(scale: Scale, scratch: Path) -> Results:
    """First runs and the plain script, in turn."""
    data, name = folder(scale, scratch)
    plain, waits = [], []
    taken = _Taken()
    for attempt in range(scale.repetitions):
        result = taken.run("first run", data, scratch / f"work{attempt}", EPOCHS)
        waits.append(_input_wait(result))
        target = str(scratch / f"plain{attempt}")
        script = commands.python("benchmarks.plain_keras", str(data), str(EPOCHS), target)
        plain.append(script["seconds"])
    nodes = taken.nodes["first run"]
    gates = [sum(one[node] for node in GATES) for one in nodes]
    figures = [
        ratios(
            f"first run, {name}, {EPOCHS} epochs",
            "plain Keras script",
            taken.seconds["first run"],
            plain,
            1.5,
        ),
        ratios(
            "statistics, schema, validator, gates",
            "ingest",
            gates,
            [one["ImageExampleGen"] for one in nodes],
            0.5,
        ),
        Figure("waiting for images, share of the training", "", waits, 0.03, unit=""),
        Figure(f"peak memory, {name}", "", taken.peaks, 3, unit="GB"),
    ]
    return Results(figures, [taken.table()])


def measure_again(scale: Scale, scratch: Path) -> Results:
    """Second runs, without a change and with another learning rate, of one epoch: training hides nothing."""
    data, name = folder(scale, scratch)
    taken = _Taken()
    kinds = {"first run": (), "second run": (), "learning rate changed": ("train.learning_rate=0.0011",)}
    for attempt in range(scale.repetitions):
        for kind, overrides in kinds.items():
            taken.run(kind, data, scratch / f"work{attempt}", 1, *overrides)
    first, second = taken.seconds["first run"], taken.seconds["second run"]
    figures = [
        ratios(f"second run, nothing changed; {name}, one epoch", "first run", second, first, 0.15),
        ratios(
            "second run, learning rate changed, less training",
            "first run less training",
            taken.without("Trainer", "learning rate changed"),
            taken.without("Trainer", "first run"),
            0.5,
        ),
    ]
    return Results(figures, [taken.table()])


class _Taken:
    """Seconds and memory of runs by their kind, and the seconds of their nodes."""

    def __init__(self) -> None:
        self.seconds: dict[str, list[float]] = defaultdict(list)
        self.nodes: dict[str, list[dict[str, float]]] = defaultdict(list)
        self.peaks: list[float] = []

    def run(self, kind: str, data: Path, workdir: Path, epochs: int, *overrides: str) -> Any:
        """Runs the pipeline, and returns its result."""
        finished, result = commands.run(
            CONFIG, data, workdir, f"train.epochs={epochs}", "evaluate.min_accuracy=0", *overrides
        )
        self.seconds[kind].append(finished.seconds)
        self.nodes[kind].append({node: one["seconds"] for node, one in result["nodes"].items()})
        self.peaks.append(finished.peak / 1e9)
        return result

    def without(self, node: str, kind: str) -> list[float]:
        """Seconds of the runs of a kind, less those of a node."""
        return [whole - one[node] for whole, one in zip(self.seconds[kind], self.nodes[kind], strict=True)]

    def table(self) -> Table:
        """Medians of all nodes, and of what is no node."""
        rows = [
            [node, *(f"{statistics.median(one[node] for one in runs):.2f}" for runs in self.nodes.values())]
            for node in next(iter(self.nodes.values()))[0]
        ]
        rest = []
        for kind, runs in self.nodes.items():
            others = [whole - sum(one.values()) for whole, one in zip(self.seconds[kind], runs, strict=True)]
            rest.append(f"{statistics.median(others):.2f}")
        total = [f"{statistics.median(taken):.2f}" for taken in self.seconds.values()]
        rows += [["start, imports, end", *rest], ["the command", *total]]
        return Table("Seconds a node, medians", ["node", *self.nodes], rows)


def _input_wait(result: Any) -> float:
    history = json.loads(Path(result["nodes"]["Trainer"]["outputs"]["model_run"], "history.json").read_text())
    return statistics.median(epoch["input_wait"] for epoch in history)
