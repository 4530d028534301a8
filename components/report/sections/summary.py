"""Summary: what came out, why it was blessed or not, and where everything comes from."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from importlib import metadata

import yaml

from components.report.blocks import Block, Code, Facts, Plot, Table, Text
from components.report.context import Context
from components.report.plots import mistakes

_PACKAGES = ("imagemill", "tfx", "tensorflow", "keras", "tensorflow-model-analysis", "apache-beam", "numpy")
#: Metrics whose names are not words.
_NAMES = {
    "macro_f1": "macro F1",
    "auc": "AUC",
    "ece": "calibration error (ECE)",
    "size_mb": "size, MB",
    "latency_p50_ms": "latency, ms, median",
    "latency_p95_ms": "latency, ms, 95 %",
}
_SPLITS = ("train", "validation", "test")


def verdict(context: Context) -> Iterator[Block]:
    """The blessing and its reasons."""
    found = context.sources.verdict
    yield Text(found.sentence, "good" if found.blessed else "bad")
    if found.baseline is not None and found.baseline.remark:
        yield Text(found.baseline.remark, "note")
    has_baseline = any(check.baseline is not None for check in found.checks)
    rows = [
        [check.passed, check.explanation, check.value, check.limit]
        + ([check.baseline] if has_baseline else [])
        + [check.name]
        for check in found.checks
    ]
    columns = ["", "check", "value", "limit", *["in production"] * has_baseline, "name"]
    yield Table(columns, rows, "What the blessing rests on")


def metrics(context: Context) -> Iterator[Block]:
    """Figures on the test split beside those of the model in production."""
    found = context.sources.verdict
    has_baseline = any(metric.baseline is not None for metric in found.metrics.values())
    rows = [
        [_NAMES.get(name) or name.replace("_", " "), metric.value, metric.low, metric.high]
        + ([metric.baseline] if has_baseline else [])
        for name, metric in found.metrics.items()
    ]
    columns = ["metric", "this model", "from", "to", *["in production"] * has_baseline]
    yield Table(columns, rows, "On the test split, with confidence intervals where there are any")


def facts(context: Context) -> Iterator[Block]:
    """Data and network in a few lines."""
    sources = context.sources
    images = {split: sum(sources.ingest["examples"][split].values()) for split in _SPLITS}
    height, width = sources.settings.pixels.image_size
    colour = "grey" if sources.settings.pixels.channels == 1 else "colour"
    total, trainable = sources.parameters
    kept = next((epoch["epoch"] for epoch in sources.history if epoch.get("kept")), None)
    yield Facts(
        [
            ("images", ", ".join(f"{count:,} {split}" for split, count in images.items())),
            ("classes", len(sources.classes)),
            ("left out", f"{sum(sources.ingest['quarantined'].values()):,} files"),
            ("network", sources.settings.model.architecture),
            ("input", f"{width}×{height}, {colour}"),
            ("parameters", parameters_in_words(total, trainable)),
            ("epochs", f"{len(sources.history)}" + (f", number {kept} kept" if kept else "")),
            ("training time", f"{sum(epoch['seconds'] for epoch in sources.history):,.1f} s"),
        ],
        short=True,
    )


def parameters_in_words(total: int, trainable: int) -> str:
    """How many parameters there are, and how many of them are trained."""
    return f"{total:,}, {'all' if total == trainable else f'{trainable:,} of them'} trained"


def nodes(context: Context) -> Iterator[Block]:
    """Seconds a node."""
    ran = context.run.nodes
    if not ran:
        yield Text("Which nodes ran before, and for how long, was not told to the report.", "note")
        return
    cached = sum(node.state == "cached" for node in ran)
    yield Plot(
        mistakes.seconds([(node.node, node.seconds) for node in ran]),
        "Bar chart of the wall time of every node: "
        + ", ".join(f"{node.node} {node.seconds:.1f} s" for node in ran),
        f"{sum(node.seconds for node in ran):,.1f} s until this report"
        + (f"; {cached} nodes took earlier results from the cache" if cached else ""),
    )


def lineage(context: Context) -> Iterator[Block]:
    """Which data, which configuration, which code, which model."""
    sources, config = context.sources, context.config
    data = hashlib.sha256(sources.manifest).hexdigest()[:16]
    text = json.dumps(config, sort_keys=True)
    rows = [
        ("run", context.run.run_id or "–"),
        ("data", config.get("data", {}).get("path") or "–"),
        ("digest of the data", f"{data} (of the list of all images with their classes and contents)"),
        ("digest of the configuration", hashlib.sha256(text.encode()).hexdigest()[:16]),
        ("digest of the code", context.code or "–"),
        *context.artifacts,
    ]
    baseline = sources.verdict.baseline
    if baseline is not None:
        rows.append(("model in production", f"{baseline.uri} (artifact {baseline.model_id})"))
    yield Facts(rows)
    if config:
        yield Code("The whole configuration", yaml.safe_dump(config, sort_keys=False, allow_unicode=True))


def versions(context: Context) -> Iterator[Block]:
    """Versions of what computed it."""
    yield Facts(
        [("Python", platform.python_version()), *((name, _version(name)) for name in _PACKAGES)], short=True
    )


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "–"


PARTS = {
    "Verdict": verdict,
    "Metrics": metrics,
    "Data and network": facts,
    "Seconds a node": nodes,
    "Lineage": lineage,
    "Versions": versions,
}
