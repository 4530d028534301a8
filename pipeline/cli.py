"""The command line. Nothing heavy is imported before the command that needs it runs."""

from __future__ import annotations

import contextlib
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
Image = Annotated[
    str, typer.Option(metavar="REF", help="Container image of Imagemill, best by digest.", show_default=False)
]
ClusterData = Annotated[
    str | None,
    typer.Option(metavar="DIR", help="Folder of images as pods see it, or gs://...", show_default=False),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "--parameter",
        metavar="NAME=VALUE",
        help="Parameter of this run: data_path, span, epochs, learning_rate, pipeline_root, image.",
        show_default=False,
    ),
]
Host = Annotated[
    str, typer.Option(metavar="URL", envvar="IMAGEMILL_KUBEFLOW_HOST", help="API of Kubeflow Pipelines.")
]
Namespace = Annotated[str, typer.Option(metavar="NAME", help="Namespace that the pods run in.")]
Experiment = Annotated[str, typer.Option(metavar="NAME", help="Experiment that lists the runs.")]
ServiceAccount = Annotated[
    str | None, typer.Option(metavar="NAME", help="Service account of the pods.", show_default=False)
]
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

DEFAULT_HOST = "http://localhost:8888"
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
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node, whatever is cached.")] = False,
    like_kubeflow: Annotated[
        bool,
        typer.Option("--like-kubeflow", help="Run each node as Kubeflow would, as a process of its own."),
    ] = False,
    json_: Json = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Show the log of the libraries.")] = False,
) -> None:
    """Run the pipeline here: ingest, validate, transform, train, evaluate, push.

    Exit codes: 0 pushed, 1 failed, 2 bad input or configuration, 3 not blessed and so not pushed.
    """
    from pipeline import run as running
    from pipeline import runs, view

    loaded = _load(config, overrides, data)
    if verbose:
        result = running.run(loaded, workdir, not no_cache, running.LogEcho(err), like_kubeflow)
    else:
        with view.RunView(err) as live:
            result = running.run(loaded, workdir, not no_cache, live.listen, like_kubeflow)
    if json_:
        print(json.dumps(result, ensure_ascii=False))
    log = runs.RunFolder(workdir / "runs" / result["run_id"]).log
    view.print_result(err if json_ or "error" in result else out, result, str(log))
    raise typer.Exit(result["exit_code"])


@app.command(
    name="compile",
    epilog="Example: imagemill compile pets.yaml --data /mnt/data/pets --image registry.example/imagemill:1",
)
def compile_(
    config: ConfigPath,
    image: Image,
    data: ClusterData = None,
    overrides: Overrides = None,
    no_cache: Annotated[bool, typer.Option("--no-cache", help="Run every node, whatever is cached.")] = False,
    output: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="FILE", help="File to write.", show_default="<pipeline name>.yaml"),
    ] = None,
) -> None:
    """Compile the pipeline to one package for Kubeflow Pipelines, to submit or to upload."""
    loaded = _load(config, overrides, data)
    from pipeline import kubeflow, quiet

    with quiet.without_greeting():
        package = kubeflow.compile_package(loaded, image, not no_cache)
    path = output or pathlib.Path(f"{package.name}.yaml")
    kubeflow.write_package(package, path)
    out.print(f"{path}: {len(package.executors)} containers of {image}.", soft_wrap=True)


@app.command(
    epilog="Example: imagemill submit pets.yaml --image registry.example/imagemill:1 --wait",
)
def submit(
    config: ConfigPath,
    image: Image,
    data: ClusterData = None,
    overrides: Overrides = None,
    parameters: Parameters = None,
    host: Host = DEFAULT_HOST,
    namespace: Namespace = "kubeflow",
    experiment: Experiment = "imagemill",
    service_account: ServiceAccount = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the run until it ends.")] = False,
    json_: Json = False,
) -> None:
    """Run the pipeline on Kubeflow Pipelines.

    Exit codes: 0 submitted, or with --wait succeeded; 1 failed; 2 bad input, or the cluster refuses.
    """
    package, arguments, cluster = _cluster(
        config, image, data, overrides, parameters, host, namespace, experiment
    )
    submitted = cluster.submit(package, arguments, service_account)
    err.print(f"Submitted: {submitted.url}", soft_wrap=True)
    state = None
    if wait:
        state = cluster.follow(submitted.run_id, lambda task, state: err.print(f"{task:<18} {state.lower()}"))
        err.print(f"The run is {state.lower()}.")
    if json_:
        print(json.dumps({"run_id": submitted.run_id, "url": submitted.url, "state": state}))
    raise typer.Exit(0 if state in (None, "SUCCEEDED") else 1)


@app.command(
    epilog="Example: imagemill schedule pets.yaml --image registry.example/imagemill:1 --cron '0 3 * * *'",
)
def schedule(
    config: ConfigPath,
    image: Image,
    cron: Annotated[
        str,
        typer.Option(help="Minute, hour, day of month, month, day of week; UTC.", show_default=False),
    ],
    data: ClusterData = None,
    overrides: Overrides = None,
    parameters: Parameters = None,
    catch_up: Annotated[bool, typer.Option("--catch-up", help="Make up for runs that were missed.")] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=10, help="Runs at most at a time.")] = 1,
    new_span_only: Annotated[
        bool, typer.Option("--new-span-only", help="Learn from a new {SPAN} of the data only.")
    ] = False,
    host: Host = DEFAULT_HOST,
    namespace: Namespace = "kubeflow",
    experiment: Experiment = "imagemill",
    service_account: ServiceAccount = None,
) -> None:
    """Run the pipeline on Kubeflow Pipelines again and again."""
    from pipeline import kubeflow_client

    kubeflow_client.with_seconds(cron)
    if new_span_only:
        overrides = [*(overrides or []), "data.new_spans_only=true"]
    package, arguments, cluster = _cluster(
        config, image, data, overrides, parameters, host, namespace, experiment
    )
    made = cluster.schedule(package, arguments, cron, catch_up, concurrency, service_account)
    out.print(f"Scheduled {package.name} at {cron!r} (UTC): recurring run {made}.", soft_wrap=True)


@app.command(epilog="Example: imagemill runs --host http://localhost:8888 --json")
def runs(
    host: Host = DEFAULT_HOST,
    namespace: Namespace = "kubeflow",
    experiment: Experiment = "imagemill",
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many, the newest first.")] = 20,
    json_: Json = False,
) -> None:
    """List runs on Kubeflow Pipelines; `history` lists those of this machine."""
    from pipeline import kubeflow_client

    found = kubeflow_client.Cluster(kubeflow_client.Place(host, namespace, experiment)).runs(limit)
    if json_:
        print(json.dumps(found, ensure_ascii=False))
        return
    table = Table("run", "name", "state", "created", box=None, pad_edge=False)
    for one in found:
        table.add_row(one["run_id"], one["name"], (one["state"] or "").lower(), one["created"])
    out.print(table)


def _cluster(
    config: pathlib.Path,
    image: str,
    data: str | None,
    overrides: list[str] | None,
    parameters: list[str] | None,
    host: str,
    namespace: str,
    experiment: str,
) -> tuple[Any, dict[str, Any], Any]:
    """Package, arguments and connection; what is wrong with any of them is told before anything is sent."""
    loaded = _load(config, overrides, data)
    # A wrong host in half a second, not after the seconds that compiling takes.
    from pipeline import kubeflow_client

    cluster = kubeflow_client.Cluster(kubeflow_client.Place(host, namespace, experiment))
    from pipeline import kubeflow, quiet

    with quiet.without_greeting():
        package = kubeflow.compile_package(loaded, image)
    return package, kubeflow_client.parse_arguments(package, parameters or []), cluster


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
