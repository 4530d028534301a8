"""The work of a pod: `python -m pipeline.node_worker`, started and watched by `pipeline.node`."""

from __future__ import annotations

import argparse
import base64
import binascii
import errno
import gzip
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from modules.errors import InputError
from pipeline import node_parameters
from pipeline.node import EXIT_COMPLETE, EXIT_FAILED, EXIT_INPUT, EXIT_UNAVAILABLE
from pipeline.node_parameters import NodeParameters

if TYPE_CHECKING:
    from tfx.proto.orchestration import pipeline_pb2

    from pipeline.launch import NodeResult

#: The node that is not in the pipeline: what Kubeflow runs at the end, however the run went.
FINISH = "Finish"

# The exception that wraps what an executor of Beam raised names the real one only in its text.
_INPUT_ERROR = f"{InputError.__module__}.{InputError.__name__}"


def encode(ir: pipeline_pb2.Pipeline) -> str:
    """A compiled pipeline as an argument: equal pipelines give equal texts, a few KiB long."""
    data = ir.SerializeToString(deterministic=True)
    return base64.b64encode(gzip.compress(data, mtime=0)).decode()


def decode(text: str) -> pipeline_pb2.Pipeline:
    """The compiled pipeline of an argument.

    Raises:
      InputError: it is none.
    """
    from google.protobuf.message import DecodeError
    from tfx.proto.orchestration import pipeline_pb2

    try:
        return pipeline_pb2.Pipeline.FromString(gzip.decompress(base64.b64decode(text, validate=True)))
    except (binascii.Error, OSError, EOFError, DecodeError) as error:
        raise InputError(
            f"--pipeline holds no compiled pipeline ({error}); compile the package anew."
        ) from None


def main(arguments: list[str]) -> int:
    """Launches the node and tells how it ended."""
    _log_as_json()
    log = logging.getLogger("imagemill")
    started = time.monotonic()
    try:
        given = _parse(arguments)
        result = _launch(given)
        cached = bool(result and result.cached)
        more = {"event": "finished", "cached": cached, "seconds": round(time.monotonic() - started, 3)}
        if result:
            more["execution"] = result.execution_id
        state = "taken from the cache" if cached else "complete"
        log.info("%s is %s.", given.node, state, extra={"more": more})
        return EXIT_COMPLETE
    except InputError as error:
        return _fail(log, str(error), EXIT_INPUT)
    except Exception as error:
        return _failed(log, error)


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser("pipeline.node", allow_abbrev=False)
    parser.add_argument("--node", required=True, help="name of the node")
    parser.add_argument("--run_id", required=True, help="name of the run in ML Metadata")
    parser.add_argument("--pipeline", required=True, help="the compiled pipeline, as `encode` writes it")
    parser.add_argument("--code", required=True, help="digest of the code that it was compiled from")
    parser.add_argument("--executor_input", help="Kubeflow's description of the outputs, JSON")
    parser.add_argument("--metrics", help="file of the artifact that Kubeflow shows the metrics of")
    parser.add_argument("--report", help="file of the artifact that Kubeflow shows as a page")
    parser.add_argument("--status", default="{}", help="how the run ended as Kubeflow sees it, JSON")
    for name, field in NodeParameters.model_fields.items():
        parser.add_argument(f"--{name}", dest=f"parameter_{name}", help=field.description)
    return parser.parse_args(arguments)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise InputError(f"{self.prog}: {message}")


def _launch(given: argparse.Namespace) -> NodeResult | None:
    prefix = "parameter_"
    texts = {key.removeprefix(prefix): value for key, value in vars(given).items() if key.startswith(prefix)}
    parameters = node_parameters.parse({key: value for key, value in texts.items() if value is not None})
    _check_code(given.code)

    # Seconds of imports, so only after what can be told without them.
    from pipeline import kubeflow_outputs, launch, metadata

    connection = metadata.connection_from_environment()
    ir = decode(given.pipeline)
    names = [node.pipeline_node.node_info.id for node in ir.nodes]
    if given.node not in [*names, FINISH]:
        raise InputError(f"--node {given.node}: the pipeline has no such node, only {', '.join(names)}.")
    node_parameters.substitute(ir, parameters, given.run_id)
    if given.node == FINISH:
        kubeflow_outputs.finish(ir, given.run_id, connection, given.report, json.loads(given.status))
        return None
    logging.getLogger("imagemill").info("Launching.", extra={"more": {"event": "started"}})
    result = launch.launch_node(ir, given.node, connection)
    if given.metrics:
        executor_input = json.loads(given.executor_input)
        kubeflow_outputs.write_metrics(given.metrics, executor_input, result, connection)
    return result


def _check_code(wanted: str) -> None:
    """Refuses a package that was compiled from other code than this image holds.

    Results of one code under the name of another would stay in the cache for good.
    """
    from pipeline.code import computing_code

    here = computing_code()
    if wanted != here:
        raise InputError(
            f"The package was compiled from other code ({wanted}) than this image holds ({here}). Compile it "
            "with the Imagemill that the image was built from, or name the image that belongs to the package."
        )


def _failed(log: logging.Logger, error: Exception) -> int:
    """Tells why in one line, and the traceback in a field of its own."""
    trace = "".join(traceback.format_exception(error))
    cause = _cause(error)
    code = EXIT_FAILED
    message = f"{type(cause).__name__}: {cause}"
    if type(cause).__name__ == "DatabaseAwayError":
        message, code = str(cause), EXIT_UNAVAILABLE
    elif getattr(cause, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in trace:
        message, code = f"A volume is full: {cause}. Make room or enlarge it, then retry.", EXIT_UNAVAILABLE
    elif isinstance(cause, InputError) or _INPUT_ERROR in trace:
        message, code = str(cause), EXIT_INPUT
    return _fail(log, message, code, traceback=trace)


def _cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _fail(log: logging.Logger, message: str, code: int, **more: Any) -> int:
    log.error(message, extra={"more": {"event": "failed", "exit_code": code, **more}})
    return code


class _JsonFormatter(logging.Formatter):
    """Lines for `pipeline.node.Teller`, which adds time, node and run."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"severity": record.levelname, "message": record.getMessage(), "logger": record.name}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line | getattr(record, "more", {}), ensure_ascii=False)


def _log_as_json() -> None:
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("apache_beam", "h5py", "matplotlib", "urllib3"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # TFX logs whole protos as it goes, among them what a connection holds.
    logging.getLogger("absl").setLevel(logging.WARNING)


def _end_on_sigterm() -> None:
    """Unwinds the stack, so that temporary files and child processes go; TFX lets SystemExit pass.

    The execution stays as it is in ML Metadata, and the next attempt takes it over.
    """
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def _end_with_parent() -> None:
    def watch() -> None:
        sys.stdin.buffer.read()
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, name="watch-parent", daemon=True).start()


if __name__ == "__main__":
    _end_on_sigterm()
    _end_with_parent()
    try:
        code = main(sys.argv[1:])
    except SystemExit as ended:
        code = int(ended.code or 0)
    sys.stdout.flush()
    sys.stderr.flush()
    # Beam and gRPC leave threads behind whose shutdown takes seconds; everything is written already.
    os._exit(code)
