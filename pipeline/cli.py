"""The command line. Nothing heavy is imported before the command that needs it runs."""

from __future__ import annotations

import json
import logging
import pathlib
import signal
import sys
from importlib import metadata
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.report import kinds
from modules.errors import InputError

app = typer.Typer(
    help="From a folder of images to a served classifier.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

schema_app = typer.Typer(help="Keep a schema of the data.", no_args_is_help=True)
app.add_typer(schema_app, name="schema")

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
RunId = Annotated[
    str | None,
    typer.Option("--run", metavar="RUN", help="Which run; `history` lists them.", show_default="the latest"),
]
Server = Annotated[str, typer.Option(metavar="HOST:PORT", help="gRPC address of the model server.")]

DEFAULT_WORKDIR = pathlib.Path("imagemill-work")

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)


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


@app.command(epilog="Example: imagemill check configs/digits.yaml --data photos")
def check(config: ConfigPath, data: Data = None, overrides: Overrides = None, json_: Json = False) -> None:
    """Look at a configuration and its data without running anything."""
    from pipeline import check as checking

    loaded = _load(config, overrides, data)
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

    loaded = _load(config, overrides, data)
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
    to: Annotated[
        str | None,
        typer.Option(
            metavar="NODE", help="End with this node, such as Tuner or Trainer.", show_default=False
        ),
    ] = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node, whatever is cached.")] = False,
    json_: Json = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the log of the libraries.")] = False,
) -> None:
    """Run the pipeline here: ingest, validate, transform, train, evaluate, push.

    Exit codes: 0 pushed, or all done that --to asks for, 1 failed, 2 bad input or configuration, 3 not
    blessed and so not pushed.
    """
    from pipeline import run as running
    from pipeline import runs, view

    loaded = _load(config, overrides, data)
    if verbose:
        result = running.run(loaded, workdir, not no_cache, running.LogEcho(err), to)
    else:
        with view.RunView(err) as live:
            result = running.run(loaded, workdir, not no_cache, live.listen, to)
    if json_:
        print(json.dumps(result, ensure_ascii=False))
    log = runs.RunFolder(workdir / "runs" / result["run_id"]).log
    view.print_result(err if json_ or "error" in result else out, result, str(log))
    raise typer.Exit(result["exit_code"])


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: imagemill serve --workdir imagemill-work --port 8500",
)
def serve(
    context: typer.Context,
    workdir: Workdir = DEFAULT_WORKDIR,
    model_base_path: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--model_base_path",
            metavar="DIR",
            help="Folder of versions, instead of --workdir.",
            show_default=False,
        ),
    ] = None,
    model_name: Annotated[
        str | None,
        typer.Option(
            "--model_name", metavar="NAME", help="Model to serve.", show_default="the only one pushed"
        ),
    ] = None,
    port: Annotated[int, typer.Option("--port", help="Port for gRPC.")] = 8500,
    rest_api_port: Annotated[int, typer.Option("--rest_api_port", help="Port for REST.")] = 8501,
) -> None:
    """Serve the pushed model as TensorFlow Serving does, until Ctrl-C.

    Further flags of tensorflow_model_server are understood as well.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    from pipeline import quiet
    from serving import flags, server
    from serving.errors import StartError

    if model_base_path is None:
        model_name, model_base_path = _pushed_model(workdir, model_name)
    elif model_base_path.is_dir() and not any(path.name.isdecimal() for path in model_base_path.iterdir()):
        below = sorted(str(path.parent) for path in model_base_path.glob("*/[0-9]*"))
        hint = f" Did you mean {below[0]}?" if below else ""
        err.print(
            Text(f"{model_base_path} holds no versions (folders named by numbers) yet.{hint}", "yellow")
        )
    arguments = ["--port", str(port), "--rest_api_port", str(rest_api_port)]
    arguments += ["--model_name", model_name or "default", "--model_base_path", str(model_base_path)]
    try:
        options = flags.parse([*arguments, *context.args])
        with quiet.without_greeting():
            server.serve(options, _print_server_event)
    except StartError as error:
        raise InputError(str(error)) from error


def _print_server_event(event: dict[str, Any]) -> None:
    match event:
        case {"event": "listening", "port": port, "rest_api_port": rest}:
            rest_text = f" and localhost:{rest} (REST)" if rest else ""
            out.print(f"Listening at localhost:{port} (gRPC){rest_text}; Ctrl-C stops.")
        case {"event": "loaded", "model": model, "version": version}:
            out.print(f"Serving {model}, version {version}.")
        case {"event": "unloaded", "model": model, "version": version}:
            out.print(f"Unloaded {model}, version {version}.")


def _pushed_model(workdir: pathlib.Path, name: str | None) -> tuple[str, pathlib.Path]:
    """Name and folder of the model to serve from a working directory."""
    base = workdir / "serving"
    found = sorted(entry.name for entry in base.iterdir() if entry.is_dir()) if base.is_dir() else []
    if not found:
        raise InputError(
            f"No model was pushed in {workdir}: run `imagemill run CONFIG --workdir {workdir}` first."
        )
    if name is None and len(found) > 1:
        raise InputError(f"{workdir} holds several models, {', '.join(found)}: choose one with --model_name.")
    if name is not None and name not in found:
        raise InputError(f"{workdir} holds no model {name!r}; it holds {', '.join(found)}.")
    chosen = name or found[0]
    return chosen, base / chosen


@app.command(epilog="Example: imagemill predict cat.jpg dog.jpg --server localhost:8500 --model_name pets")
def predict(
    images: Annotated[
        list[pathlib.Path], typer.Argument(metavar="IMAGE...", help="Image files.", show_default=False)
    ],
    server: Server = "localhost:8500",
    model_name: Annotated[
        str, typer.Option("--model_name", metavar="NAME", help="Model to ask.")
    ] = "classifier",
    json_: Json = False,
) -> None:
    """Ask a model server what is on images: one line an image, class and confidence."""
    from pipeline import predict as predicting

    raise typer.Exit(predicting.predict(images, server, model_name, out, err, as_json=json_))


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


def _load(path: pathlib.Path, overrides: list[str] | None, data: str | None) -> Any:
    from pipeline import config

    return config.load(path, overrides or (), data)


if __name__ == "__main__":
    main()
