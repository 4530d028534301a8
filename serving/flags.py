"""The server's flags: TensorFlow Serving's own names, so that one command line works for both.

A flag of the real server that means nothing here is accepted and said to be without effect.
"""

import argparse
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from importlib import metadata
from pathlib import Path
from typing import Any, NoReturn

from serving.errors import StartError

log = logging.getLogger(__name__)

_API_PACKAGE = "tensorflow-serving-api"
#: Flags of TensorFlow Serving that tune what this server does differently or not at all.
_WITHOUT_EFFECT = (
    "enable_grpc_healthcheck_service",
    "enable_per_model_batching_parameters",
    "enable_profiler",
    "enforce_session_run_timeout",
    "flush_filesystem_caches",
    "mixed_precision",
    "num_load_threads",
    "num_tflite_interpreters_per_pool",
    "num_tflite_pools",
    "num_unload_threads",
    "prefer_tflite_model",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "thread_pool_factory_config_file",
    "xla_cpu_compilation_enabled",
)
#: Flags that change what is served or how safely; to ignore them would be wrong.
_UNSUPPORTED = (
    "enable_serialization_as_tensor_content",
    "platform_config_file",
    "tensorflow_session_config_file",
    "use_alts_credentials",
)


@dataclass(frozen=True)
class ServerOptions:
    """How a server runs; the attributes are the flags.

    Those of TensorFlow Serving have its names and defaults; some are this server's own.

    Attributes:
      model_base_path, model_name: the one model, when there is no model_config_file.
      port: of gRPC; 0 takes any free one.
      rest_api_port: of REST; 0 takes any free one, None leaves REST away.
      host: address to listen on (own flag); the real server always listens on all.
      model_config_file: text proto that lists the models.
      model_config_file_poll_wait_seconds: read that file again so often; 0 for never.
      file_system_poll_wait_seconds: between looks for new versions; 0 looks once, below 0 never.
      enable_batching, batching_parameters_file: bounds of the batches. Requests are joined in any case, but
        never kept waiting for others; see greedy_batching.
      tensorflow_intra_op_parallelism: threads that share an operator; 0 takes half of the cores, since two
        batches run at once (the real server: all cores).
      greedy_batching: false runs each request by itself (own flag).
      max_request_bytes: larger requests are refused (own flag).
      max_concurrent_requests: requests under way or waiting; more are refused (own flag).
      max_image_pixels: larger images are refused before they are decoded; 0 for no bound (own flag).
      session_run_timeout_ms: a run of the model is stopped after this; 0 for never (own flag).
      grpc_max_threads: requests that are answered at once.
      token_file: holds the token that callers must send (own flag).
      drain_seconds: what requests under way get when the server stops (own flag).
      exit_with_parent: stop when the process that started this one ends (own flag).
    """

    model_base_path: str = ""
    model_name: str = "default"
    port: int = 8500
    rest_api_port: int | None = None
    host: str = "0.0.0.0"
    grpc_socket_path: str = ""
    model_config_file: str = ""
    model_config_file_poll_wait_seconds: float = 0.0
    file_system_poll_wait_seconds: float = 1.0
    allow_version_labels_for_unavailable_models: bool = False
    max_num_load_retries: int = 5
    load_retry_interval_micros: int = 60_000_000
    enable_model_warmup: bool = True
    num_request_iterations_for_warmup: int = 1
    saved_model_tags: str = "serve"
    tensorflow_session_parallelism: int = 0
    tensorflow_intra_op_parallelism: int = 0
    tensorflow_inter_op_parallelism: int = 0
    per_process_gpu_memory_fraction: float = 0.0
    enable_batching: bool = False
    batching_parameters_file: str = ""
    greedy_batching: bool = True
    enable_signature_method_name_check: bool = False
    monitoring_config_file: str = ""
    ssl_config_file: str = ""
    token_file: str = ""
    grpc_channel_arguments: str = ""
    grpc_max_threads: int = 4 * (os.cpu_count() or 1) + 28
    rest_api_num_threads: int = 4 * (os.cpu_count() or 1) + 28
    rest_api_timeout_in_ms: int = 30_000
    rest_api_enable_cors_support: bool = False
    max_request_bytes: int = 256 << 20
    max_concurrent_requests: int = 1024
    max_image_pixels: int = 100_000_000
    session_run_timeout_ms: int = 120_000
    drain_seconds: float = 10.0
    exit_with_parent: bool = False

    @property
    def channel_arguments(self) -> tuple[tuple[str, Any], ...]:
        """`grpc_channel_arguments` as pairs, numbers as such; raises `StartError`."""
        pairs = []
        for part in filter(None, self.grpc_channel_arguments.split(",")):
            name, equals, value = part.partition("=")
            if not equals:
                raise StartError(f"--grpc_channel_arguments: name=value is wanted. Received: {part!r}")
            try:
                pairs.append((name.strip(), int(value)))
            except ValueError:
                pairs.append((name.strip(), value.strip()))
        return tuple(pairs)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise StartError(f"{message}; see python -m serving.server --help")


def _boolean(text: str) -> bool:
    if text.lower() in ("true", "1", "t", "yes"):
        return True
    if text.lower() in ("false", "0", "f", "no"):
        return False
    raise argparse.ArgumentTypeError(f"true or false is wanted. Received: {text!r}")


def parse(argv: Sequence[str]) -> ServerOptions:
    """Options from a command line; raises `StartError` for a flag that is unknown or cannot be read."""
    parser = _Parser(
        prog="python -m serving.server",
        description="Serves models as TensorFlow Serving does.",
        allow_abbrev=False,
    )
    for field in fields(ServerOptions):
        kind = int if field.name == "rest_api_port" else type(field.default)
        extra: dict[str, Any] = {"type": kind}
        if kind is bool:
            extra = {"type": _boolean, "nargs": "?", "const": True}
        parser.add_argument(
            f"--{field.name}", default=field.default, help=f"(default: {field.default})", **extra
        )
    parser.add_argument(
        "--version",
        action="version",
        version=f"API of TensorFlow ModelServer {metadata.version(_API_PACKAGE)}",
    )
    for name in (*_WITHOUT_EFFECT, *_UNSUPPORTED):
        parser.add_argument(f"--{name}", nargs="?", const="true", help=argparse.SUPPRESS)
    given = vars(parser.parse_args(list(argv)))
    for name in _WITHOUT_EFFECT:
        if given.pop(name) is not None:
            log.warning("--%s has no effect in this server", name)
    for name in _UNSUPPORTED:
        value = given.pop(name)
        if value and value.lower() != "false":
            raise StartError(
                f"--{name} is not supported by this server; use TensorFlow Serving itself for it"
            )
    return ServerOptions(**given)


def validate(options: ServerOptions) -> None:
    """Raises `StartError` for what cannot work, before anything is opened or loaded."""
    for name in ("port", "rest_api_port"):
        port = getattr(options, name)
        if port is not None and not 0 <= port <= 65535:
            raise StartError(f"--{name}: a port lies between 0 and 65535. Received: {port}")
    if options.port and options.port == options.rest_api_port:
        raise StartError(f"--rest_api_port must differ from --port. Received: {options.port} for both")
    for name in ("grpc_max_threads", "rest_api_num_threads", "max_concurrent_requests", "max_request_bytes"):
        if getattr(options, name) < 1:
            raise StartError(f"--{name} must be at least 1. Received: {getattr(options, name)}")
    if options.batching_parameters_file and not options.enable_batching:
        raise StartError("--batching_parameters_file is set without setting --enable_batching to true")
    if options.model_config_file:
        return
    if not options.model_base_path:
        raise StartError("--model_base_path is missing: give the folder that holds the version folders")
    base_path = Path(options.model_base_path)
    if not base_path.is_dir():
        raise StartError(
            f"--model_base_path {base_path}: there is no such folder; give the one with the version folders"
        )
