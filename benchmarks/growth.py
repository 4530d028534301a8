"""How the time of the nodes grows with the number of images.

python -m benchmarks.growth FILE        draws what was measured, as PNG or SVG
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks import commands, pictures, record
from benchmarks.figures import Figure, Results, Table
from benchmarks.scale import Scale

SIZES = (1_000, 10_000, 70_000, 200_000)
NODES = ("ImageExampleGen", "StatisticsGen", "Transform", "Evaluator")
_CONFIG = """
data: {image_size: [28, 28], channels: 1, split: {train: 0.6, validation: 0.1, test: 0.3, seed: 0}}
model: {architecture: mlp}
train: {epochs: 1, batch_size: 256}
evaluate: {min_accuracy: 0}
"""


def measure(scale: Scale, scratch: Path) -> Results:
    """Runs of every size, the two largest in turn.

    Linear growth is a quotient of 1; what starts cost makes it less.
    """
    sizes = SIZES[:-1] if scale.quick else SIZES
    config = scratch / "config.yaml"
    config.write_text(_CONFIG, encoding="utf-8")
    data = {size: pictures.write(scratch / f"data{size}", size, 28, 28, "PNG") for size in sizes}
    os.sync()  # nobody's photos are still on their way to the disk
    seconds: dict[str, dict[int, list[float]]] = {node: {size: [] for size in sizes} for node in NODES}
    for repetition in range(scale.repetitions):
        for size in sizes if repetition == 0 else sizes[-2:]:
            with tempfile.TemporaryDirectory(dir=scratch) as work:
                _, result = commands.run(config, data[size], Path(work) / "work", to="Evaluator")
            for node in NODES:
                seconds[node][size].append(result["nodes"][node]["seconds"])
    figures = []
    for node, taken in seconds.items():
        most, less = taken[sizes[-1]], taken[sizes[-2]]
        figures.append(
            Figure(
                f"{node}: growth of the time from {sizes[-2]:,} to {sizes[-1]:,} images",
                "growth of the images",
                [a / b / (sizes[-1] / sizes[-2]) for a, b in zip(most, less, strict=True)],
                1.0,
                remark=f"{statistics.median(most):.1f} s against {statistics.median(less):.1f} s",
            )
        )
    rows = [
        [f"{size:,}", *(f"{statistics.median(seconds[node][size]):.2f}" for node in NODES)] for size in sizes
    ]
    return Results(figures, [Table("Seconds by number of images, medians", ["images", *NODES], rows)])


def draw(table: Table, target: Path) -> None:
    """Draws seconds by images, both logarithmic, with a line of what grows like the images."""
    from matplotlib.figure import Figure as Plot

    images = [int(row[0].replace(",", "")) for row in table.rows]
    plot = Plot((7, 4), layout="constrained")
    axes = plot.subplots()
    for column, node in enumerate(table.columns[1:], 1):
        axes.plot(images, [float(row[column]) for row in table.rows], marker="o", label=node)
    least = min(float(row[1]) for row in table.rows)
    axes.plot(images, [least * count / images[0] for count in images], "--", color="grey", label="linear")
    axes.set(xscale="log", yscale="log", xlabel="images", ylabel="seconds", xticks=images)
    axes.set_xticks(images, [f"{count:,}" for count in images])
    axes.minorticks_off()
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    plot.savefig(target, dpi=150)


if __name__ == "__main__":
    draw(record.kept("growth").tables[0], Path(sys.argv[1]))
