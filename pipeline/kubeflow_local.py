"""Runs a compiled package here: the very commands of its containers, as plain processes, in its order.

For a check without a cluster: the package, the arguments, the entry point and the parameters are those of
Kubeflow; only the containers and what Kubernetes puts into them are missing.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import IO, Any

from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from ml_metadata.proto import metadata_store_pb2

from components.image_example_gen.workers import available_cores
from modules import progress
from modules.errors import InputError
from pipeline import kubeflow, local, metadata
from pipeline.config import Config
from pipeline.launch import NodeFailedError, NodeResult
from pipeline.node import EXIT_COMPLETE, EXIT_INPUT
from pipeline.runs import RunFolder

_PLACEHOLDER = re.compile(r"\{\{\$\.(inputs\.parameters|outputs\.artifacts)\['([^']+)'\](\.path)?\}\}")
_JOB_ID = "{{$.pipeline_job_uuid}}"
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Command:
    """The container of a task as a process.

    Attributes:
      task: name of the task in the package.
      node_id: what the task is called in Kubeflow's UI: the node.
      arguments: command and arguments, placeholders replaced.
      environment: variables that the package sets.
      after: tasks that must have completed.
      retries: how often it may be tried again.
    """

    task: str
    node_id: str
    arguments: list[str]
    environment: dict[str, str]
    after: frozenset[str]
    retries: int


@dataclass
class Prepared:
    """A package ready to be run here."""

    package: kubeflow.Package
    values: dict[str, Any]
    folder: RunFolder
    connection: metadata_store_pb2.ConnectionConfig

    @property
    def node_ids(self) -> list[str]:
        """The nodes in an order in which they could run, without the one at the end."""
        return [command.node_id for command in commands(self.package, self.values, self.folder)]


def prepare(config: Config, folder: RunFolder, enable_cache: bool) -> Prepared:
    """Compiles the package of a run whose volumes are the working directory.

    ML Metadata is where the environment says, or the SQLite file of the working directory.
    """
    workdir = folder.workdir
    places = {"pipeline_root": str(workdir / "artifacts"), "serving": str(workdir / "serving")}
    config = config.model_copy(update={"kubeflow": config.kubeflow.model_copy(update=places)})
    package = kubeflow.compile_package(config, image="(none: a process)", enable_cache=enable_cache)
    (folder.path / "package.yaml").write_text(package.text(), encoding="utf-8")
    connection = (
        metadata.connection_from_environment()
        if os.environ.get(metadata.VARIABLE)
        else local.connection_config(workdir)
    )
    metadata.initialize(connection)
    return Prepared(package, defaults(package), folder, connection)


def run(
    prepared: Prepared,
    on_start: Callable[[str], None] = lambda node_id: None,
    on_finish: Callable[[NodeResult], None] = lambda result: None,
) -> list[NodeResult]:
    """Runs all tasks, side by side where the package allows and cores are free, and the exit handler last.

    Returns:
      The nodes that completed.

    Raises:
      InputError: a node says that what it was given cannot be used.
      NodeFailedError: a node did not complete, its retries included; the exit handler has run then too.
    """
    waiting = {one.task: one for one in commands(prepared.package, prepared.values, prepared.folder)}
    running: dict[str, _Process] = {}
    done: dict[str, NodeResult] = {}
    failed: list[_Process] = []
    try:
        while running or any(one.after <= done.keys() for one in waiting.values()):
            ready = [one for one in waiting.values() if one.after <= done.keys()]
            for command in ready[: max(0, available_cores() - len(running))]:
                on_start(command.node_id)
                running[command.task] = _Process(waiting.pop(command.task), prepared)
            time.sleep(_POLL_SECONDS)
            for process in [one for one in running.values() if one.has_ended()]:
                if process.code != EXIT_COMPLETE and process.may_try_again():
                    process.start()
                    continue
                task = running.pop(process.command.task).command.task
                if process.code == EXIT_COMPLETE:
                    done[task] = process.result()
                    on_finish(done[task])
                else:
                    failed.append(process)
    finally:
        for process in running.values():
            process.end()
    _finish(prepared, failed)
    for process in failed:
        error = (InputError if process.code == EXIT_INPUT else NodeFailedError)(process.reason())
        error.node_id = process.command.node_id
        raise error
    return list(done.values())


def commands(package: kubeflow.Package, values: Mapping[str, Any], folder: RunFolder) -> list[Command]:
    """The commands of the nodes, in an order in which they could run one after the other."""
    root = package.pipeline.root.dag
    (group,) = [task for task in root.tasks.values() if _component(package, task).HasField("dag")]
    inner = {name: _value(package, one, values, folder) for name, one in group.inputs.parameters.items()}
    dag = _component(package, group).dag
    found = {name: _command(package, name, task, inner, folder) for name, task in dag.tasks.items()}
    ordered: dict[str, Command] = {}
    while len(ordered) < len(found):
        ordered |= {name: one for name, one in found.items() if one.after <= ordered.keys()}
    return list(ordered.values())


def exit_command(
    package: kubeflow.Package, values: Mapping[str, Any], folder: RunFolder, status: dict[str, Any]
) -> Command:
    """The command of the exit handler, which is told how the others ended."""
    root = package.pipeline.root.dag
    ((name, task),) = [
        (name, task) for name, task in root.tasks.items() if not _component(package, task).HasField("dag")
    ]
    return _command(package, name, task, values, folder, status)


def _finish(prepared: Prepared, failed: list[_Process]) -> None:
    status: dict[str, Any] = {"state": "FAILED" if failed else "SUCCEEDED"}
    if failed:
        status["error"] = {"message": failed[0].reason()}
    process = _Process(exit_command(prepared.package, prepared.values, prepared.folder, status), prepared)
    while not process.has_ended():
        time.sleep(_POLL_SECONDS)


def defaults(package: kubeflow.Package) -> dict[str, Any]:
    """The values of the parameters that a run has when nobody says otherwise."""
    definitions = package.pipeline.root.input_definitions.parameters
    return {name: json_format.MessageToDict(one.default_value) for name, one in definitions.items()}


def _component(
    package: kubeflow.Package, task: pipeline_spec_pb2.PipelineTaskSpec
) -> pipeline_spec_pb2.ComponentSpec:
    return package.pipeline.components[task.component_ref.name]


def _command(
    package: kubeflow.Package,
    name: str,
    task: pipeline_spec_pb2.PipelineTaskSpec,
    outer: Mapping[str, Any],
    folder: RunFolder,
    status: dict[str, Any] | None = None,
) -> Command:
    component = _component(package, task)
    inputs = {key: _value(package, one, outer, folder, status) for key, one in task.inputs.parameters.items()}
    place = folder.path / "kubeflow" / name
    artifacts = {
        key: {
            "artifacts": [
                {
                    "name": key,
                    "uri": str(place / key),
                    "type": json_format.MessageToDict(one.artifact_type),
                    "metadata": {},
                }
            ]
        }
        for key, one in component.output_definitions.artifacts.items()
    }
    outputs = {"artifacts": artifacts, "outputFile": str(place / "output_metadata.json")}
    whole = json.dumps({"inputs": {"parameterValues": inputs}, "outputs": outputs})

    def replace(match: re.Match[str]) -> str:
        if match[1] == "inputs.parameters":
            return _text(inputs[match[2]])
        return artifacts[match[2]]["artifacts"][0]["uri"]

    container = package.pipeline.deployment_spec["executors"][component.executor_label]["container"]
    given = [*container["command"], *container["args"]]
    return Command(
        task=name,
        node_id=task.task_info.name,
        arguments=[whole if one == "{{$}}" else _PLACEHOLDER.sub(replace, one) for one in given],
        environment={one["name"]: one["value"] for one in container["env"]},
        after=frozenset(task.dependent_tasks),
        retries=task.retry_policy.max_retry_count,
    )


def _value(
    package: kubeflow.Package,
    given: pipeline_spec_pb2.TaskInputsSpec.InputParameterSpec,
    outer: Mapping[str, Any],
    folder: RunFolder,
    status: dict[str, Any] | None = None,
) -> Any:
    match given.WhichOneof("kind"):
        case "component_input_parameter":
            return outer[given.component_input_parameter]
        case "task_final_status":
            return status
        case _:
            constant = json_format.MessageToDict(given.runtime_value.constant)
            return folder.run_id if constant == _JOB_ID else constant


def _text(value: Any) -> str:
    """A value as Kubeflow puts it into an argument: a whole number has no decimals, whatever its type."""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return value if isinstance(value, str) else json.dumps(value)


@dataclass
class _Process:
    """A command as it runs, is tried again, and ends; its lines go to the log of the run."""

    command: Command
    prepared: Prepared
    attempts: int = 0
    code: int | None = None
    last: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.attempts += 1
        self.code = None
        self.last = {}
        here = pathlib.Path(sys.executable).parent
        root = pathlib.Path(__file__).parent.parent
        self._process = subprocess.Popen(
            self.command.arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                **self.command.environment,
                # `python` means the one of the image, which is this one.
                "PATH": f"{here}{os.pathsep}{os.environ.get('PATH', '')}",
                "PYTHONPATH": os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH")))),
                # Local folders that the package mounts.
                "TMPDIR": os.environ.get("TMPDIR", "/tmp"),
                metadata.VARIABLE: json_format.MessageToJson(self.prepared.connection, indent=None),
                progress.VARIABLE: str(self.prepared.folder.events),
            },
        )
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def _read(self, lines: IO[bytes]) -> None:
        with self.prepared.folder.log.open("ab") as log:
            for line in lines:
                log.write(line)
                log.flush()
                with contextlib.suppress(ValueError):
                    told = json.loads(line)
                    if told.get("event") in ("finished", "failed") or told.get("severity") == "ERROR":
                        self.last = told

    def has_ended(self) -> bool:
        self.code = self._process.poll()
        if self.code is not None:
            self._reader.join()
        return self.code is not None

    def may_try_again(self) -> bool:
        """Whether Kubeflow would; but not after bad input, where it would in vain."""
        return self.code != EXIT_INPUT and self.attempts <= self.command.retries

    def result(self) -> NodeResult:
        return NodeResult(
            self.command.node_id, self.last["execution"], self.last["cached"], self.last["seconds"]
        )

    def reason(self) -> str:
        return self.last.get("message") or f"it ended with code {self.code}"

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        self._process.wait()
