"""Measures what users wait for, against what they would do instead, and says which bars are held.

    python -m benchmarks                        all of it, about an hour; writes benchmarks/RESULTS.md
    python -m benchmarks --quick                in under ten minutes, a tenth of the images; writes nothing
    python -m benchmarks ingest serving         these parts anew; the others stay as they were measured
    python -m benchmarks --fashion FOLDER       the idx files of Fashion-MNIST in the place of made images

The machine should have nothing else to do. What is compared is measured in turn in one run, so that the ratio
means something when the seconds do not. The exit code is 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import record
from benchmarks.figures import Results
from benchmarks.scale import Scale

#: Part to module and function, in the order of the results.
PARTS = {
    "start": ("start", "measure"),
    "ingest": ("ingest", "measure"),
    "workers": ("ingest", "measure_workers"),
    "transform": ("transform", "measure"),
    "training": ("training", "measure"),
    "whole": ("whole", "measure"),
    "again": ("whole", "measure_again"),
    "nodes": ("node_seconds", "measure"),
    "memory": ("memory", "measure"),
    "serving": ("serving", "measure"),
    "growth": ("growth", "measure"),
}


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"some of {', '.join(PARTS)}; all when none is named"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the images, once; writes nothing")
    parser.add_argument("--fashion", type=Path, metavar="FOLDER", help="of the idx files of Fashion-MNIST")
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"there is no part {unknown[0]}; the parts are {', '.join(PARTS)}")
    if options.fashion and not list(options.fashion.glob("*-idx3-ubyte.gz")):
        parser.error(f"--fashion {options.fashion}: holds no idx files, such as train-images-idx3-ubyte.gz")
    scale = Scale(options.quick, options.fashion)
    missed = 0
    for part in options.parts or PARTS:
        missed += _one(part, scale)
    if not scale.quick:
        print(f"written: {record.RESULTS}")
    return 1 if missed else 0


def _one(part: str, scale: Scale) -> int:
    """Measures a part, prints and keeps it; returns how many bars it missed."""
    print(f"{part} ...", file=sys.stderr, flush=True)
    began = time.monotonic()
    module, function = PARTS[part]
    with tempfile.TemporaryDirectory(prefix="imagemill-") as scratch:
        results: Results = getattr(importlib.import_module(f"benchmarks.{module}"), function)(
            scale, Path(scratch)
        )
    for figure in results.figures:
        against = f" / {figure.against}" if figure.against else ""
        print(f"{figure.verdict:7}{figure.name}{against}: {figure.shown}")
        if figure.wanted or figure.remark:
            print(f"       {'; '.join(filter(None, (figure.wanted, figure.remark)))}")
    for table in results.tables:
        print("\n".join(record.table(table)))
    print(f"{part}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    if not scale.quick:
        record.keep(part, results, list(PARTS))
    return sum(figure.verdict == "MISSED" for figure in results.figures)


if __name__ == "__main__":
    sys.exit(main())
