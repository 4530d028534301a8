"""The command line. Nothing heavy is imported before the command that needs it runs."""

from __future__ import annotations

import signal
import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.text import Text

from modules.errors import InputError
from pipeline.commands.options import app, err, out

# Each puts its commands into the application, in the order of `--help`.
from pipeline.commands import local, production, results, cluster  # noqa: F401  # isort: skip


def main() -> None:
    """Entry point: a mistake of the user is one line and exit code 2, never a traceback."""
    # What `docker stop` and `timeout` send: the same clean-up as on Ctrl-C.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        app()
    except InputError as error:
        err.print(Text(str(error), "red"), soft_wrap=True)
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("Interrupted. What was complete stays in the cache of the working directory.")
        sys.exit(130)


def _version(wanted: bool) -> None:
    if wanted:
        out.print(f"imagemill {metadata.version('imagemill')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


if __name__ == "__main__":
    main()
