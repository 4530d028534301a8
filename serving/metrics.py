"""Counts and latencies under the names that TensorFlow Serving gives them, as a page for Prometheus.

Names and buckets: servables/tensorflow/util.cc and util/prometheus_exporter.cc.
"""

import bisect
import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator

#: Microseconds: 10 times powers of 1.8, up to about twenty minutes.
_LATENCY_BUCKETS = tuple(10 * 1.8**power for power in range(33))
_BATCH_BUCKETS = tuple(float(2**power) for power in range(15))

Labels = tuple[tuple[str, str], ...]

_PREFIX = ":tensorflow:serving:"
#: Counts the classes that models answer with, which TensorFlow Serving does not.
LABEL_COUNT = ":imagemill:serving:label_count"
#: Of one model; more would fill the memory of whoever scrapes.
_MAX_LABELS = 1000


class _Histogram:
    def __init__(self, limits: tuple[float, ...]):
        self.limits = limits
        self.buckets = [0] * (len(limits) + 1)
        self.total = 0.0

    def add(self, value: float) -> None:
        self.buckets[bisect.bisect_right(self.limits, value)] += 1
        self.total += value


class Metrics:
    """What a server counted. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counters: dict[str, dict[Labels, int]] = defaultdict(lambda: defaultdict(int))
        self._histograms: dict[str, dict[Labels, _Histogram]] = defaultdict(dict)

    def request(self, model: str, api: str, entrypoint: str, status: str, microseconds: float) -> None:
        """One answered request; `entrypoint` is GRPC or REST, `status` the name of its code."""
        with self._lock:
            self._counters[f"{_PREFIX}request_count"][(("model_name", model), ("status", status))] += 1
            if status != "OK":  # the real server times what it answered well
                return
            labels = (("model_name", model), ("API", api), ("entrypoint", entrypoint))
            self._observe(f"{_PREFIX}request_latency", labels, _LATENCY_BUCKETS, microseconds)

    def run(self, model: str, rows: int, microseconds: float) -> None:
        """One run of a model over a batch."""
        with self._lock:
            labels = (("model_name", model), ("API", "Predict"), ("runtime", "TF1"))
            self._observe(f"{_PREFIX}runtime_latency", labels, _LATENCY_BUCKETS, microseconds)
            batch = (("model_name", model),)
            self._observe(f"{_PREFIX}batching_session:batch_size", batch, _BATCH_BUCKETS, rows)

    def labels(self, model: str, labels: Iterable[bytes]) -> None:
        """The classes of one answer, one an image."""
        with self._lock:
            counters = self._counters[LABEL_COUNT]
            for label in labels:
                key = (("model_name", model), ("label", label.decode(errors="replace")))
                if key not in counters and len(counters) >= _MAX_LABELS:
                    key = (("model_name", model), ("label", ""))
                counters[key] += 1

    def _observe(self, name: str, labels: Labels, limits: tuple[float, ...], value: float) -> None:
        histograms = self._histograms[name]
        if labels not in histograms:
            histograms[labels] = _Histogram(limits)
        histograms[labels].add(value)

    def page(self) -> str:
        """The text that Prometheus reads."""
        with self._lock:
            return "\n".join([*self._lines(), ""])

    def _lines(self) -> Iterator[str]:
        for name, counters in sorted(self._counters.items()):
            yield f"# TYPE {name} counter"
            for labels, count in sorted(counters.items()):
                yield f"{name}{{{_text(labels)}}} {count}"
        for name, histograms in sorted(self._histograms.items()):
            yield f"# TYPE {name} histogram"
            for labels, histogram in sorted(histograms.items(), key=lambda item: item[0]):
                text, count = _text(labels), 0
                for limit, hits in zip((*histogram.limits, None), histogram.buckets, strict=True):
                    count += hits
                    le = "+Inf" if limit is None else f"{limit:g}"
                    yield f'{name}_bucket{{{text},le="{le}"}} {count}'
                yield f"{name}_sum{{{text}}} {histogram.total:g}"
                yield f"{name}_count{{{text}}} {count}"


def _text(labels: Labels) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in labels)


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
