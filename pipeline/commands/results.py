"""Commands that show what a run made: report, plot."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated

import typer

from components.report import kinds
from pipeline.commands.options import DEFAULT_WORKDIR, Json, Workdir, app, out

RunId = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="Which run; `history` lists them.", show_default="the latest"),
]


@app.command(epilog="Example: imagemill report --workdir imagemill-work --open")
def report(
    workdir: Workdir = DEFAULT_WORKDIR,
    run_id: RunId = None,
    out_file: Annotated[
        pathlib.Path | None,
        typer.Option("--out", metavar="FILE", help="Copy it there.", show_default=False),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
    json_: Json = False,
) -> None:
    """Find the report of a run, copy it, open it: one HTML file with everything about the model."""
    from pipeline import report as reports

    found, page = reports.find(workdir, run_id)
    page = reports.show(page, out_file, open_)
    if json_:
        print(json.dumps({"run_id": found, "path": str(page.absolute())}, ensure_ascii=False))
    else:
        out.print(str(page), soft_wrap=True)


@app.command(
    epilog=f"Example: imagemill plot confusion --out confusion.svg. Kinds: {', '.join(kinds.KINDS)}.",
)
def plot(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="What to draw.", show_default=False)],
    workdir: Workdir = DEFAULT_WORKDIR,
    run_id: RunId = None,
    out_file: Annotated[
        pathlib.Path | None,
        typer.Option("--out", metavar="FILE", help="PNG, SVG or PDF.", show_default="KIND.png"),
    ] = None,
) -> None:
    """Draw one plot of the report into a file."""
    from pipeline import plot as plots
    from pipeline import quiet

    target = out_file or pathlib.Path(f"{kind}.png")
    with quiet.without_greeting():
        plots.write(kind, workdir, run_id, target)
    out.print(str(target), soft_wrap=True)
