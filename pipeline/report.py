"""`imagemill report`: finds the page that a run wrote. Nothing is made anew, and nothing heavy imported."""

from __future__ import annotations

import pathlib
import shutil
import webbrowser
from typing import Any

from modules.errors import InputError
from pipeline import runs

_NODE, _OUTPUT, _FILE = "Report", "report", "report.html"


def find(workdir: pathlib.Path, run_id: str | None = None) -> tuple[str, pathlib.Path]:
    """The run and the page: of the run that is named, else of the latest one that wrote a page.

    Raises:
      InputError: when there is none.
    """
    result = finished(workdir, run_id, _NODE)
    page = pathlib.Path(result["nodes"][_NODE]["outputs"][_OUTPUT], _FILE)
    if not page.exists():
        raise InputError(f"The report of run {result['run_id']} is gone: there is no {page}.")
    return result["run_id"], page


def finished(workdir: pathlib.Path, run_id: str | None, node: str) -> dict[str, Any]:
    """The result of the run that is named, else of the latest one in which that node completed.

    Raises:
      InputError: when there is none.
    """
    folders = runs.history(workdir)
    if run_id is not None:
        folders = [folder for folder in folders if folder.run_id == run_id]
        if not folders:
            raise InputError(f"There is no run {run_id} in {workdir}; `imagemill history` lists them.")
    for folder in reversed(folders):
        result = folder.read(folder.result)
        if node in result.get("nodes", {}):
            return result
    which = f"Run {run_id}" if run_id else f"No run in {workdir}"
    raise InputError(f"{which} has come as far as {node}: `imagemill history` says how the runs ended.")


def show(page: pathlib.Path, out: pathlib.Path | None, open_: bool) -> pathlib.Path:
    """Copies the page to a file or into a folder, opens it in a browser, or neither; returns where it is.

    Raises:
      InputError: when it cannot be copied.
    """
    if out is not None:
        try:
            page = pathlib.Path(shutil.copyfile(page, out / _FILE if out.is_dir() else out))
        except OSError as error:
            raise InputError(f"--out {out}: {error.strerror}.") from error
    if open_ and not webbrowser.open(page.absolute().as_uri()):
        raise InputError(f"There is no browser to open; the report is {page}.")
    return page
