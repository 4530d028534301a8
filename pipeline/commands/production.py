"""Commands around a served model: serve, predict, batch, promote, rollback, drift."""

from __future__ import annotations

import contextlib
import json
import logging
import pathlib
from typing import Annotated, Any

import typer
from rich.text import Text

from modules.errors import InputError
from pipeline.commands.options import DEFAULT_WORKDIR, Json, Workdir, app, err, out

Server = Annotated[str, typer.Option(metavar="HOST:PORT", help="gRPC address of the model server.")]

PushedModel = Annotated[
    str | None,
    typer.Option(
        "--model_name", metavar="NAME", help="Name of the model.", show_default="the only one pushed"
    ),
]

ModelBasePath = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--model_base_path",
        metavar="DIR",
        help="Folder of versions, instead of --workdir.",
        show_default=False,
    ),
]

ModelConfigFile = Annotated[
    pathlib.Path | None,
    typer.Option(
        "--model_config_file",
        metavar="FILE",
        help="The file that servers read, instead of the one in --workdir.",
        show_default=False,
    ),
]

WaitFor = Annotated[
    str | None,
    typer.Option(
        "--server", metavar="HOST:PORT", help="Wait until this server has followed.", show_default=False
    ),
]

WaitSeconds = Annotated[float, typer.Option("--timeout", metavar="SECONDS", help="How long to wait.")]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Example: imagemill serve --workdir imagemill-work --port 8500",
)
def serve(
    context: typer.Context,
    workdir: Workdir = DEFAULT_WORKDIR,
    model_base_path: ModelBasePath = None,
    model_name: PushedModel = None,
    port: Annotated[int, typer.Option("--port", help="Port for gRPC.")] = 8500,
    rest_api_port: Annotated[int, typer.Option("--rest_api_port", help="Port for REST.")] = 8501,
) -> None:
    """Serve the pushed model as TensorFlow Serving does, until Ctrl-C.

    Further flags of tensorflow_model_server are understood as well.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    from pipeline import promote, quiet
    from serving import flags, server
    from serving.errors import StartError

    labels: list[str] = []
    if model_base_path is None:
        model_name, model_base_path = _pushed_model(workdir, model_name)
        with contextlib.suppress(
            OSError
        ):  # of a working directory that may only be read, the latest is served
            file = promote.keep_config(model_base_path, model_name)
            labels = [f"--model_config_file={file}", "--model_config_file_poll_wait_seconds=1"]
            labels += ["--allow_version_labels_for_unavailable_models=true"]
    elif model_base_path.is_dir() and not any(path.name.isdecimal() for path in model_base_path.iterdir()):
        below = sorted(str(path.parent) for path in model_base_path.glob("*/[0-9]*"))
        hint = f" Did you mean {below[0]}?" if below else ""
        err.print(
            Text(f"{model_base_path} holds no versions (folders named by numbers) yet.{hint}", "yellow")
        )
    arguments = ["--port", str(port), "--rest_api_port", str(rest_api_port)]
    arguments += ["--model_name", model_name or "default", "--model_base_path", str(model_base_path)]
    try:
        options = flags.parse([*arguments, *labels, *context.args])
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


@app.command(epilog="Example: imagemill predict photos 'more/*.jpg' --model_name pets --top 3 --csv")
def predict(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...",
            help="Files, folders, patterns, or - for an image or a path a line on standard input.",
            show_default=False,
        ),
    ],
    server: Server = "localhost:8500",
    model_name: Annotated[
        str, typer.Option("--model_name", metavar="NAME", help="Model to ask.")
    ] = "classifier",
    version_label: Annotated[
        str | None,
        typer.Option("--version_label", metavar="LABEL", help="Ask this version.", show_default="the latest"),
    ] = None,
    top: Annotated[int, typer.Option(min=1, metavar="K", help="Show the K likeliest classes.")] = 1,
    timeout: Annotated[float, typer.Option(min=0.001, metavar="SECONDS", help="For one request.")] = 30.0,
    ca_file: Annotated[
        pathlib.Path | None,
        typer.Option(
            "--ca_file",
            metavar="FILE",
            help="Use TLS; PEM of the authority that signed the server's certificate.",
            show_default=False,
        ),
    ] = None,
    token_file: Annotated[
        pathlib.Path | None,
        typer.Option("--token_file", metavar="FILE", help="Holds the token to send.", show_default=False),
    ] = None,
    json_: Json = False,
    csv_: Annotated[bool, typer.Option("--csv", help="Print CSV, a line an image.")] = False,
) -> None:
    """Ask a model server what is on images: one line an image, class and confidence.

    Exit codes: 0 all classified, 1 no answer, 2 a bad image or an unknown model.
    """
    from pipeline import predict as predicting
    from serving.client import Classifier, Security
    from serving.errors import ServingError

    if json_ and csv_:
        raise InputError("--json and --csv: choose one of them.")
    try:
        token = token_file.read_text(encoding="utf-8").strip() if token_file else None
        classifier = Classifier(
            server,
            model_name,
            version_label=version_label,
            timeout=timeout,
            security=Security(ca=ca_file, token=token),
        )
    except (OSError, ValueError, ServingError) as error:
        raise InputError(str(error)) from error
    shown = predicting.Shown("json" if json_ else "csv" if csv_ else "table", top)
    with classifier:
        raise typer.Exit(predicting.predict(images, classifier, shown, out, err))


@app.command(epilog="Example: imagemill batch photos --output answers.csv")
def batch(
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="Images at any depth; local or gs://.", show_default=False)
    ],
    output: Annotated[
        pathlib.Path,
        typer.Option(metavar="FILE", help="File to write, .csv or .jsonl.", show_default=False),
    ],
    workdir: Workdir = DEFAULT_WORKDIR,
    model_base_path: ModelBasePath = None,
    model_name: PushedModel = None,
    model_version: Annotated[
        int | None, typer.Option("--model_version", metavar="N", help="Version.", show_default="the latest")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
    beam_arg: Annotated[
        list[str] | None,
        typer.Option(metavar="ARG", help="Option of another Beam runner; repeatable.", show_default=False),
    ] = None,
) -> None:
    """Classify a large folder without a server. Interrupted, it goes on where it was."""
    from pipeline import quiet

    if model_base_path is None:
        _, model_base_path = _pushed_model(workdir, model_name)
    with quiet.without_greeting():
        from pipeline import batch as batching

        model = batching.model_folder(model_base_path, model_version)
        done = batching.run(
            folder,
            output,
            model,
            force,
            beam_arg or (),
            lambda done, total: err.print(f"{done:,} of {total:,} images"),
        )
    resumed = f", {done.resumed:,} of them before" if done.resumed else ""
    failed = f"; {done.failed:,} could not be classified, and say why" if done.failed else ""
    out.print(Text(f"{output}: {done.images:,} images{resumed}{failed}."), soft_wrap=True)


@app.command(epilog="Example: imagemill promote 1700000000 --label canary, and later: imagemill promote")
def promote(
    version: Annotated[
        int | None, typer.Argument(help="Version to move the label to.", show_default="the canary's")
    ] = None,
    label: Annotated[str, typer.Option(help="Label to move.")] = "stable",
    workdir: Workdir = DEFAULT_WORKDIR,
    model_name: PushedModel = None,
    model_config_file: ModelConfigFile = None,
    server: WaitFor = None,
    timeout: WaitSeconds = 120.0,
) -> None:
    """Move a version label: what clients that ask for `stable` or `canary` get."""
    from pipeline import promote as promoting

    file = _model_config(workdir, model_name, model_config_file)
    moved = promoting.promote(file, model_name, version, label)
    if server and moved.announced:
        promoting.wait(moved, label, server, timeout)
        moved = promoting.promote(file, model_name, version, label)
    _tell_moved(moved, label, server, timeout)


@app.command(epilog="Example: imagemill rollback --server localhost:8500")
def rollback(
    workdir: Workdir = DEFAULT_WORKDIR,
    model_name: PushedModel = None,
    model_config_file: ModelConfigFile = None,
    server: WaitFor = None,
    timeout: WaitSeconds = 120.0,
) -> None:
    """Move the label `stable` back to the version before the last promotion."""
    from pipeline import promote as promoting

    moved = promoting.rollback(_model_config(workdir, model_name, model_config_file), model_name)
    _tell_moved(moved, promoting.STABLE, server, timeout)


def _model_config(workdir: pathlib.Path, model_name: str | None, file: pathlib.Path | None) -> pathlib.Path:
    from pipeline import promote as promoting

    if file is not None:
        return file
    name, base_path = _pushed_model(workdir, model_name)
    return promoting.keep_config(base_path, name)


def _tell_moved(moved: Any, label: str, server: str | None, timeout: float) -> None:
    from pipeline import promote as promoting

    if moved.announced:
        out.print(
            f"Version {moved.announced} of {moved.model} will be loaded. When it is, run this again to move "
            f"{label}; with --server it waits for that itself."
        )
        return
    if server:
        promoting.wait(moved, label, server, timeout)
    shown = ", ".join(f"{name} {number}" for name, number in sorted(moved.after.items()))
    out.print(
        Text(f"{moved.model}: {label} is version {moved.after[label]}. Labels: {shown}."), soft_wrap=True
    )


@app.command(epilog="Example: imagemill drift logs/photos --workdir imagemill-work --json")
def drift(
    prefix: Annotated[
        str,
        typer.Argument(
            metavar="LOG",
            help="Begin of the request log's paths: filename_prefix of the model's logging_config.",
            show_default=False,
        ),
    ],
    workdir: Workdir = DEFAULT_WORKDIR,
    model_version: Annotated[
        int | None,
        typer.Option("--model_version", metavar="N", help="Version.", show_default="the one asked last"),
    ] = None,
    json_: Json = False,
) -> None:
    """Say what is asked in production that the model did not learn from.

    Exit codes: 0 nothing moved, 2 bad input, 3 something moved further than the run's drift settings allow.
    """
    from pipeline import quiet

    with quiet.without_greeting():
        from pipeline import drift as drifting

        report = drifting.drift(prefix, workdir, model_version)
    if json_:
        print(json.dumps(report._asdict(), ensure_ascii=False))
    else:
        drifting.show(report, out, err)
    raise typer.Exit(3 if report.moved else 0)
