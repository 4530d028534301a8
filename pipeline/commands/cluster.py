"""Commands for Kubeflow Pipelines: compile, submit, schedule, runs."""

from __future__ import annotations

import json
import pathlib
from typing import Annotated, Any

import typer
from rich.table import Table

from pipeline.commands.options import ConfigPath, Json, Overrides, app, err, load, out

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

DEFAULT_HOST = "http://localhost:8888"


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
    loaded = load(config, overrides, data)
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
    loaded = load(config, overrides, data)
    # A wrong host in half a second, not after the seconds that compiling takes.
    from pipeline import kubeflow_client

    cluster = kubeflow_client.Cluster(kubeflow_client.Place(host, namespace, experiment))
    from pipeline import kubeflow, quiet

    with quiet.without_greeting():
        package = kubeflow.compile_package(loaded, image)
    return package, kubeflow_client.parse_arguments(package, parameters or []), cluster
