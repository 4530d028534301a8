"""Runs the product's commands as a user does, and watches what they take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
IMAGEMILL = str(Path(sys.executable).with_name("imagemill"))
_SAMPLE_SECONDS = 0.2


@dataclass(frozen=True)
class Finished:
    """A command that ended.

    Attributes:
      seconds: wall time.
      output: its standard output.
      peak: bytes of memory that it and its children held at most at a time, shared pages counted for each.
    """

    seconds: float
    output: str
    peak: int


def command(*arguments: str, expect: tuple[int, ...] = (0,), cwd: Path | None = None) -> Finished:
    """Runs a command.

    Raises:
      RuntimeError: it ends with another exit code than expected; the message ends with what it wrote.
    """
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as output:
        began = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            stdout=output,
            stderr=errors,
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "2"},
        )
        watch = _Watch(process.pid)
        code = process.wait()
        seconds = time.perf_counter() - began
        peak = watch.stop()
        output.seek(0)
        if code not in expect:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(arguments)} ended with {code}:\n{errors.read()[-3000:]}")
        return Finished(seconds, output.read(), peak)


def run(
    config: Path, data: Path, workdir: Path, *overrides: str, to: str | None = None
) -> tuple[Finished, Any]:
    """`imagemill run`; returns how it ended and its result. A model that is not blessed is a result too."""
    sets = [part for override in overrides for part in ("--set", override)]
    end = ["--to", to] if to else []
    finished = command(
        IMAGEMILL, "run", str(config), "--data", str(data), "--workdir", str(workdir), "--json", *end, *sets,
        expect=(0, 3),
    )  # fmt: skip
    return finished, json.loads(finished.output)


def python(module: str, *arguments: str) -> Any:
    """The JSON that a module of this folder prints as its last line."""
    finished = command(sys.executable, "-m", module, *arguments)
    return json.loads(finished.output.splitlines()[-1])


class _Watch:
    """Samples the memory of a process and its descendants until it is stopped."""

    def __init__(self, pid: int):
        self._process = psutil.Process(pid)
        self._peak = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def stop(self) -> int:
        self._stop.set()
        self._thread.join()
        return self._peak

    def _sample(self) -> None:
        while not self._stop.wait(_SAMPLE_SECONDS):
            held = 0
            try:
                for process in [self._process, *self._process.children(recursive=True)]:
                    try:
                        held += process.memory_info().rss
                    except psutil.NoSuchProcess:
                        continue
            except psutil.NoSuchProcess:
                return
            self._peak = max(self._peak, held)
