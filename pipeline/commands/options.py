"""What the commands share: the application, options that several have, the two consoles."""

from __future__ import annotations

import pathlib
from typing import Annotated, Any

import typer
from rich.console import Console

app = typer.Typer(
    help="From a folder of images to a served classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

ConfigPath = Annotated[
    pathlib.Path, typer.Argument(metavar="CONFIG", help="Configuration, a YAML file.", show_default=False)
]

Data = Annotated[
    str | None, typer.Option(metavar="DIR", help="Folder of images; replaces data.path.", show_default=False)
]

Workdir = Annotated[
    pathlib.Path, typer.Option(metavar="DIR", help="Where runs, artifacts and served models are kept.")
]

Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replaces one setting; repeatable.", show_default=False),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]

DEFAULT_WORKDIR = pathlib.Path("imagemill-work")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


def load(path: pathlib.Path, overrides: list[str] | None, data: str | None) -> Any:
    """The configuration that a command was given, with what the command line replaces in it."""
    from pipeline import config

    return config.load(path, overrides or (), data)
