"""What the validator measures of a served model, and under which names it notes that on its blessing."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

#: Custom properties of the InfraBlessing artifact.
LATENCY_P50 = "latency_p50_ms"
LATENCY_P95 = "latency_p95_ms"
MODEL_BYTES = "model_bytes"

_REQUESTS = 60  # enough for a 95th percentile, and done in a second or two


def latencies(send: Callable[[Any], None], requests: Sequence[Any]) -> list[float]:
    """Times single requests, one after the other.

    Args:
      send: sends a request and returns when it is answered.
      requests: repeated in turn.

    Returns:
      Milliseconds a request, sorted.
    """
    milliseconds = []
    for number in range(_REQUESTS):
        started = time.perf_counter()
        send(requests[number % len(requests)])
        milliseconds.append(1000 * (time.perf_counter() - started))
    return sorted(milliseconds)


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """The smallest value that at least this share of the values does not exceed (nearest rank)."""
    return sorted_values[max(0, math.ceil(share * len(sorted_values)) - 1)]


def size(directory: str) -> int:
    """Bytes of all files of a SavedModel."""
    return sum(
        tf.io.gfile.stat(f"{folder}/{name}").length
        for folder, _, names in tf.io.gfile.walk(directory)
        for name in names
    )
