"""The model server: opens the ports, keeps the models, drains and ends when it is told to.

    python -m serving.server --port 8500 --model_name flowers --model_base_path /models/flowers

It writes one JSON line on stdout for each event: `listening` with the ports, `loaded`, `unloaded` and
`load_failed` with model and version, `stopped` at the end. Logs go to stderr.
"""

import json
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from serving import flags
from serving.api import Api, loader_with_warm_up
from serving.batching import BatchLimits
from serving.config_files import Monitoring, read_batching, read_monitoring, read_tls
from serving.errors import StartError
from serving.flags import ServerOptions
from serving.grpc_face import GrpcFace, GrpcOptions
from serving.loader import SessionOptions
from serving.metrics import Metrics
from serving.model_config import ModelConfig, read_config_file
from serving.request_log import RequestLog
from serving.rest_face import RestFace, RestOptions
from serving.status import StatusError
from serving.versions import Event, LifeCycleOptions, VersionManager

log = logging.getLogger(__name__)


class ModelServer:
    """A server in this process; `start` returns at once, models load behind it.

    Raises `StartError` from the constructor: bad options, no model folder, a bad file, a port in use.
    """

    def __init__(self, options: ServerOptions, on_event: Callable[[Event], None] | None = None):
        flags.validate(options)
        self._options = options
        self._on_event = on_event or (lambda event: None)
        self._configs = _read_configs(options)
        self._listening = False
        self._stop = threading.Event()
        self._rereader = threading.Thread(target=self._reread_configs, name="configs", daemon=True)
        metrics = Metrics()
        iterations = options.num_request_iterations_for_warmup if options.enable_model_warmup else 0
        self._manager = VersionManager(
            loader_with_warm_up(_session_options(options, metrics), iterations),
            LifeCycleOptions(
                options.file_system_poll_wait_seconds,
                options.max_num_load_retries,
                options.load_retry_interval_micros / 1e6,
                options.allow_version_labels_for_unavailable_models,
            ),
            self._model_event,
        )
        self._request_log = RequestLog()
        api = Api(self._manager, metrics, self._request_log, options.enable_signature_method_name_check)
        token = _read_token(options)
        self._grpc = GrpcFace(api, _grpc_options(options, token))
        self._rest = None
        if options.rest_api_port is not None:
            self._rest = RestFace(
                api, options.host, options.rest_api_port, _rest_options(options, token, metrics)
            )

    @property
    def port(self) -> int:
        return self._grpc.ports[0]

    @property
    def rest_api_port(self) -> int | None:
        return self._rest.port if self._rest else None

    def start(self) -> None:
        """Listens and begins to load; raises `StartError` for labels that the configuration may not set."""
        try:
            self._manager.start(self._configs)
        except StatusError as error:
            raise StartError(
                f"--model_config_file {self._options.model_config_file}: {error.message}"
            ) from None
        self._grpc.start()
        if self._rest:
            self._rest.start()
        if self._options.model_config_file and self._options.model_config_file_poll_wait_seconds > 0:
            self._rereader.start()
        self._listening = True
        self._on_event({"event": "listening", "port": self.port, "rest_api_port": self.rest_api_port})
        self._manager.begin()

    def stop(self) -> None:
        """Refuses new requests, answers those under way for `drain_seconds`, and frees the models."""
        self._stop.set()
        ended = self._grpc.stop(self._options.drain_seconds)
        if self._rest:
            self._rest.stop(self._options.drain_seconds)
        ended.wait()
        self._request_log.close()
        self._manager.close()
        if self._listening:
            self._on_event({"event": "stopped"})

    def _model_event(self, event: Event) -> None:
        models = {name: bool(model.available()) for name, model in self._manager.models().items()}
        self._grpc.set_health(self._manager.is_ready(), models)
        self._on_event(event)

    def _reread_configs(self) -> None:
        """Takes on what the model config file says by now; a bad file changes nothing and is logged."""
        while not self._stop.wait(self._options.model_config_file_poll_wait_seconds):
            try:
                self._manager.reload(_read_configs(self._options))
            except (StartError, StatusError) as error:
                log.error("the model config file is not taken on: %s", error)


def _read_configs(options: ServerOptions) -> tuple[ModelConfig, ...]:
    if options.model_config_file:
        return read_config_file(Path(options.model_config_file))
    return (ModelConfig(options.model_name, Path(options.model_base_path)),)


def _read_token(options: ServerOptions) -> str | None:
    if not options.token_file:
        return None
    try:
        token = Path(options.token_file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise StartError(f"--token_file {options.token_file}: cannot be read: {error}") from None
    if not token:
        raise StartError(f"--token_file {options.token_file}: it is empty")
    return token


def _session_options(options: ServerOptions, metrics: Metrics) -> SessionOptions:
    limits = BatchLimits()
    if options.batching_parameters_file:
        limits = read_batching(Path(options.batching_parameters_file))
    # A run has its request's thread besides the pool, so half of the cores are enough for each of two runs.
    # Cut into more pieces an operator waits for its slowest: a crowd got two thirds of the rate.
    half = max(1, (os.cpu_count() or 1) // 2)
    return SessionOptions(
        tags=tuple(tag for tag in options.saved_model_tags.split(",") if tag),
        intra_op_threads=(
            options.tensorflow_intra_op_parallelism or options.tensorflow_session_parallelism or half
        ),
        inter_op_threads=options.tensorflow_inter_op_parallelism or options.tensorflow_session_parallelism,
        gpu_memory_fraction=options.per_process_gpu_memory_fraction,
        batching=limits if options.greedy_batching else None,
        run_timeout_ms=options.session_run_timeout_ms,
        max_image_pixels=options.max_image_pixels,
        on_run=metrics.run,
    )


def _grpc_options(options: ServerOptions, token: str | None) -> GrpcOptions:
    addresses = [f"{options.host}:{options.port}"]
    if options.grpc_socket_path:
        addresses.append(f"unix:{options.grpc_socket_path}")
    return GrpcOptions(
        addresses=tuple(addresses),
        threads=options.grpc_max_threads,
        max_requests=options.max_concurrent_requests,
        max_message_bytes=options.max_request_bytes,
        credentials=read_tls(Path(options.ssl_config_file)) if options.ssl_config_file else None,
        token=token,
        channel_arguments=options.channel_arguments,
    )


def _rest_options(options: ServerOptions, token: str | None, metrics: Metrics) -> RestOptions:
    monitoring = Monitoring()
    if options.monitoring_config_file:
        monitoring = read_monitoring(Path(options.monitoring_config_file))
    return RestOptions(
        max_body_bytes=options.max_request_bytes,
        max_connections=options.max_concurrent_requests,
        threads=options.rest_api_num_threads,
        timeout=options.rest_api_timeout_in_ms / 1000,
        cors=options.rest_api_enable_cors_support,
        monitoring=monitoring,
        metrics_page=metrics.page,
        token=token,
    )


def serve(
    options: ServerOptions,
    on_event: Callable[[Event], None] | None = None,
    stop: threading.Event | None = None,
) -> None:
    """Serves until SIGINT, SIGTERM, or `stop` is set; then drains and returns.

    Args:
      options: the flags.
      on_event: called with each event, from the server's threads.
      stop: ends the server from another thread. Signals are only heeded in the main thread.

    Raises `StartError` when it cannot start.
    """
    stop = stop or threading.Event()
    server = ModelServer(options, on_event)
    restore = _stop_on_signals(stop)
    try:
        if options.exit_with_parent:
            threading.Thread(target=_watch_parent, args=(os.getppid(), stop), daemon=True).start()
        server.start()
        stop.wait()
    finally:
        server.stop()
        restore()


def _stop_on_signals(stop: threading.Event) -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None

    def on_signal(number: int, frame: Any) -> None:
        if stop.is_set():  # asked twice: now
            os._exit(128 + number)
        stop.set()

    previous = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in previous.items():
            signal.signal(number, handler)

    return restore


def _watch_parent(parent: int, stop: threading.Event) -> None:
    """Sets `stop` when the starter's end of our standard input closes, or it is no longer our parent."""
    while not stop.is_set():
        # A fork of the starter may hold the pipe open after it died; its process id tells then.
        try:
            readable, _, _ = select.select([0], [], [], 1.0)
            is_closed = bool(readable) and not os.read(0, 4096)
        except OSError:  # there is no standard input
            is_closed = True
        if is_closed or os.getppid() != parent:
            stop.set()


def main(argv: Sequence[str] | None = None) -> int:
    """The command: returns the exit code, 0 after a stop that was asked for, 2 when it cannot start."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    try:
        serve(flags.parse(sys.argv[1:] if argv is None else argv), _print_event)
    except StartError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


_print_lock = threading.Lock()


def _print_event(event: Event) -> None:
    with _print_lock:
        try:
            print(json.dumps(event), flush=True)
        except BrokenPipeError:
            # Whoever read the events is gone; serving goes on, and the flush at the end must not fail.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            log.warning("nobody reads the events any more: %s", event)


if __name__ == "__main__":
    sys.exit(main())
