"""Keeps a sample of the requests with their answers, in the form of TensorFlow Serving's request log.

A model's `logging_config` says where and how many: records of `PredictionLog` in TFRecord files, which later
serve as warm-up requests, or to see what is asked in production. The stock build of TensorFlow Serving brings
no collector and refuses the setting; here the type `file` writes files. Requests never wait for the disk.
"""

import glob
import logging
import os
import queue
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serving import protos
from serving.warmup import read_records

log = logging.getLogger(__name__)

#: A new file after so many bytes, or so many seconds.
FILE_BYTES = 64 << 20
FILE_SECONDS = 3600.0
#: Of one prefix so many files are kept, the newest.
KEPT_FILES = 16
SUFFIX = ".tfrecord"
_WAITING = 256


@dataclass(frozen=True)
class LoggingOptions:
    """A model's `logging_config`: which share of the requests is kept, and how the files' paths begin."""

    prefix: str
    rate: float


def from_message(message: Any) -> LoggingOptions | None:
    """Options from a `LoggingConfig`, None when nothing is kept; raises `ValueError`."""
    collector, rate = message.log_collector_config, message.sampling_config.sampling_rate
    if not 0 <= rate <= 1:
        raise ValueError(f"sampling_rate lies between 0 and 1. Received: {rate:g}")
    if rate == 0:
        return None
    if collector.type != "file":
        raise ValueError(f"log_collector_config: the one type here is file. Received: {collector.type!r}")
    if not collector.filename_prefix:
        raise ValueError("log_collector_config needs a filename_prefix")
    return LoggingOptions(collector.filename_prefix, rate)


def read(prefix: str) -> Iterator[Any]:
    """The `PredictionLog` messages under a prefix, oldest file first; a file's unfinished end is left out."""
    for path in _files(prefix):
        yield from read_records(path, to_the_end=False)


def _files(prefix: str) -> list[Path]:
    return [Path(path) for path in sorted(glob.glob(f"{glob.escape(prefix)}-*{SUFFIX}"))]


class RequestLog:
    """Writes the sampled requests of all models, in a thread of its own that starts with the first."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[LoggingOptions, Any] | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._files: dict[str, _File] = {}
        self._dropped = 0

    def sample(self, options: LoggingOptions | None, kind: str, request: Any, response: Any) -> None:
        """Keeps a request with its answer, by chance; drops it when the disk cannot keep up.

        Args:
          options: of the model; None keeps nothing.
          kind: the field of `PredictionLog`: `predict_log`, `classify_log`, ...
        """
        if options is None or random.random() >= options.rate:
            return
        record = protos.prediction_log.PredictionLog()
        entry = getattr(record, kind)
        entry.request.CopyFrom(request)
        entry.response.CopyFrom(response)
        if kind != "multi_inference_log":
            record.log_metadata.model_spec.CopyFrom(response.model_spec)
        record.log_metadata.sampling_config.sampling_rate = options.rate
        record.log_metadata.timestamp_secs = int(time.time())
        self._start()
        try:
            self._waiting.put_nowait((options, record.SerializeToString()))
        except queue.Full:
            self._dropped += 1
            if self._dropped == 1 or self._dropped % 1000 == 0:
                log.warning("the request log is behind; %d sampled requests were left out", self._dropped)

    def close(self) -> None:
        """Writes what waits, and closes the files."""
        if self._thread:
            self._waiting.put(None)
            self._thread.join()

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while item := self._waiting.get():
            options, record = item
            try:
                self._files.setdefault(options.prefix, _File(options.prefix)).write(record)
                if self._waiting.empty():  # what was asked last is on disk when nothing follows
                    for file in self._files.values():
                        file.flush()
            except Exception as error:  # a full disk must not stop what serves
                log.error("the request log cannot be written: %s", " ".join(str(error).split()))
        for file in self._files.values():
            file.close()


class _File:
    """The files of one prefix, one after the other."""

    def __init__(self, prefix: str):
        self._prefix = prefix
        self._writer: Any = None
        self._bytes = 0
        self._until = 0.0

    def write(self, record: bytes) -> None:
        if self._writer is None or self._bytes >= FILE_BYTES or time.monotonic() >= self._until:
            self._next()
        self._writer.write(record)
        self._bytes += len(record)

    def flush(self) -> None:
        if self._writer:
            self._writer.flush()

    def close(self) -> None:
        if self._writer:
            self._writer.close()
            self._writer = None

    def _next(self) -> None:
        from tensorflow.python.lib.io import tf_record  # in memory already: a model was loaded

        self.close()
        Path(self._prefix).parent.mkdir(parents=True, exist_ok=True)
        for old in _files(self._prefix)[: -KEPT_FILES + 1]:
            old.unlink(missing_ok=True)
        stamp = f"{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{time.time_ns() % 10**9:09d}"
        self._writer = tf_record.TFRecordWriter(f"{self._prefix}-{stamp}-{os.getpid()}{SUFFIX}")
        self._bytes, self._until = 0, time.monotonic() + FILE_SECONDS
