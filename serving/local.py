"""A model server as a child process, for as long as a `with` block lasts."""

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from serving.errors import ServingError
from serving.versions import Event

_ROOT = Path(__file__).resolve().parent.parent
_TAIL_LINES = 15


class LocalServerError(ServingError):
    """The server ended, could not load the model, or took too long; the message ends with its log's tail."""


class LocalServer:
    """Serves the models of a folder on the loopback interface.

    Args:
      model_base_path: folder of the version folders.
      model_name: name to serve it under.
      port, rest_api_port: 0 takes any free one; `rest_api_port=None` leaves REST away.
      timeout: seconds until the model must serve.
      flags: further flags of `serving.server`.

    Entering the block returns when a version serves; leaving it stops the server, by force if need be. The
    server also stops when this process dies in any way.
    """

    def __init__(
        self,
        model_base_path: str | os.PathLike,
        model_name: str,
        port: int = 0,
        *,
        rest_api_port: int | None = None,
        timeout: float = 120.0,
        flags: Sequence[str] = (),
    ):
        self._command = [
            sys.executable,
            "-m",
            "serving.server",
            "--host=127.0.0.1",
            f"--port={port}",
            f"--model_name={model_name}",
            f"--model_base_path={Path(model_base_path).resolve()}",
            "--exit_with_parent=true",
            *([] if rest_api_port is None else [f"--rest_api_port={rest_api_port}"]),
            *flags,
        ]
        self._timeout = timeout
        self._process: subprocess.Popen | None = None
        self._stderr: IO[bytes] | None = None
        self._events: queue.Queue[Event | None] = queue.Queue()
        self._listening: Event = {}

    @property
    def address(self) -> str:
        """`host:port` of gRPC."""
        return f"127.0.0.1:{self._listening['port']}"

    @property
    def rest_address(self) -> str | None:
        """`host:port` of REST, or None when it was not asked for."""
        port = self._listening["rest_api_port"]
        return None if port is None else f"127.0.0.1:{port}"

    @property
    def command(self) -> tuple[str, ...]:
        """The command line that it runs, or would."""
        return tuple(self._command)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """What the server wrote to stderr so far."""
        if self._stderr is None:
            return ""
        size = os.fstat(self._stderr.fileno()).st_size
        return os.pread(self._stderr.fileno(), size, 0).decode(errors="replace")

    def wait_for(
        self, event: str, timeout: float = 60.0, *, ignore_failures: bool = False, **fields: Any
    ) -> Event:
        """The next event of this name, with these fields where some are given.

        Raises `LocalServerError` when it does not come in time, the server ends, or, waiting for `loaded`
        without `ignore_failures`, a version cannot be loaded.
        """
        end = time.monotonic() + timeout
        while True:
            try:
                found = self._events.get(timeout=max(end - time.monotonic(), 0.001))
            except queue.Empty:
                raise self._failure(f"was not {event} within {timeout:.0f} s") from None
            if found is None:
                self._events.put(None)
                raise self._failure(f"ended with exit code {self._process.wait()}")  # type: ignore[union-attr]
            if found["event"] == event and fields.items() <= found.items():
                return found
            if found["event"] == "load_failed" and event == "loaded" and not ignore_failures:
                raise self._failure(f"could not load version {found['version']}: {found['error']}")

    def __enter__(self) -> "LocalServer":
        path = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._stderr = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,  # never written to: it closes when this process dies
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                env={**os.environ, "PYTHONPATH": path},
            )
            threading.Thread(target=self._read_events, args=(self._process.stdout,), daemon=True).start()
            end = time.monotonic() + self._timeout
            self._listening = self.wait_for("listening", self._timeout)
            self.wait_for("loaded", max(end - time.monotonic(), 0.001))
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self, timeout: float = 20.0) -> int | None:
        """Ends the server, gently first; returns its exit code, None when it never ran."""
        process, self._process = self._process, None
        if process is None:
            return None
        process.terminate()
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        if process.stdin:
            process.stdin.close()
        if self._stderr:
            self._stderr.close()
            self._stderr = None
        return code

    def _read_events(self, stdout: IO[bytes]) -> None:
        with stdout:
            for line in stdout:
                try:
                    event = json.loads(line)
                except ValueError:  # a library's print
                    continue
                if isinstance(event, dict) and "event" in event:
                    self._events.put(event)
        self._events.put(None)

    def _failure(self, what: str) -> LocalServerError:
        tail = "\n".join(self.log.splitlines()[-_TAIL_LINES:])
        return LocalServerError(f"the model server {what}; the end of its log:\n{tail}")
