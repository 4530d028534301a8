"""Replays the requests that a SavedModel brings along, so that the first user does not pay for warming up.

They lie in `assets.extra/tf_serving_warmup_requests`: a TFRecord file of `PredictionLog`.
Source: tensorflow/serving g3doc/saved_model_warmup.md.
"""

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError

from serving import protos
from serving.status import StatusCode, StatusError

WARMUP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_RECORDS = 1000


def read_records(path: Path, to_the_end: bool = True) -> Iterator[Any]:
    """The `PredictionLog` messages of a TFRecord file.

    Args:
      to_the_end: whether a file that ends within a record is damaged, or is still being written.

    Raises `StatusError` DATA_LOSS when it is damaged.
    """
    with path.open("rb") as file:
        while header := file.read(12):  # length, and its checksum
            length = struct.unpack("<Q", header[:8])[0] if len(header) == 12 else 0
            body = file.read(length + 4)
            if len(header) < 12 or len(body) != length + 4:
                if to_the_end:
                    raise StatusError(StatusCode.DATA_LOSS, f"truncated record in {path.name}")
                return
            try:
                yield protos.prediction_log.PredictionLog.FromString(body[:length])
            except DecodeError:
                raise StatusError(
                    StatusCode.DATA_LOSS, f"Failed to parse warmup record in {path.name}"
                ) from None


def warm_up(folder: Path, handlers: dict[str, Callable[[Any], Any]], iterations: int = 1) -> int:
    """Sends a version its own warm-up requests.

    Args:
      folder: the SavedModel's.
      handlers: by the kind of log (`predict_log`, ...) what answers the request in it.
      iterations: how often each request is sent.

    Returns the number of records. Raises `StatusError` when one is damaged or the model answers with an
    error: such a version is not ready to serve.
    """
    path = folder / WARMUP_FILE
    if not path.is_file():
        return 0
    count = 0
    for count, log in enumerate(read_records(path), start=1):
        if count > MAX_RECORDS:
            raise StatusError(
                StatusCode.INVALID_ARGUMENT,
                f"Number of warmup records exceeds the maximum ({MAX_RECORDS}) at {path}",
            )
        kind = log.WhichOneof("log_type")
        if kind not in handlers:
            raise StatusError(StatusCode.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
        for _ in range(iterations):
            handlers[kind](getattr(log, kind).request)
    return count
