"""The records of runs below a working directory: one folder a run, readable without TFX.

<workdir>/runs/<run id>/request.json   what was asked: configuration, cache, version
                        events.jsonl   nodes and progress, as they happened
                        log.txt        everything that libraries logged
                        result.json    how it ended; absent when the run was killed
<workdir>/metadata.db                  ML Metadata
<workdir>/artifacts/                   artifacts of the nodes
<workdir>/serving/<model>/<version>/   what was pushed
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modules.errors import InputError


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: pathlib.Path

    @property
    def run_id(self) -> str:
        return self.path.name

    @property
    def workdir(self) -> pathlib.Path:
        return self.path.parent.parent

    @property
    def request(self) -> pathlib.Path:
        return self.path / "request.json"

    @property
    def events(self) -> pathlib.Path:
        return self.path / "events.jsonl"

    @property
    def log(self) -> pathlib.Path:
        return self.path / "log.txt"

    @property
    def result(self) -> pathlib.Path:
        return self.path / "result.json"

    def read(self, path: pathlib.Path) -> dict[str, Any]:
        """Content of one of the JSON files; empty when it is not there."""
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}

    def write(self, path: pathlib.Path, content: dict[str, Any]) -> None:
        """Writes one of the JSON files, whole or not at all."""
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        partial.replace(path)


def create(workdir: pathlib.Path) -> RunFolder:
    """Makes the folder of a new run, named by the local time."""
    name = time.strftime("%Y%m%d-%H%M%S")
    for suffix in ["", *(f"-{number}" for number in range(2, 1000))]:
        with contextlib.suppress(FileExistsError):
            path = workdir / "runs" / f"{name}{suffix}"
            path.mkdir(parents=True)
            return RunFolder(path)
    raise RuntimeError(f"1000 runs began in the same second in {workdir}.")


def is_running(folder: RunFolder) -> bool:
    """Whether a run without a result is the one that holds the lock of its working directory."""
    newest = max((folder.workdir / "runs").glob("*/request.json"), key=lambda path: path.stat().st_mtime)
    if folder.result.exists() or newest != folder.request:
        return False
    with (folder.workdir / ".lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def history(workdir: pathlib.Path) -> list[RunFolder]:
    """All runs of a working directory, the oldest first.

    Raises:
      InputError: when there is no such directory, or nothing ever ran in it.
    """
    folders = sorted((workdir / "runs").glob("*/request.json"), key=lambda path: path.parent.name)
    if not folders:
        raise InputError(f"No runs in {workdir}: run `imagemill run CONFIG --workdir {workdir}` first.")
    return [RunFolder(path.parent) for path in folders]


@contextlib.contextmanager
def exclusive(workdir: pathlib.Path) -> Iterator[None]:
    """Holds a working directory for one run; the lock goes with the process, however it ends.

    Raises:
      InputError: when another run holds it, or it cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        lock = (workdir / ".lock").open("a+")
    except OSError as error:
        raise InputError(f"--workdir {workdir}: cannot be written to: {error.strerror}.") from error
    with lock as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise InputError(
                f"Another run (process {holder}) works in {workdir}. Wait for it, or give another --workdir."
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
