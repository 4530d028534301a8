"""The whole run on Fashion-MNIST against a plain Keras script, and what a second run costs."""

from __future__ import annotations

import json
import statistics
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
    """First run, second run, one with another learning rate, the plain script; in turn."""
    data, name = folder(scale, scratch)
    plain, peaks = [], []
    runs: dict[str, list[float]] = {"first": [], "second": [], "rate": []}
    nodes: dict[str, list[dict[str, float]]] = {"first": [], "second": [], "rate": []}
    waits: list[float] = []
    result: Any = {}
    for attempt in range(scale.repetitions):
        workdir = scratch / f"work{attempt}"
        for kind, override in (("first", ()), ("second", ()), ("rate", ("train.learning_rate=0.0011",))):
            finished, result = commands.run(
                CONFIG, data, workdir, f"train.epochs={EPOCHS}", "evaluate.min_accuracy=0", *override
            )
            runs[kind].append(finished.seconds)
            nodes[kind].append({node: one["seconds"] for node, one in result["nodes"].items()})
            peaks.append(finished.peak / 1e9)
        waits.append(_input_wait(result))
        script = commands.python(
            "benchmarks.plain_keras", str(data), str(EPOCHS), str(scratch / f"plain{attempt}")
        )
        plain.append(script["seconds"])
    ingest = [one["ImageExampleGen"] for one in nodes["first"]]
    gates = [sum(one[node] for node in GATES) for one in nodes["first"]]
    without = {
        kind: [taken - one["Trainer"] for taken, one in zip(runs[kind], nodes[kind], strict=True)]
        for kind in ("first", "rate")
    }
    figures = [
        ratios(f"first run, {name}, {EPOCHS} epochs", "plain Keras script", runs["first"], plain, 1.5),
        ratios("second run, nothing changed", "first run", runs["second"], runs["first"], 0.15),
        ratios(
            "second run, learning rate changed, less training",
            "first run less training",
            without["rate"],
            without["first"],
            0.5,
        ),
        ratios("statistics, schema, validator, gates", "ingest", gates, ingest, 0.5),
        Figure("waiting for images, share of the training", "", waits, 0.03, unit=""),
        Figure(f"peak memory, {name}", "", peaks, 3, unit="GB"),
    ]
    return Results(figures, [_table(nodes, runs)])


def _input_wait(result: Any) -> float:
    history = json.loads(Path(result["nodes"]["Trainer"]["outputs"]["model_run"], "history.json").read_text())
    return statistics.median(epoch["input_wait"] for epoch in history)


def _table(nodes: dict[str, list[dict[str, float]]], runs: dict[str, list[float]]) -> Table:
    def middle(kind: str, node: str) -> str:
        return f"{statistics.median(one[node] for one in nodes[kind]):.2f}"

    rows = [
        [node, middle("first", node), middle("second", node), middle("rate", node)]
        for node in nodes["first"][0]
    ]
    rest = []
    for kind in ("first", "second", "rate"):
        others = [all_ - sum(one.values()) for all_, one in zip(runs[kind], nodes[kind], strict=True)]
        rest.append(f"{statistics.median(others):.2f}")
    total = [f"{statistics.median(runs[kind]):.2f}" for kind in ("first", "second", "rate")]
    return Table(
        "Seconds a node, medians",
        ["node", "first run", "second run", "learning rate changed"],
        [*rows, ["start, imports, end", *rest], ["the command", *total]],
    )
