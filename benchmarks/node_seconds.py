"""Where the seconds of a node go: driver, executor, publisher; and those before the first node.

    python -m benchmarks.node_seconds FOLDER WORKDIR

runs the pipeline on a folder in this process, with a clock around the three, and prints JSON.
"""

from __future__ import annotations

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import commands, pictures
from benchmarks.figures import Results, Table
from benchmarks.scale import Scale

#: What TFX's launcher does for a node, by the names of its methods.
_PHASES = {
    "driver": "_prepare_execution",
    "executor": "_run_executor",
    "publisher": "_publish_successful_execution",
}


def measure(scale: Scale, scratch: Path) -> Results:
    """A first and a cached run, on 10,000 images."""
    data = pictures.write(scratch / "data", 10_000 // scale.share, 28, 28, "PNG")
    tables = []
    for kind in ("first", "cached"):
        taken = commands.python("benchmarks.node_seconds", str(data), str(scratch / "work"))
        rows = [
            [node, *(f"{phases.get(phase, 0):.2f}" for phase in [*_PHASES, "rest"])]
            for node, phases in taken["nodes"].items()
        ]
        rows.append(["imports and compiling", "", "", "", f"{taken['imports']:.2f}"])
        tables.append(
            Table(f"Where the seconds go, {kind} run of 10,000 images", ["node", *_PHASES, "rest"], rows)
        )
    return Results(tables=tables)


def main(data: str, workdir: str) -> None:
    """Runs the pipeline once."""
    began = time.perf_counter()
    from tfx.orchestration.portable import launcher

    from pipeline import config, local

    loaded = config.load(
        commands.ROOT / "configs" / "fashion_mnist.yaml",
        (f"data.path={data}", "train.epochs=1", "evaluate.min_accuracy=0"),
    )
    place = Path(workdir)
    place.mkdir(exist_ok=True)
    ir = local.compile_local(loaded, place)
    imports = time.perf_counter() - began
    taken: dict[str, dict[str, float]] = defaultdict(dict)
    for phase, method in _PHASES.items():
        setattr(launcher.Launcher, method, _timed(getattr(launcher.Launcher, method), taken, phase))
    run_id = str(time.time_ns())
    for result in local.LocalRunner(run_id, local.connection_config(place)).run_with_ir(ir):
        phases = taken[result.node_id]
        phases["rest"] = result.seconds - sum(phases.values())
    print(json.dumps({"imports": imports, "nodes": taken}))


def _timed(method: Callable, taken: dict[str, dict[str, float]], phase: str) -> Callable:
    def timed(self: Any, *arguments: Any, **named: Any) -> Any:
        began = time.perf_counter()
        try:
            return method(self, *arguments, **named)
        finally:
            taken[self._pipeline_node.node_info.id][phase] = time.perf_counter() - began

    return timed


if __name__ == "__main__":
    main(*sys.argv[1:])
