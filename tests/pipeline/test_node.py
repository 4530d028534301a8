"""The entry point of a pod: what it says, how it ends, and that it can be stopped at any time."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

from modules.errors import InputError
from pipeline import node_parameters, node_worker
from pipeline.code import computing_code
from pipeline.node import Teller

PARAMETERS = {
    "data_path": "/data",
    "span": "-1",
    "epochs": "3",
    "learning_rate": "0.001",
    "pipeline_root": "/artifacts",
}


def _start(connection: str | None = None, **changes: str) -> subprocess.Popen:
    given = {"node": "Trainer", "run_id": "run-1", "pipeline": "", "code": computing_code(), **PARAMETERS}
    arguments = [word for key, value in (given | changes).items() for word in (f"--{key}", value)]
    environment = {key: value for key, value in os.environ.items() if key != "IMAGEMILL_METADATA"}
    if connection:
        environment["IMAGEMILL_METADATA"] = connection
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.node", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _end(process: subprocess.Popen) -> tuple[int, list[dict[str, Any]]]:
    out, err = process.communicate(timeout=200)
    assert err == "", "everything belongs into the JSON lines of standard output"
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines
    assert all((line["node"], line["run"]) == ("Trainer", "run-1") for line in lines)
    return process.returncode, lines


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": "five"}, "epochs: Input should be a valid integer.*received 'five'"),
        ({"learning_rate": "0"}, "learning_rate: Input should be greater than 0"),
        ({"data_path": ""}, "data_path: String should have at least 1 character"),
        ({"code": "0123456789abcdef"}, "compiled from other code .0123456789abcdef. than this image holds"),
        ({"epoch": "5"}, "unrecognized arguments: --epoch"),
    ],
)
def test_bad_arguments_are_told_and_not_worth_a_retry(changes: dict[str, str], message: str) -> None:
    code, lines = _end(_start(**changes))
    assert code == 2
    assert re.search(message, lines[-1]["message"])
    assert lines[-1]["severity"] == "ERROR"


def test_a_missing_connection_and_a_broken_pipeline_are_bad_input() -> None:
    code, lines = _end(_start())
    assert code == 2
    assert "IMAGEMILL_METADATA is not set" in lines[-1]["message"]
    sqlite = json.dumps({"sqlite": {"filename_uri": "/tmp/none"}})
    code, lines = _end(_start(sqlite, pipeline="bm90IGd6aXA="))
    assert code == 2
    assert "--pipeline holds no compiled pipeline" in lines[-1]["message"]


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), 75, "A volume is full"),
        (RuntimeError("tensorflow: No space left on device"), 75, "A volume is full"),
        (InputError("too few images"), 2, "too few images"),
        (ValueError("the loss is nan"), 1, "ValueError: the loss is nan"),
    ],
)
def test_the_exit_code_says_whether_a_retry_helps(
    error: Exception, code: int, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        raise RuntimeError("what TFX makes of it") from error
    except RuntimeError as wrapped:
        assert node_worker._failed(logging.getLogger("test"), wrapped) == code
    assert caplog.records[-1].getMessage().startswith(message)
    assert "what TFX makes of it" in caplog.records[-1].more["traceback"]


def test_types_are_those_declared_whatever_the_text_looks_like() -> None:
    parsed = node_parameters.parse(PARAMETERS | {"learning_rate": "1", "epochs": "3"})
    assert (parsed.learning_rate, type(parsed.learning_rate)) == (1.0, float)
    with pytest.raises(InputError, match=r"epochs.*received '2\.5'"):
        node_parameters.parse(PARAMETERS | {"epochs": "2.5"})
    with pytest.raises(InputError, match="epochs: Field required"):
        node_parameters.parse({key: value for key, value in PARAMETERS.items() if key != "epochs"})


# A port that nobody listens on: the node waits for its database and can be disturbed meanwhile.
AWAY = json.dumps(
    {"mysql": {"host": "127.0.0.1", "port": 9, "database": "m", "user": "u", "password": "secret-word"}}
)


def _start_and_wait_for_the_database() -> tuple[subprocess.Popen, list[str]]:
    """A node in the middle of its work: waiting. Returns it and the lines so far."""
    from tfx.proto.orchestration import pipeline_pb2

    ir = pipeline_pb2.Pipeline()
    ir.nodes.add().pipeline_node.node_info.id = "Trainer"
    process = _start(AWAY, pipeline=node_worker.encode(ir))
    lines = []
    for line in process.stdout:
        lines.append(line)
        if "Waiting for ML Metadata's database at 127.0.0.1:9" in line:
            return process, lines
    raise AssertionError("".join(lines))


def _worker_of(process: subprocess.Popen) -> int:
    (child,) = pathlib.Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


def test_sigterm_ends_a_node_at_once_and_cleanly() -> None:
    process, before = _start_and_wait_for_the_database()
    worker = _worker_of(process)
    process.terminate()
    code, lines = _end(process)
    assert code == 128 + signal.SIGTERM
    assert "Received SIGTERM" in lines[0]["message"]
    assert _is_gone(worker)
    assert "secret-word" not in "".join(before) + json.dumps(lines)


def test_a_node_that_is_killed_says_what_to_do() -> None:
    process, _ = _start_and_wait_for_the_database()
    os.killpg(_worker_of(process), signal.SIGKILL)
    code, lines = _end(process)
    assert code == 128 + signal.SIGKILL
    assert "ran out of memory" in lines[-1]["message"]


def test_the_worker_does_not_outlive_its_pod() -> None:
    process, _ = _start_and_wait_for_the_database()
    worker = _worker_of(process)
    process.kill()
    process.communicate()
    assert _is_gone(worker)


def test_native_lines_are_wrapped_and_our_own_passed_on() -> None:
    out = io.StringIO()
    lines = [
        b"E0000 00:00:1 cuda.cc] no device\n",
        b"plain \xff words\n",
        b"\n",
        b'{"severity": "ERROR", "message": "why", "traceback": "..."}\n',
        b'{"other": "json"}\n',
    ]
    Teller("Trainer", "run-1", out).copy(iter(lines))
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [(one["severity"], one["message"]) for one in told] == [
        ("ERROR", "E0000 00:00:1 cuda.cc] no device"),
        ("INFO", "plain \ufffd words"),
        ("ERROR", "why"),
        ("INFO", '{"other": "json"}'),
    ]
    assert told[2]["traceback"] == "..."
    assert all(one["run"] == "run-1" and one["time"].endswith("+00:00") for one in told)
