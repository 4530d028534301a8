"""The entry point of a pod: one node of a compiled pipeline, its log as JSON lines, its end as an exit code.

    python -m pipeline.node --node Trainer --run_id RUN --pipeline IR --code DIGEST --epochs 5 ...

This process imports nothing heavy. It starts `pipeline.node_worker`, which does the work, and stays in charge
of it: whatever the worker and the native libraries in it print becomes a line of JSON that names node and
run, SIGTERM (an eviction, a cancelled run) ends the worker cleanly, and how the worker died is told even when
it could not tell itself.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import signal
import subprocess
import sys
import threading
from typing import IO, Any

#: The node is complete, or was already.
EXIT_COMPLETE = 0
#: It failed. Trying again may help.
EXIT_FAILED = 1
#: What a person gave cannot be used; trying again does not help.
EXIT_INPUT = 2
#: A database or volume that others run is not there; trying again later helps.
EXIT_UNAVAILABLE = 75

# Kubernetes grants 30 seconds from SIGTERM to SIGKILL.
_GRACE_SECONDS = 20

# The first letter of a line of absl's and TensorFlow's native log.
_SEVERITIES = {"I": "INFO", "W": "WARNING", "E": "ERROR", "F": "CRITICAL"}


def main(arguments: list[str]) -> int:
    """Runs the worker to its end and returns the exit code of the pod."""
    told = Teller(node=_value(arguments, "--node"), run=_value(arguments, "--run_id"))
    worker = subprocess.Popen(
        [sys.executable, "-m", "pipeline.node_worker", *arguments],
        # The worker ends when this pipe closes, so it cannot outlive us.
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        env={"TF_CPP_MIN_LOG_LEVEL": "1", **os.environ, "PYTHONUNBUFFERED": "1", "PYTHONFAULTHANDLER": "1"},
    )
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        told.tell(
            "WARNING", f"Received {signal.Signals(number).name}; ending the node. A retry goes on from here."
        )
        stopped.set()
        _signal(worker, signal.SIGTERM)
        timer = threading.Timer(_GRACE_SECONDS, _signal, (worker, signal.SIGKILL))
        timer.daemon = True
        timer.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    told.copy(worker.stdout)
    code = worker.wait()
    # Children that the worker left, such as a model server.
    _signal(worker, signal.SIGKILL)
    if stopped.is_set():
        return 128 + signal.SIGTERM
    if code < 0:
        told.tell("ERROR", _how_it_died(-code))
        return 128 - code
    return code


class Teller:
    """Writes lines of JSON: `time`, `severity`, `node`, `run`, `message`, and what the worker adds."""

    def __init__(self, node: str, run: str, out: IO[str] | None = None):
        """Prepares a teller.

        Args:
          node: name of the node, in every line.
          run: name of the run, in every line.
          out: where to write; standard output when None.
        """
        self._always = {"node": node, "run": run}
        self._out = out or sys.stdout

    def tell(self, severity: str, message: str, **more: Any) -> None:
        """Writes one line."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "severity": severity, **self._always, "message": message, **more}
        self._out.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._out.flush()

    def copy(self, lines: IO[bytes]) -> None:
        """Tells every line until there are no more; what is not from our own logger is wrapped."""
        for raw in lines:
            text = raw.decode(errors="replace").rstrip("\r\n")
            if not text.strip():
                continue
            with contextlib.suppress(ValueError):
                given = json.loads(text)
                if isinstance(given, dict) and {"severity", "message"} <= given.keys():
                    self.tell(**given)
                    continue
            severity = _SEVERITIES.get(text[0], "INFO") if text[1:5].isdigit() else "INFO"
            self.tell(severity, text, logger="stderr")


def _value(arguments: list[str], name: str) -> str:
    with contextlib.suppress(ValueError, IndexError):
        return arguments[arguments.index(name) + 1]
    return ""


def _signal(worker: subprocess.Popen, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(worker.pid, number)


def _how_it_died(number: int) -> str:
    if number == signal.SIGKILL:
        return (
            "The node was killed (SIGKILL). When nobody did that, it ran out of memory: raise its memory in "
            "kubeflow.pod or kubeflow.nodes."
        )
    return f"The node was ended by {signal.Signals(number).name}; the lines above may say why."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
