"""Runs the ingest without TFX, and reads what it wrote."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import apache_beam as beam

from components.image_example_gen import data
from components.image_example_gen.ingest import Targets, ingest
from components.image_example_gen.settings import IngestSettings


def pipeline() -> beam.Pipeline:
    return beam.Pipeline(
        argv=["--runner=DirectRunner", "--direct_running_mode=in_memory", "--direct_num_workers=1"]
    )


def run(folder: Path, out: Path, options: IngestSettings | None = None, **more: Any) -> dict[str, Any]:
    """Ingests a folder; returns the summary."""
    options = options or IngestSettings()
    targets = Targets(str(out / "examples"), str(out / "quarantine"), str(out / "scratch"))
    return ingest(data.resolve(str(folder), options.spans), options, targets, pipeline, **more)


def rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def manifest(out: Path) -> dict[str, str]:
    """Path to split."""
    return {row["path"]: row["split"] for row in rows(out / "examples" / "manifest.jsonl")}


def quarantine(out: Path) -> dict[str, str]:
    """Path to reason."""
    return {row["path"]: row["reason"] for row in rows(out / "quarantine" / "quarantine.jsonl")}


def split_bytes(out: Path) -> dict[str, bytes]:
    return {str(file.relative_to(out)): file.read_bytes() for file in sorted(out.glob("examples/Split-*/*"))}
