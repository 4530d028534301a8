"""`imagemill run`: starts the worker, shows what it does, and says how it ended."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import IO, Any

from rich.console import Console

from components.image_example_gen import data
from modules.errors import InputError
from pipeline import runs
from pipeline.config import Config

Listener = Callable[[dict[str, Any]], None]

_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10


class LogEcho:
    """A listener that prints the log of the libraries as it grows, instead of a view of the nodes."""

    def __init__(self, console: Console):
        self._console = console
        self._file: IO[str] | None = None

    def __call__(self, event: dict[str, Any]) -> None:
        if event.get("event") == "log":
            self._file = open(event["path"], encoding="utf-8", errors="replace")  # noqa: SIM115 - kept
        self._console.print(self._file.read(), end="", markup=False, soft_wrap=True)


def run(
    config: Config,
    workdir: pathlib.Path,
    cache: bool,
    listener: Listener,
    to: str | None = None,
    like_kubeflow: bool = False,
) -> dict[str, Any]:
    """Runs a configuration in a process of its own.

    Args:
      config: validated configuration.
      workdir: working directory; made when it is not there.
      cache: whether nodes may take earlier results.
      listener: called with every event and every progress report, and with `{"event": "tick"}` meanwhile.
      like_kubeflow: whether each node is the command that Kubeflow would run in a container.
      to: node to end with; None for the whole pipeline.

    Returns:
      The run's result: `exit_code` and either the summary or `error` and `failed_node`.

    Raises:
      InputError: for data that cannot be a data set, before anything is written; for a working directory
        in use.
      KeyboardInterrupt: on Ctrl-C, after the worker has ended.
    """
    _check_data(config)
    with runs.exclusive(workdir):
        _remove_left_overs(workdir)
        folder = runs.create(workdir)
        temporary = tempfile.mkdtemp(prefix="imagemill-")
        folder.write(
            folder.request,
            {
                "config": config.model_dump(mode="json"),
                "cache": cache,
                "like_kubeflow": like_kubeflow,
                "to": to,
                "started": time.time(),
                "temporary": temporary,
            },
        )
        folder.events.touch()
        try:
            return _supervise(folder, temporary, listener)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _check_data(config: Config) -> None:
    if not config.data.path:
        raise InputError("No data: give --data FOLDER, or data.path in the configuration.")
    data.check(config.data.path, config.data.ingest)


def _remove_left_overs(workdir: pathlib.Path) -> None:
    """Temporary files of runs that were killed; the lock is held, so none of them is alive."""
    for folder in runs.history(workdir) if (workdir / "runs").is_dir() else []:
        if not folder.result.exists() and (temporary := folder.read(folder.request).get("temporary")):
            shutil.rmtree(temporary, ignore_errors=True)


def _supervise(folder: runs.RunFolder, temporary: str, listener: Listener) -> dict[str, Any]:
    with folder.log.open("ab") as log:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pipeline.worker", str(folder.path)],
            # The worker ends when this pipe closes, so it cannot outlive us.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches this process alone, which then ends the whole group of the worker.
            start_new_session=True,
            env={**os.environ, "TMPDIR": temporary, "TF_CPP_MIN_LOG_LEVEL": "1", "PYTHONUNBUFFERED": "1"},
        )
    try:
        listener({"event": "log", "path": str(folder.log)})
        for event in _follow(folder.events, worker):
            listener(event)
    except BaseException:
        _end(worker)
        raise
    result = folder.read(folder.result)
    if not result:
        result = {
            "run_id": folder.run_id,
            "exit_code": 1,
            "failed_node": None,
            "error": _how_it_died(worker.returncode),
        }
        folder.write(folder.result, result)
    return result


def _follow(events: pathlib.Path, worker: subprocess.Popen) -> Iterator[dict[str, Any]]:
    """What is appended to the events until the worker has ended, and a tick every tenth of a second."""
    with events.open(encoding="utf-8") as file:
        unfinished = ""
        while True:
            ended = worker.poll() is not None
            unfinished += file.read()
            *lines, unfinished = unfinished.split("\n")
            for line in lines:
                yield json.loads(line)
            yield {"event": "tick"}
            if ended:
                return
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.wait(_POLL_SECONDS)


def _end(worker: subprocess.Popen) -> None:
    """Ends the worker and its children: asked first, then made."""
    for sign, patience in ((signal.SIGTERM, _GRACE_SECONDS), (signal.SIGKILL, None)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(worker.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(patience)
            # The group may hold children that ignored the first signal.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker.pid, signal.SIGKILL)
            return


def _how_it_died(returncode: int) -> str:
    if returncode == -signal.SIGKILL:
        return "The worker was killed (SIGKILL); when nobody did that, the machine ran out of memory."
    if returncode < 0:
        return f"The worker was ended by {signal.Signals(-returncode).name}."
    return f"The worker ended with code {returncode} and left no result."
