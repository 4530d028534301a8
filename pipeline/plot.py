"""`imagemill plot`, and the way to the plots of a run from a notebook."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from components.report import kinds
from components.report.run import Node, Run
from modules.errors import InputError
from pipeline import report, runs

if TYPE_CHECKING:
    from components.report.context import Context

#: What a figure can be written as, by the ending of the file.
FORMATS = ("png", "svg", "pdf", "jpg")


def write(kind: str, workdir: pathlib.Path, run_id: str | None, out: pathlib.Path) -> None:
    """Draws one plot of a run into a file.

    Args:
      kind: a key of `components.report.kinds.KINDS`.
      workdir: working directory of the run.
      run_id: the run; None for the latest that was evaluated.
      out: the file; its ending gives the format.

    Raises:
      InputError: for an unknown kind, run or format, or a file that cannot be written.
    """
    kinds.get(kind)
    if out.suffix[1:].lower() not in FORMATS:
        raise InputError(f"--out {out}: the name must end in one of {', '.join(FORMATS)}.")
    figure = kinds.draw(kind, context(workdir, run_id))
    try:
        figure.savefig(out, dpi=150)
    except OSError as error:
        raise InputError(f"--out {out}: {error.strerror}.") from error


def context(workdir: pathlib.Path | str, run_id: str | None = None) -> Context:
    """The artifacts of a run, from which everything in its report can be drawn.

    Args:
      workdir: working directory of the run.
      run_id: the run; None for the latest that was evaluated.

    Raises:
      InputError: when there is no such run.
    """
    result = report.finished(pathlib.Path(workdir), run_id, "Evaluator")
    from components.report.context import Context
    from components.report.sources import Sources, Uris

    outputs = {name: node["outputs"] for name, node in result["nodes"].items()}
    folder = runs.RunFolder(pathlib.Path(workdir, "runs", result["run_id"]))
    return Context(
        Sources(
            Uris(
                examples=outputs["ImageExampleGen"]["examples"],
                quarantine=outputs["ImageExampleGen"]["quarantine"],
                transform_graph=outputs["Transform"]["transform_graph"],
                model_run=outputs["Trainer"]["model_run"],
                evaluation=outputs["Evaluator"]["evaluation"],
                tuner_results=outputs.get("Tuner", {}).get("tuner_results"),
            )
        ),
        Run(
            run_id=result["run_id"],
            nodes=[
                Node(node=name, state=node["state"], seconds=node["seconds"])
                for name, node in result["nodes"].items()
            ],
        ),
        folder.read(folder.request)["config"],
    )
