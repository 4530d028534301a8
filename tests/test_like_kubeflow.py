"""The compiled package, run command by command: the same results as `run`, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ml_metadata.metadata_store import metadata_store
from ml_metadata.proto import metadata_store_pb2

from pipeline import config, kubeflow_local, local, metadata, runs, worker
from tests.conftest import Project
from tests.mariadb import MariaDB

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]

# What depends on earlier runs runs again.
ALWAYS = {"PreviousData", "DriftGate", "Baseline", "Pusher"}


@pytest.fixture(scope="module")
def mariadb() -> Iterator[MariaDB]:
    with MariaDB() as server:
        yield server


def _prepare(project: Project, *overrides: str) -> tuple[runs.RunFolder, kubeflow_local.Prepared]:
    loaded = config.load(project.config, overrides)
    folder = runs.create(project.workdir)
    folder.write(folder.request, {"config": loaded.model_dump(mode="json"), "started": 0.0})
    folder.log.touch()
    return folder, kubeflow_local.prepare(loaded, folder, enable_cache=True)


def _run(project: Project, *overrides: str) -> dict[str, Any]:
    """`imagemill run --like-kubeflow` in this process, as its worker does."""
    loaded = config.load(project.config, overrides)
    folder = runs.create(project.workdir)
    request = {"config": loaded.model_dump(mode="json"), "cache": True, "like_kubeflow": True}
    folder.write(folder.request, {**request, "started": 0.0})
    worker.main(folder)
    return folder.read(folder.result)


def _computed(result: dict[str, Any]) -> dict[str, float]:
    """The metrics but for those of the machine: size and latency are measured anew."""
    measured = {"size_mb", "latency_p50_ms", "latency_p95_ms"}
    return {name: value for name, value in result["metrics"].items() if name not in measured}


def _fresh(result: dict[str, Any]) -> set[str]:
    return {name for name, node in result["nodes"].items() if not node["cached"]}


def test_on_sqlite_it_gives_what_run_gives_and_both_share_one_cache(project: Project, make_project) -> None:
    other = make_project()
    result = _run(other)
    assert result.get("exit_code") == 0, result
    assert _computed(result) == _computed(project.first)
    assert result["examples"] == project.first["examples"]
    assert list(result["nodes"]) and set(result["nodes"]) == set(project.first["nodes"])
    assert _fresh(result) == set(result["nodes"])

    # The other way round: what a run computes is found by the commands of the package.
    again = _run(project)
    assert _fresh(again) <= ALWAYS | {"Evaluator", "Report"}
    assert again["pushed_version"] == project.first["pushed_version"]

    # What the exit handler leaves.
    record = other.workdir / "artifacts" / "runs" / result["run_id"]
    assert json.loads((record / "result.json").read_text())["metrics"] == result["metrics"]
    page = pathlib.Path(result["nodes"]["Report"]["outputs"]["report"], "report.html")
    assert (record / "report.html").read_bytes() == page.read_bytes()
    (log,) = [path.read_text() for path in other.workdir.glob("runs/*/log.txt")]
    nodes = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert {line["node"] for line in nodes} == {*result["nodes"], "Finish"}
    assert {line["run"] for line in nodes} == {result["run_id"]}


def test_bad_data_end_the_run_at_once_and_are_recorded(make_project, tmp_path: pathlib.Path) -> None:
    project = make_project()
    result = _run(project, f"data.path={tmp_path / 'nowhere'}")
    assert result["exit_code"] == 2
    assert result["failed_node"] == "ImageExampleGen"
    assert "nowhere" in result["error"]
    (path,) = project.workdir.glob("artifacts/runs/*/result.json")
    record = json.loads(path.read_text())
    assert record["state"] != "complete"
    assert record["error"] == result["error"]
    assert record["nodes"]["Trainer"] == {"state": "not started"}


# Long enough at work to be seen in ML Metadata; the others are killed when they begin.
LONG = ("ImageExampleGen", "StatisticsGen", "Transform", "Trainer", "InfraValidator", "Evaluator")


class _Trouble:
    """Kills the first attempt of every node in the middle of its work, and takes the database away once."""

    def __init__(self, ir: Any, server: MariaDB, folder: runs.RunFolder):
        self._types = {
            one.pipeline_node.node_info.id: one.pipeline_node.node_info.type.name for one in ir.nodes
        }
        self._server = server
        self._folder = folder
        self._connection = metadata.connection_from_environment()
        self.killed: set[str] = set()
        self.outages = 0
        self.faults: list[BaseException] = []
        self._threads: list[threading.Thread] = []

    def on_start(self, node_id: str) -> None:
        thread = threading.Thread(target=self._disturb, args=(node_id,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _disturb(self, node_id: str) -> None:
        try:
            self._wait(lambda: self._beginnings(node_id) == 1)
            if node_id in LONG:
                self._wait(lambda: self._is_registered(node_id))
            os.killpg(self._worker(node_id), signal.SIGKILL)
            self.killed.add(node_id)
            if node_id == "Trainer":
                self._wait(lambda: self._beginnings(node_id) == 2)
                self._server.stop()
                time.sleep(20)
                self._server.start()
                self.outages += 1
        except BaseException as error:
            self.faults.append(error)

    @staticmethod
    def _wait(condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            time.sleep(0.02)

    def _beginnings(self, node_id: str) -> int:
        """How many attempts of a node have begun to work."""
        # Only whole lines; the last may be on its way.
        *lines, _ = self._folder.log.read_text().split("\n")
        told = [json.loads(line) for line in lines]
        return sum(one["node"] == node_id and one.get("event") == "started" for one in told)

    def _is_registered(self, node_id: str) -> bool:
        store = metadata_store.MetadataStore(self._connection)
        executions = store.get_executions_by_type(self._types[node_id])
        return any(one.last_known_state == metadata_store_pb2.Execution.RUNNING for one in executions)

    def _worker(self, node_id: str) -> int:
        for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                words = path.read_bytes().decode(errors="replace").split("\0")
                if {"pipeline.node_worker", node_id, self._folder.run_id} <= set(words):
                    return int(path.parent.name)
        raise LookupError(node_id)


def test_on_mariadb_every_node_killed_once_and_the_database_away(
    project: Project, make_project, mariadb: MariaDB, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(metadata.VARIABLE, mariadb.connection)
    other = make_project()
    folder, prepared = _prepare(other)
    ir = local.compile_local(config.load(other.config), other.workdir)
    trouble = _Trouble(ir, mariadb, folder)
    nodes = kubeflow_local.run(prepared, on_start=trouble.on_start)
    trouble.join()
    assert trouble.faults == []
    assert trouble.killed == set(project.first["nodes"])
    assert trouble.outages == 1

    from pipeline import lineage

    result = lineage.summarize(folder.run_id, nodes, lineage.Lineage(prepared.connection, nodes))
    assert _computed(result) == _computed(project.first)
    assert result["examples"] == project.first["examples"]
    assert len(other.versions()) == 1, "a retry must neither push twice nor leave half a version"

    # No node of the run has more than one result, so nothing downstream saw an input twice.
    store = metadata_store.MetadataStore(prepared.connection)
    complete = [
        one.type
        for one in store.get_executions()
        if one.last_known_state
        in (metadata_store_pb2.Execution.COMPLETE, metadata_store_pb2.Execution.CACHED)
    ]
    assert len(complete) == len(result["nodes"])

    second = _run(other)
    assert _fresh(second) <= ALWAYS | {"Evaluator", "Report"}
    assert second["pushed_version"] == result["pushed_version"]
