"""Progress of long work, from any process of a run to whoever watches it.

A run that wants progress names a file in the environment variable `IMAGEMILL_PROGRESS`; every process
appends one JSON object a line to it (appends this short are atomic on local files). Without the
variable nothing is written, so executors report unconditionally.
"""

from __future__ import annotations

import json
import os
import time

VARIABLE = "IMAGEMILL_PROGRESS"

_MINIMUM_SECONDS = 0.1
_last_emit: dict[str, float] = {}


def emit(stage: str, done: int, total: int | None = None, **figures: float | int | str) -> None:
    """Says how far a stage has come.

    Args:
      stage: what is going on, a word or two: `ingest`, `training`.
      done: finished units so far, in this process alone; a watcher adds the processes up.
      total: units in all, when known.
      **figures: what else a watcher may show, such as `epoch=2` or `val_accuracy=0.91`.

    Calls less than 0.1 s apart are dropped, except the last one (`done == total`).
    """
    path = os.environ.get(VARIABLE)
    if not path:
        return
    now = time.monotonic()
    if done != total and now - _last_emit.get(stage, -1.0) < _MINIMUM_SECONDS:
        return
    _last_emit[stage] = now
    line = json.dumps({"stage": stage, "pid": os.getpid(), "done": done, "total": total, **figures})
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode() + b"\n")
    finally:
        os.close(descriptor)
