"""Plain processes that work on bundles and shards, for runners that give the ingest one process only.

Beam's own local workers import Beam and start its services: measured 2.4 s before the first file, against
0.2 s for a process that imports Pillow and numpy. (On Beam's default local runner all bundles would go to
one of its workers besides.) So a worker here is `python -m components.image_example_gen.workers`: one
JSON line in names a bundle or a shard, one JSON line out says that it is written. A worker ends when its
input ends, hence with its parent. When a file crashes the decoder, a fresh worker does the bundle again,
telling of every file before it reads it; the one that crashes is refused.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple

from components.image_example_gen import bundles, shards


class Finished(NamedTuple):
    """A bundle that is written, and how many files it had."""

    bundle: int
    files: int


class Workers:
    """Keeps a number of processes busy. Use as a context manager, or call `close`."""

    def __init__(self, count: int) -> None:
        """Starts them; they import while the caller finds out what there is to do."""
        self._place: bundles.Place | None = None
        self._selector = selectors.DefaultSelector()
        self._busy: dict[subprocess.Popen[bytes], int | shards.Shard] = {}
        self._idle = [self._start() for _ in range(count)]

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def go_to(self, place: bundles.Place) -> None:
        """Says where bundles lie, before the first of them is handed over."""
        self._place = place
        for worker in self._idle:
            _send(worker, {"place": place})

    def inspect(self, bundle: int) -> list[Finished]:
        """Hands over a bundle, waiting for an idle worker; returns what was finished meanwhile."""
        return self._submit(bundle, {"bundle": bundle})

    def write(self, shard: shards.Shard, place: shards.Place) -> None:
        """Hands over a shard, waiting for an idle worker."""
        codes = [(bundle, splits.decode("latin-1")) for bundle, splits in shard.codes]
        self._submit(shard, {"shard": shard._replace(codes=codes), "place of shards": place})

    def drain(self) -> Iterator[Finished]:
        """Waits for all that was handed over; yields bundles as they are finished."""
        while self._busy:
            yield from self._wait()

    def close(self) -> None:
        """Ends the processes, also those still at work."""
        for worker in [*self._idle, *self._busy]:
            self._end(worker)
        self._idle.clear()
        self._busy.clear()
        self._selector.close()

    def _start(self) -> subprocess.Popen[bytes]:
        # sys.path covers both an installed package and a checkout. One thread each for numpy's BLAS: the
        # processes are the parallelism.
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
        }
        worker = subprocess.Popen(
            [sys.executable, "-m", __name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
        )
        self._selector.register(_pipe(worker.stdout), selectors.EVENT_READ, worker)
        if self._place is not None:
            _send(worker, {"place": self._place})
        return worker

    def _submit(self, task: int | shards.Shard, message: dict[str, Any]) -> list[Finished]:
        finished = [] if self._idle else self._wait()
        worker = self._idle.pop()
        self._busy[worker] = task
        _send(worker, message)
        return finished

    def _wait(self) -> list[Finished]:
        finished = []
        for key, _ in self._selector.select():
            worker: subprocess.Popen[bytes] = key.data
            if worker in self._idle:  # killed as it waited for work
                self._idle.remove(worker)
                self._end(worker)
                self._idle.append(self._start())
                continue
            task = self._busy.pop(worker)
            line = _pipe(worker.stdout).readline()
            if line:
                answer = json.loads(line)
                self._idle.append(worker)
                _raise_error(answer)
                done = answer["done"]
            elif isinstance(task, int):
                self._end(worker)
                worker, done = self._redo(task)
                self._idle.append(worker)
            else:
                raise RuntimeError(
                    f"a worker of the ingest ended with status {self._end(worker)} as it wrote"
                )
            if isinstance(task, int):
                finished.append(Finished(task, done))
        return finished

    def _redo(self, bundle: int) -> tuple[subprocess.Popen[bytes], int]:
        """Does a bundle that killed its worker again; returns the new worker and the number of files."""
        refuse: dict[int, str] = {}
        while True:
            worker = self._start()
            _send(worker, {"bundle": bundle, "refuse": refuse, "careful": True})
            position = None
            for line in _pipe(worker.stdout):
                answer = json.loads(line)
                _raise_error(answer)
                if "done" in answer:
                    return worker, answer["done"]
                position = answer["before"]
            status = self._end(worker)
            if position is None or position in refuse:
                raise RuntimeError(f"a worker of the ingest ends with status {status} whatever it is given")
            refuse[position] = f"the decoder crashes on it (status {status})"

    def _end(self, worker: subprocess.Popen[bytes]) -> int:
        self._selector.unregister(_pipe(worker.stdout))
        if worker in self._busy:
            worker.kill()
        _pipe(worker.stdout).close()
        with contextlib.suppress(BrokenPipeError):
            _pipe(worker.stdin).close()
        return worker.wait()


def available_cores() -> int:
    """Cores that this process may use: its affinity, and the quota of its control group (containers)."""
    cores = len(os.sched_getaffinity(0))
    try:
        with open("/sys/fs/cgroup/cpu.max", encoding="ascii") as file:
            quota, period = file.read().split()
        if quota != "max":
            cores = min(cores, max(1, round(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def _pipe(pipe: Any) -> Any:
    assert pipe is not None  # always made with PIPE
    return pipe


def _raise_error(answer: dict[str, Any]) -> None:
    if "error" in answer:
        raise OSError(answer["error"])


def _send(worker: subprocess.Popen[bytes], message: dict[str, Any]) -> None:
    try:
        _pipe(worker.stdin).write(json.dumps(message).encode() + b"\n")
        _pipe(worker.stdin).flush()
    except BrokenPipeError:  # it died; reading its answer will tell
        pass


def _main() -> None:
    # Ctrl-C reaches the whole process group; the parent decides what it means and closes our input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = sys.stdout.buffer

    def answer(value: dict[str, int]) -> None:
        answers.write(json.dumps(value).encode() + b"\n")
        answers.flush()

    def before(position: int) -> None:
        answer({"before": position})

    place = None
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "place" in message:
            root, target, (max_pixels, max_file_bytes, min_side, background) = message["place"]
            bounds = bundles.Bounds(max_pixels, max_file_bytes, min_side, tuple(background))
            place = bundles.Place(root, target, bounds)
            continue
        try:
            if "shard" in message:
                _write_shard(*message["shard"], shards.Place(*message["place of shards"]))
                answer({"done": 0})
                continue
            assert place is not None  # the parent says so before the first bundle
            refuse = {int(position): detail for position, detail in message.get("refuse", {}).items()}
            done = bundles.run(message["bundle"], place, refuse, before if message.get("careful") else None)
            answer({"done": done})
        except OSError as error:  # a full disk, say: files that cannot be read are refused one by one
            answer({"error": str(error)})


def _write_shard(index: int, total: int, codes: list[tuple[int, str]], place: shards.Place) -> None:
    decoded = [(bundle, splits.encode("latin-1")) for bundle, splits in codes]
    shards.write(shards.Shard(index, total, decoded), place)


if __name__ == "__main__":
    _main()
