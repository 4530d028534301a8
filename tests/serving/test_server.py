"""The server as a process: start, ports, signals, bad starts, and the child that a `with` block keeps."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import grpc
import pytest

from serving import server as server_module
from serving.client import Classifier
from serving.errors import StartError
from serving.flags import ServerOptions, parse
from serving.local import LocalServer, LocalServerError
from tests.serving.samples import MODEL, colour, encoded

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "serving.server", "--host=127.0.0.1"]


def start(*flags: str) -> subprocess.Popen:
    return subprocess.Popen(
        [*COMMAND, *flags], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )


def event(process: subprocess.Popen) -> dict:
    return json.loads(process.stdout.readline())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_tells_its_port_and_model_and_ends_well_on_a_signal(base_path: Path, number: int):
    process = start("--port=0", f"--model_name={MODEL}", f"--model_base_path={base_path}")
    listening = event(process)
    assert listening["event"] == "listening" and listening["port"] > 0
    assert event(process) == {"event": "loaded", "model": MODEL, "version": 7}
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["unloaded", "stopped"]


def test_a_port_in_use_is_one_line_and_exit_code_2(base_path: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(f"--port={port}", f"--model_base_path={base_path}")
        out, err = process.communicate(timeout=30)
    assert process.returncode == 2
    lines = [line for line in err.splitlines() if "Traceback" in line or line.startswith("error:")]
    assert len(lines) == 1 and f":{port}" in lines[0] and "in use" in lines[0]
    assert out == ""


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--model_base_path=/no/such/folder"], "/no/such/folder: there is no such folder"),
        ([], "--model_base_path is missing"),
        (["--model_base_path=.", "--port=70000"], "--port.*70000"),
        (["--model_base_path=.", "--prot=1"], "--prot"),
        (["--model_base_path=.", "--enable_model_warmup=maybe"], "maybe"),
    ],
)
def test_a_bad_start_is_refused(flags: list[str], message: str):
    with pytest.raises(StartError, match=message):
        server_module.serve(parse(flags), stop=threading.Event())


def test_main_prints_a_bad_start_and_returns_2(capsys: pytest.CaptureFixture[str]):
    assert server_module.main(["--model_base_path=/no/such/folder"]) == 2
    assert capsys.readouterr().err.startswith("error: --model_base_path /no/such/folder")


def test_serve_works_inside_another_program(base_path: Path):
    events: list[dict] = []
    loaded, stop = threading.Event(), threading.Event()

    def on_event(happened: dict) -> None:
        events.append(happened)
        if happened["event"] == "loaded":
            loaded.set()

    options = ServerOptions(str(base_path), MODEL, port=0, host="127.0.0.1")
    thread = threading.Thread(target=server_module.serve, args=(options, on_event, stop))
    thread.start()
    try:
        assert loaded.wait(60)
        with Classifier(f"127.0.0.1:{events[0]['port']}", MODEL) as classifier:
            assert classifier.classify(colour(0, 0, 250)).label == "blue"
    finally:
        stop.set()
        thread.join(30)
    assert [happened["event"] for happened in events] == ["listening", "loaded", "unloaded", "stopped"]


def test_a_request_under_way_is_answered_while_the_server_stops(base_path: Path):
    """The drain: many requests are sent, the server is told to stop, and none is lost half-way."""
    with LocalServer(base_path, MODEL) as server:
        channel = grpc.insecure_channel(server.address)
        with Classifier(server.address, MODEL) as classifier:
            request = classifier.target.predict_request([encoded(colour(9, 9, 200, 64))] * 64)
            calls = [classifier._predict.future(request, timeout=30) for _ in range(20)]
            calls[0].result()
            os.kill(server.pid, signal.SIGTERM)
            codes = {call.code() for call in calls}
        channel.close()
    # What was taken in is answered; what came too late is told so, in the code that clients try again.
    assert codes <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}
    assert grpc.StatusCode.OK in codes


def test_the_local_server_gives_the_log_of_a_model_that_cannot_load(saved_model: Path, tmp_path: Path):
    shutil.copytree(saved_model, tmp_path / "1")
    (tmp_path / "1" / "saved_model.pb").write_bytes(b"no model")
    with pytest.raises(LocalServerError, match="could not load version 1"), LocalServer(tmp_path, MODEL):
        pytest.fail("a broken model must not be served")


def test_the_local_server_tells_why_it_ended(tmp_path: Path):
    with (
        pytest.raises(LocalServerError, match=r"exit code 2(.|\n)*there is no such folder"),
        LocalServer(tmp_path / "missing", MODEL),
    ):
        pytest.fail("there is nothing to serve")


def test_the_local_server_does_not_wait_for_ever(tmp_path: Path):
    with (
        pytest.raises(LocalServerError, match=r"not loaded within \d s"),
        LocalServer(tmp_path, MODEL, timeout=3),
    ):
        pytest.fail("there is nothing to serve")


def test_the_local_server_dies_with_its_parent(base_path: Path):
    program = (
        "import os, sys\nfrom serving.local import LocalServer\n"
        f"server = LocalServer({str(base_path)!r}, {MODEL!r}).__enter__()\n"
        "print(server.pid, flush=True)\nos.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, timeout=60, cwd=ROOT
    )
    child = int(done.stdout)
    try:
        watch = os.pidfd_open(child)
    except ProcessLookupError:
        return  # it is gone already
    assert select.select([watch], [], [], 20)[0], "the server outlived its parent"
    os.close(watch)
