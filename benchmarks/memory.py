"""Peak memory of a whole run on 20,000 photos of 224x224: three gigabytes of pixels."""

from __future__ import annotations

from pathlib import Path

from benchmarks import commands, pictures
from benchmarks.figures import Figure, Results
from benchmarks.scale import Scale

_CONFIG = """
data: {image_size: [224, 224], split: {train: 0.8, validation: 0.1, test: 0.1, seed: 0}}
model: {architecture: mlp}
train: {epochs: 1, learning_rate: 1.0e-4}
evaluate: {min_accuracy: 0}
"""


def measure(scale: Scale, scratch: Path) -> Results:
    """One run: memory does not depend on the hour."""
    count = 20_000 // scale.share
    data = pictures.write(scratch / "photos", count, 224, 224, "JPEG")
    config = scratch / "config.yaml"
    config.write_text(_CONFIG, encoding="utf-8")
    finished, _ = commands.run(config, data, scratch / "work")
    remark = f"{finished.seconds:.0f} s in all"
    return Results(
        [
            Figure(
                f"peak memory, {count:,} photos of 224x224",
                "",
                [finished.peak / 1e9],
                6,
                unit="GB",
                remark=remark,
            )
        ]
    )
