"""Keeps what was measured: `results.json`, part by part, and `RESULTS.md` made of it."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmarks.figures import Results, Table
from components.image_example_gen.workers import available_cores

HERE = Path(__file__).parent
KEPT = HERE / "results.json"
RESULTS = HERE / "RESULTS.md"
_PACKAGES = ("tfx", "tensorflow", "keras", "apache-beam", "tensorflow-transform", "pillow", "grpcio", "numpy")


def keep(part: str, results: Results, order: list[str]) -> None:
    """Puts a part in the place of what was measured of it before, and writes the page anew."""
    kept: dict[str, Any] = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    kept[part] = {"circumstances": _circumstances(), **results.to_json()}
    kept = {name: kept[name] for name in order if name in kept}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    RESULTS.write_text(page(kept), encoding="utf-8")


def kept(part: str) -> Results:
    """What was measured last of a part."""
    one = json.loads(KEPT.read_text(encoding="utf-8"))[part]
    return Results.from_json({"figures": one["figures"], "tables": one["tables"]})


def table(table: Table) -> Iterator[str]:
    """A table in Markdown."""
    yield from ("", f"{table.title}:", "", f"| {' | '.join(table.columns)} |")
    yield f"| --- |{' ---: |' * (len(table.columns) - 1)}"
    yield from (f"| {' | '.join(row)} |" for row in table.rows)


def page(kept: dict[str, Any]) -> str:
    """The page of what was kept, in Markdown."""
    return "\n".join(_lines(kept)) + "\n"


def _lines(kept: dict[str, Any]) -> Iterator[str]:
    yield from ("# What was measured", "")
    yield "Written by `make bench`; `python -m benchmarks PART` renews a part. Ratios are those of seconds,"
    yield "ours over the alternative's, unless the line says rate: a median, and in brackets the range of the"
    yield "repetitions, each of which measured both sides in turn. What is behind the figures:"
    yield "[docs/performance.md](../docs/performance.md)."
    for part, one in kept.items():
        results = Results.from_json({"figures": one["figures"], "tables": one["tables"]})
        yield from ("", f"## {part}", "", one["circumstances"])
        if results.figures:
            yield from ("", "| figure | against | measured | bar | |", "| --- | --- | --- | --- | --- |")
        for figure in results.figures:
            remark = f"<br>{figure.remark}" if figure.remark else ""
            cells = (figure.name, figure.against, figure.shown + remark, figure.wanted, figure.verdict)
            yield f"| {' | '.join(cells)} |"
        for one_table in results.tables:
            yield from table(one_table)


def _circumstances() -> str:
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{now}, commit {_commit()}; {available_cores()} cores ({_processor()}), {memory:.0f} GiB, no GPU; "
        f"Python {platform.python_version()}, {versions}."
    )


def _commit() -> str:
    finished = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--exclude=*"], cwd=HERE, capture_output=True, text=True
    )
    return finished.stdout.strip() or "unknown"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()
