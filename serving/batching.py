"""Greedy batching: whoever is free runs all that waits, and nothing ever waits for a timer.

A request that finds the model idle runs at once, in its own thread. Those that come meanwhile queue up; when
the run ends, the first of them runs them all as one batch. At concurrency 1 this costs nothing, and under
load the batches grow by themselves.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from serving.status import StatusCode, StatusError

#: Runs a signature: input arrays in the signature's order to output arrays.
Run = Callable[[Sequence[np.ndarray]], list[np.ndarray]]


class Call:
    """What a request tells about its client: until when it waits, and whether it went away."""

    def __init__(self, deadline: float | None = None):
        self.deadline = deadline  # time.monotonic(), None for no deadline
        self.cancelled = False
        self._on_cancel: Callable[[], None] | None = None

    def cancel(self) -> None:
        self.cancelled = True
        if self._on_cancel:
            self._on_cancel()

    def watch(self, on_cancel: Callable[[], None] | None) -> None:
        self._on_cancel = on_cancel
        if on_cancel and self.cancelled:
            on_cancel()

    def check(self) -> None:
        """Raises when nobody waits for the answer any more."""
        if self.cancelled:
            raise StatusError(StatusCode.CANCELLED, "the client cancelled the request")
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise StatusError(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")


@dataclass(frozen=True)
class BatchLimits:
    """Bounds of one signature's queue.

    Attributes:
      max_batch_size: rows that run together.
      max_parallel: batches that run at once. Two, of which each has half of the cores, keep them busier than
        one that has them all, and leave batches larger than more of them would.
      max_queue: requests that may wait.
      allowed_sizes: where given, a batch is filled up to the next of these with copies of its first row.
    """

    max_batch_size: int = 64
    max_parallel: int = min(2, os.cpu_count() or 1)
    max_queue: int = 1024
    allowed_sizes: tuple[int, ...] = ()


@dataclass(eq=False)
class _Entry:
    inputs: Sequence[np.ndarray]
    call: Call
    rows: int
    kind: tuple
    wake: threading.Event = field(default_factory=threading.Event)
    batch: "list[_Entry] | None" = None  # set when this entry's thread is to run a batch
    outputs: list[np.ndarray] | None = None
    error: Exception | None = None

    @property
    def done(self) -> bool:
        return self.outputs is not None or self.error is not None


class GreedyBatcher:
    """Batches the runs of one signature.

    Args:
      run: runs the model on whole batches; called from the requests' own threads.
      limits: sizes of batches and of the queue.
    """

    def __init__(self, run: Run, limits: BatchLimits):
        self._run = run
        self._limits = limits
        self._lock = threading.Lock()
        self._queue: deque[_Entry] = deque()
        self._running = 0

    def __call__(self, inputs: Sequence[np.ndarray], call: Call) -> list[np.ndarray]:
        """Runs one request's arrays, of equal length along the first axis, alone or together with others.

        Raises `StatusError` when the queue is full or nobody waits any more, else what the run raises.
        """
        rows = len(inputs[0])
        kind = tuple((array.dtype, array.shape[1:]) for array in inputs)
        entry = _Entry(inputs, call, rows, kind)
        with self._lock:
            if self._running < self._limits.max_parallel:
                self._running += 1
                entry.batch = [entry]
            elif len(self._queue) >= self._limits.max_queue:
                raise StatusError(
                    StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            else:
                self._queue.append(entry)
        if entry.batch is None:
            self._wait(entry)
        if entry.batch is not None:
            try:
                self._run_batch(entry.batch)
            finally:
                # The next batch first: its thread must not queue for the interpreter behind answers.
                self._hand_over()
                for other in entry.batch[1:]:
                    other.wake.set()
        if entry.error is not None:
            raise entry.error
        assert entry.outputs is not None
        return entry.outputs

    def _wait(self, entry: _Entry) -> None:
        """Until the entry is done, or chosen to run a batch, or its client is gone."""
        entry.call.watch(entry.wake.set)
        deadline = entry.call.deadline
        entry.wake.wait(None if deadline is None else max(deadline - time.monotonic(), 0))
        entry.call.watch(None)
        with self._lock:
            if entry.batch is not None or entry.done:
                return
            if entry in self._queue:
                self._queue.remove(entry)
        # Not queued any more means that a batch is running it just now, for nobody.
        entry.call.check()
        raise StatusError(StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")

    def _hand_over(self) -> None:
        """Lets the first of those waiting run the next batch, or marks this runner as free."""
        with self._lock:
            batch = self._take()
            if not batch:
                self._running -= 1
                return
            batch[0].batch = batch
        batch[0].wake.set()

    def _take(self) -> list[_Entry]:
        """The next batch: the oldest entry and those of the same kind that fit with it."""
        batch: list[_Entry] = []
        others: deque[_Entry] = deque()
        rows = 0
        while self._queue:
            entry = self._queue.popleft()
            try:
                entry.call.check()
            except StatusError as error:
                entry.error = error
                entry.wake.set()
                continue
            fits = not batch or (
                entry.kind == batch[0].kind and rows + entry.rows <= self._limits.max_batch_size
            )
            if fits:
                batch.append(entry)
                rows += entry.rows
            else:
                others.append(entry)
        self._queue = others
        return batch

    def _run_batch(self, batch: list[_Entry]) -> None:
        """Gives every entry its outputs or its error."""
        try:
            if len(batch) == 1:
                batch[0].outputs = self._run(self._padded(batch[0].inputs, batch[0].rows))
                self._cut(batch[0])
            elif not self._run_together(batch):
                # One bad request must not cost the others: each gets its own answer or its own error.
                for entry in batch:
                    self._run_alone(entry)
        except Exception as error:
            for entry in batch:
                if not entry.done:
                    entry.error = error

    def _run_together(self, batch: list[_Entry]) -> bool:
        rows = sum(entry.rows for entry in batch)
        joined = [np.concatenate(arrays) for arrays in zip(*(entry.inputs for entry in batch), strict=True)]
        try:
            outputs = self._run(self._padded(joined, rows))
        except StatusError as error:
            if error.code is StatusCode.DEADLINE_EXCEEDED:  # one by one would take longer still
                raise
            return False
        if any(output.ndim == 0 or len(output) < rows for output in outputs):
            return False
        start = 0
        for entry in batch:
            entry.outputs = [output[start : start + entry.rows] for output in outputs]
            start += entry.rows
        return True

    def _run_alone(self, entry: _Entry) -> None:
        try:
            entry.call.check()
            entry.outputs = self._run(self._padded(entry.inputs, entry.rows))
            self._cut(entry)
        except Exception as error:
            entry.error = error

    def _padded(self, inputs: Sequence[np.ndarray], rows: int) -> Sequence[np.ndarray]:
        size = next((size for size in self._limits.allowed_sizes if size >= rows), rows)
        if size == rows or rows == 0:
            return inputs
        return [np.concatenate([array, np.repeat(array[:1], size - rows, axis=0)]) for array in inputs]

    def _cut(self, entry: _Entry) -> None:
        if self._limits.allowed_sizes and entry.outputs:
            entry.outputs = [output[: entry.rows] if output.ndim else output for output in entry.outputs]
