"""Commands that work on this machine: check, preview, run, history, architectures, schema."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated, Any

import typer
from rich.table import Table

from modules.errors import InputError
from pipeline.commands.options import (
    DEFAULT_WORKDIR,
    ConfigPath,
    Data,
    Json,
    Overrides,
    Workdir,
    app,
    err,
    load,
    out,
)

schema_app = typer.Typer(help="Keep a schema of the data.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")


@app.command(epilog="Example: imagemill check configs/digits.yaml --data photos")
def check(config: ConfigPath, data: Data = None, overrides: Overrides = None, json_: Json = False) -> None:
    """Look at a configuration and its data without running anything."""
    from pipeline import check as checking

    loaded = load(config, overrides, data)
    checking.check(loaded, out, err, as_json=json_)


@app.command(epilog="Example: imagemill preview configs/digits.yaml --data photos --out preview.png")
def preview(
    config: ConfigPath,
    output: Annotated[
        pathlib.Path,
        typer.Option(
            "--out", metavar="FILE", help="File to write: .png, .jpg, .pdf or .svg.", show_default=False
        ),
    ],
    images: Annotated[int, typer.Option(min=1, max=100, help="Images, evenly over the classes.")] = 8,
    variants: Annotated[int, typer.Option(min=1, max=30, help="Augmented versions of each.")] = 7,
    seed: Annotated[int, typer.Option(min=0, help="Another seed draws other amounts.")] = 0,
    data: Data = None,
    overrides: Overrides = None,
) -> None:
    """Draw images beside what the augmentation makes of them."""
    from pipeline import preview as previewing
    from pipeline import quiet

    loaded = load(config, overrides, data)
    with quiet.without_greeting():
        shown = previewing.preview(loaded, output, images, variants, seed)
    out.print(f"{output}: {shown} images, {variants} variants each.", soft_wrap=True)


@app.command(
    epilog="Example: imagemill run configs/digits.yaml --data photos --set train.epochs=5 --json",
)
def run(
    config: ConfigPath,
    data: Data = None,
    workdir: Workdir = DEFAULT_WORKDIR,
    overrides: Overrides = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node, whatever is cached.")] = False,
    to: Annotated[
        str | None,
        typer.Option(
            metavar="NODE", help="End with this node, such as Tuner or Trainer.", show_default=False
        ),
    ] = None,
    like_kubeflow: Annotated[
        bool,
        typer.Option("--like-kubeflow", help="Run each node as Kubeflow would, as a process of its own."),
    ] = False,
    json_: Json = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the log of the libraries.")] = False,
) -> None:
    """Run the pipeline here: ingest, validate, transform, train, evaluate, push.

    Exit codes: 0 pushed, or all done that --to asks for, 1 failed, 2 bad input or configuration, 3 not
    blessed and so not pushed.
    """
    from pipeline import run as running
    from pipeline import runs, view

    if to and like_kubeflow:
        raise InputError("--to and --like-kubeflow do not go together: Kubeflow runs the whole pipeline.")
    loaded = load(config, overrides, data)
    if verbose:
        result = running.run(loaded, workdir, not no_cache, running.LogEcho(err), to, like_kubeflow)
    else:
        with view.RunView(err) as live:
            result = running.run(loaded, workdir, not no_cache, live.listen, to, like_kubeflow)
    if json_:
        print(json.dumps(result, ensure_ascii=False))
    log = runs.RunFolder(workdir / "runs" / result["run_id"]).log
    view.print_result(err if json_ or "error" in result else out, result, str(log))
    raise typer.Exit(result["exit_code"])


@app.command(epilog="Example: imagemill history --workdir imagemill-work --json")
def history(workdir: Workdir = DEFAULT_WORKDIR, json_: Json = False) -> None:
    """List past runs: data, settings, metrics, and what was pushed."""
    from pipeline import runs

    entries = [_history_entry(folder) for folder in runs.history(workdir)]
    if json_:
        print(json.dumps(entries, ensure_ascii=False))
        return
    table = Table("run", "network", "data", "accuracy", "outcome", box=None, pad_edge=False)
    for entry in entries:
        config, metrics = entry["config"], entry["metrics"] or {}
        accuracy = f"{metrics['accuracy']:.4f}" if "accuracy" in metrics else ""
        network = f"{config['model']['architecture']}, {config['train']['epochs']} epochs"
        table.add_row(
            entry["run_id"], network, pathlib.Path(config["data"]["path"]).name, accuracy, entry["outcome"]
        )
    out.print(table)


def _history_entry(folder: Any) -> dict[str, Any]:
    from pipeline import runs

    request, result = folder.read(folder.request), folder.read(folder.result)
    if not result:
        outcome = "running" if runs.is_running(folder) else "interrupted"
    elif "error" in result:
        outcome = f"failed: {result['error']}"
    elif "up_to" in result:
        outcome = f"ran up to {result['up_to']}"
    else:
        outcome = f"pushed {result['pushed_version']}" if result["pushed_version"] else "not blessed"
    return {
        "run_id": folder.run_id,
        "started": request["started"],
        "data": request["config"]["data"]["path"],
        "config": request["config"],
        "outcome": outcome,
        "metrics": result.get("metrics"),
        "blessed": result.get("blessed"),
        "pushed_version": result.get("pushed_version"),
    }


@app.command(epilog="Example: imagemill architectures --image-size 28 --channels 1 --json")
def architectures(
    image_size: Annotated[int, typer.Option(min=8, max=4096, help="Height and width in pixels.")] = 224,
    channels: Annotated[int, typer.Option(min=1, max=3, help="1 for grey, 3 for colour.")] = 3,
    classes: Annotated[int, typer.Option(min=2, help="Number of classes.")] = 10,
    json_: Json = False,
) -> None:
    """List the networks with their parameters at an image size."""
    from pipeline import architectures as listing
    from pipeline import quiet

    if channels not in (1, 3):
        raise InputError(f"--channels {channels}: choose 1 for grey or 3 for colour.")
    with quiet.without_greeting():
        listing.show(image_size, channels, classes, out, as_json=json_)


@schema_app.command(epilog="Example: imagemill schema freeze --output schema.pbtxt")
def freeze(
    workdir: Workdir = DEFAULT_WORKDIR,
    output: Annotated[pathlib.Path, typer.Option(metavar="FILE", help="File to write.")] = pathlib.Path(
        "schema.pbtxt"
    ),
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
) -> None:
    """Keep the schema of the last run, so that data which do not fit it stop later runs."""
    from pipeline import schema

    run_id = schema.freeze(workdir, output, force)
    out.print(
        f"{output}: the schema of run {run_id}. Edit it, and name it as gate.schema_file of the "
        "configuration.",
        soft_wrap=True,
    )
