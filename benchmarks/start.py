"""The commands that a person waits for at a prompt, against an interpreter that does nothing."""

from __future__ import annotations

import statistics
import sys
from pathlib import Path

from benchmarks import pictures
from benchmarks.commands import IMAGEMILL, ROOT, command
from benchmarks.figures import Figure, Results, ratios
from benchmarks.scale import Scale

_LOOK = """
import sys
from pipeline import cli
sys.argv = ["imagemill", *sys.argv[1:]]
try:
    cli.main()
except SystemExit:
    pass
print("tensorflow" in sys.modules)
"""


def measure(scale: Scale, scratch: Path) -> Results:
    """`--help`, `check`, `history` and the start of `predict`, which here finds no server."""
    folder = pictures.write(scratch / "few", 100, 28, 28, "PNG")
    image = str(next(folder.rglob("*.png")))
    config = str(ROOT / "configs" / "digits.yaml")
    (scratch / "none").mkdir()
    calls: dict[str, tuple[list[str], float | None]] = {
        "--help": (["--help"], 10),
        "check, 100 images": (["check", config, "--data", str(folder)], None),
        "history": (["history", "--workdir", str(scratch / "none")], None),
        "predict, no server": (["predict", image, "--server", "127.0.0.1:1", "--timeout", "0.1"], None),
    }
    results = Results()
    for name, (arguments, bar) in calls.items():
        ours, bare = [], []
        for _ in range(max(5, scale.repetitions)):
            bare.append(command(sys.executable, "-c", "pass").seconds)
            ours.append(command(IMAGEMILL, *arguments, expect=(0, 1, 2)).seconds)
        results.figures.append(ratios(f"imagemill {name}", "python -c pass", ours, bare, bar))
        if bar:
            seconds = [statistics.median(ours)]
            results.figures.append(Figure(f"imagemill {name}", "", seconds, 0.5, unit="s"))
        last = command(sys.executable, "-c", _LOOK, *arguments).output.split()[-1]
        results.figures.append(
            Figure(f"imagemill {name}: imports TensorFlow", "", [float(last == "True")], 0, unit="times")
        )
    return results
