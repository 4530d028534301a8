"""A run that is interrupted leaves nothing behind that harms, and the next one goes on with what was done."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import Project

# Two to four whole runs each, on a machine that may be busy.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def _start(project: Project, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "pipeline.cli", "run", str(project.config)]
    return subprocess.Popen(
        [*command, "--workdir", str(project.workdir), "--json", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _wait_for(project: Project, **wanted: object) -> dict:
    """The first event of the newest run that has these fields."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for path in sorted(project.workdir.glob("runs/*/events.jsonl"))[-1:]:
            for line in path.read_text().splitlines():
                event = json.loads(line)
                if wanted.items() <= event.items():
                    return event
        time.sleep(0.05)
    raise TimeoutError(f"no event {wanted}")


def _is_alive(pid: int) -> bool:
    try:
        # A process that ended but was not waited for still takes signals; its state tells.
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def _ends(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and _is_alive(pid):
        time.sleep(0.05)
    return not _is_alive(pid)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_an_interrupted_run_cleans_up_and_the_next_goes_on(make_project, sign: signal.Signals) -> None:
    project = make_project()
    run = _start(project, "--set", "train.epochs=500")
    worker = _wait_for(project, event="importing")["pid"]
    _wait_for(project, stage="training", epoch=2)
    os.kill(run.pid, sign)
    _, err = run.communicate(timeout=60)
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -signal.SIGKILL}
    assert run.returncode == codes[sign]
    assert "Traceback" not in err
    assert _ends(worker), "the worker outlived its command"
    assert project.versions() == []

    (request,) = [json.loads(path.read_text()) for path in project.workdir.glob("runs/*/request.json")]
    again = _start(project)
    out, err = again.communicate(timeout=400)
    assert again.returncode == 0, err
    assert not pathlib.Path(request["temporary"]).exists(), "temporary files were left behind"
    result = json.loads(out)
    done_before = ("ImageExampleGen", "StatisticsGen", "Transform")
    assert all(result["nodes"][name]["cached"] for name in done_before)
    assert project.versions() == [result["pushed_version"]]


def test_a_training_killed_in_mid_epoch_ends_as_an_undisturbed_one(make_project) -> None:
    project = make_project()
    settings = [
        *("--set", "train.epochs=40", "--set", "augment=[horizontal_flip, gaussian_noise]"),
        *("--set", "train.reduce_on_plateau={patience: 2}", "--set", "evaluate.min_accuracy=0"),
    ]
    run = _start(project, *settings)
    worker = _wait_for(project, event="importing")["pid"]
    _wait_for(project, stage="training", epoch=5)
    os.kill(worker, signal.SIGKILL)
    run.communicate(timeout=60)
    assert run.returncode == 1

    def record(result: dict, name: str) -> list | dict:
        return json.loads(pathlib.Path(result["nodes"]["Trainer"]["outputs"]["model_run"], name).read_text())

    def history(result: dict) -> list[dict]:
        timing = {"seconds", "images_per_second", "input_wait"}
        epochs = record(result, "history.json")
        return [{key: value for key, value in epoch.items() if key not in timing} for epoch in epochs]

    def finish(workdir: pathlib.Path) -> dict:
        project.workdir = workdir
        out, _ = _start(project, *settings).communicate(timeout=400)
        return json.loads(out)

    resumed = finish(project.workdir)
    assert record(resumed, "training.json")["resumed_at_epoch"] >= 5
    undisturbed = finish(project.workdir.with_name("undisturbed"))
    assert record(undisturbed, "training.json")["resumed_at_epoch"] is None
    assert history(resumed) == history(undisturbed)
    measured = {"size_mb", "latency_p50_ms", "latency_p95_ms"}
    for name in resumed["metrics"].keys() - measured:
        assert resumed["metrics"][name] == undisturbed["metrics"][name], name
    left = list(project.workdir.rglob("unfinished/*"))
    assert left == [], "the state of a finished training was left behind"
