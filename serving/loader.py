"""Loads a SavedModel into a session, as TensorFlow Serving does, and runs its signatures.

The session loader is meant: what `tf.saved_model.load` accepts may still fail in TensorFlow Serving, which
restores variables by name. Whoever validates a model with this server wants to know that. TensorFlow is
imported with the first model, not with the module, so that ports are open before.
"""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from serving import image_limits
from serving.batching import BatchLimits, Call, GreedyBatcher
from serving.status import StatusCode, StatusError, code_of

#: Signatures whose outputs are fetched in more different ways than this get no callable of their own kept.
_MAX_CALLABLES = 64


@dataclass(frozen=True)
class SessionOptions:
    """How models run.

    Attributes:
      tags: of the MetaGraph to load.
      intra_op_threads, inter_op_threads: of TensorFlow's pools; 0 leaves the choice to TensorFlow.
      run_timeout_ms: a single run is stopped after this; 0 for never.
      batching: bounds of the batches, or None to run each request alone.
      max_image_pixels: requests with a larger image are refused; 0 for no bound.
      on_run: told of every run: the model's name, the rows, and microseconds.
      gpu_memory_fraction: share of a GPU's memory to take; 0 grows as needed.
    """

    tags: tuple[str, ...] = ("serve",)
    intra_op_threads: int = 0
    inter_op_threads: int = 0
    run_timeout_ms: int = 0
    batching: BatchLimits | None = None
    max_image_pixels: int = 0
    on_run: Callable[[str, int, float], None] | None = None
    gpu_memory_fraction: float = 0.0


class Servable:
    """One loaded version of a model. Runs from any number of threads; `close` frees the session."""

    def __init__(
        self, name: str, version: int, session: Any, signatures: dict[str, Any], options: SessionOptions
    ):
        self.name = name
        self.version = version
        self.signatures = signatures
        self._session = session
        self._options = options
        self._runners: dict[tuple[str, tuple[str, ...]], Callable] = {}
        self._lock = threading.Lock()

    def run(
        self, signature: str, inputs: Sequence[np.ndarray], outputs: tuple[str, ...], call: Call
    ) -> list[np.ndarray]:
        """Runs a signature.

        Args:
          signature: its key, one of `signatures`.
          inputs: an array for each input of the signature, in the order of the sorted aliases.
          outputs: aliases of what to fetch.
          call: the request's deadline.

        Raises `StatusError` with what the graph answers to wrong input.
        """
        call.check()
        if self._options.max_image_pixels:
            for array in inputs:
                if array.dtype == object:
                    image_limits.check(array, self._options.max_image_pixels)
        return self._runner(signature, outputs)(inputs, call)

    def _runner(self, signature: str, outputs: tuple[str, ...]) -> Callable:
        key = (signature, outputs)
        runner = self._runners.get(key)
        if runner is None:
            with self._lock:
                runner = self._runners.get(key) or self._make_runner(signature, outputs)
                if len(self._runners) < _MAX_CALLABLES:
                    self._runners[key] = runner
        return runner

    def _make_runner(self, signature: str, outputs: tuple[str, ...]) -> Callable:
        from tensorflow.core.protobuf import config_pb2
        from tensorflow.python.framework import errors_impl

        definition = self.signatures[signature]
        feeds = [definition.inputs[alias] for alias in sorted(definition.inputs)]
        fetches = [definition.outputs[alias] for alias in outputs]
        options = config_pb2.CallableOptions()
        options.run_options.timeout_in_ms = self._options.run_timeout_ms
        options.feed.extend(info.name for info in feeds)
        unique = list(dict.fromkeys(info.name for info in fetches))
        options.fetch.extend(unique)
        try:
            function = self._session._make_callable_from_options(options)
        except errors_impl.OpError as error:  # a signature of sparse or composite tensors
            raise StatusError(code_of(error.error_code), error.message) from None
        positions = [unique.index(info.name) for info in fetches]
        on_run = self._options.on_run

        def run(arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
            start = time.perf_counter()
            try:
                results = function(*arrays)
            except errors_impl.OpError as error:
                raise StatusError(code_of(error.error_code), error.message) from None
            except (TypeError, ValueError) as error:  # numpy could not be handed to the session
                raise StatusError(StatusCode.INVALID_ARGUMENT, str(error)) from None
            if on_run:
                rows = len(arrays[0]) if arrays and arrays[0].ndim else 1
                on_run(self.name, rows, (time.perf_counter() - start) * 1e6)
            return [results[position] for position in positions]

        if self._options.batching is None or not all(map(_has_batch_axis, [*feeds, *fetches])) or not feeds:
            return lambda arrays, call: run(arrays)
        batcher = GreedyBatcher(run, self._options.batching)

        def run_batched(arrays: Sequence[np.ndarray], call: Call) -> list[np.ndarray]:
            # What does not agree about the number of rows is the graph's to judge.
            if any(array.ndim == 0 for array in arrays) or len({len(array) for array in arrays}) > 1:
                return run(arrays)
            return batcher(arrays, call)

        return run_batched

    def close(self) -> None:
        self._runners.clear()
        self._session.close()


def _has_batch_axis(info: Any) -> bool:
    """Whether rows of different requests may be joined: only where the model leaves the first axis open."""
    return len(info.tensor_shape.dim) > 0 and info.tensor_shape.dim[0].size == -1


def load(name: str, version: int, path: Path, options: SessionOptions) -> Servable:
    """Loads the SavedModel in a version's folder.

    Raises `StatusError`: NOT_FOUND without a SavedModel or its files, else what TensorFlow says of it.
    """
    from tensorflow.core.protobuf import config_pb2
    from tensorflow.python.client import session as session_module
    from tensorflow.python.framework import errors_impl, ops
    from tensorflow.python.saved_model import loader

    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=options.intra_op_threads,
        inter_op_parallelism_threads=options.inter_op_threads,
    )
    if options.gpu_memory_fraction:
        config.gpu_options.per_process_gpu_memory_fraction = options.gpu_memory_fraction
    else:
        config.gpu_options.allow_growth = True
    session = session_module.Session(graph=ops.Graph(), config=config)
    try:
        meta_graph = loader.load(session, list(options.tags), str(path))
    except errors_impl.OpError as error:
        session.close()
        raise StatusError(code_of(error.error_code), error.message) from None
    except Exception as error:  # a truncated or foreign file fails anywhere in the importer
        session.close()
        line = " ".join(str(error).split()) or type(error).__name__
        raise StatusError(
            StatusCode.INVALID_ARGUMENT, f"the SavedModel in {path} cannot be loaded: {line}"
        ) from None
    signatures = dict(meta_graph.signature_def.items())
    return Servable(name, version, session, signatures, options)
