"""The REST face: TensorFlow Serving's HTTP API, and the page for Prometheus.

Paths, codes and messages follow model_servers/http_rest_api_handler.cc and http_server.cc.
"""

import gzip
import hmac
import logging
import re
import socket
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from serving import protos, rest_answers, rest_requests
from serving.api import Api
from serving.batching import Call
from serving.config_files import Monitoring
from serving.errors import StartError
from serving.status import StatusCode, StatusError, fail

log = logging.getLogger(__name__)

_VERSION = r"(?:/versions/(?P<version>\d+)|/labels/(?P<label>[^/:]+))?"
_POST = re.compile(
    rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<method>classify|regress|predict)", re.IGNORECASE
)
_GET = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?", re.IGNORECASE)
_ANY = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_HTTP = {
    StatusCode.CANCELLED: 499,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.UNAUTHENTICATED: 401,
}
#: Answers below are not worth the time that compressing takes.
_MIN_GZIP = 1024
_CHUNK = 1 << 16


@dataclass(frozen=True)
class RestOptions:
    """How the REST face runs.

    Attributes:
      max_body_bytes: of a request, after decompression.
      max_connections: open at once; more are turned away with 503.
      threads: requests that are answered at once; others wait.
      timeout: seconds for one request, waiting included, and for a silent client.
      cors: let any web page ask.
      monitoring: where Prometheus finds its page.
      metrics_page: makes that page.
      token: wanted as `Authorization: Bearer ...`, or None.
    """

    max_body_bytes: int
    max_connections: int
    threads: int
    timeout: float
    cors: bool
    monitoring: Monitoring
    metrics_page: Callable[[], str]
    token: str | None = None


class RestFace:
    """The HTTP server; raises `StartError` when the address is taken."""

    def __init__(self, api: Api, host: str, port: int, options: RestOptions):
        handler = type("Handler", (_Handler,), {"api": api, "options": options, "timeout": options.timeout})
        try:
            self._server = _Server((host, port), handler, options.max_connections, options.threads)
        except OSError as error:
            raise StartError(
                f"cannot listen on {host}:{port}: {error.strerror}; choose another --rest_api_port"
            ) from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="rest", daemon=True
        )

    def start(self) -> None:
        self._thread.start()

    def stop(self, grace: float) -> None:
        """Takes no new requests and waits up to `grace` seconds for those under way."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        self._server.drain(grace)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], handler: type, max_connections: int, threads: int):
        self._slots = threading.BoundedSemaphore(max_connections)
        self.workers = threading.BoundedSemaphore(threads)
        self._changed = threading.Condition()
        self._busy = 0
        self.stopping = False
        super().__init__(address, handler)

    def server_bind(self) -> None:
        # The base class looks up the host's name here, which can take seconds without a network.
        socket_address = self.server_address
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(socket_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = self.server_address[:2]

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._slots.acquire(blocking=False):
            try:
                request.sendall(
                    b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
                )
            except OSError:
                log.debug("a client left before it was turned away")
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._slots.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a connection ended early", exc_info=True)

    def busy(self, change: int) -> None:
        with self._changed:
            self._busy += change
            self._changed.notify_all()

    def drain(self, grace: float) -> None:
        with self._changed:
            self.stopping = True
            self._changed.wait_for(lambda: self._busy == 0, grace)


class _Handler(BaseHTTPRequestHandler):
    """One connection; every method of HTTP ends in `_answer`."""

    api: Api
    options: RestOptions
    server: _Server
    protocol_version = "HTTP/1.1"
    server_version = "imagemill"
    sys_version = ""
    wbufsize = -1  # header and body leave in one packet
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        log.debug(format, *args)

    def _answer(self) -> None:
        self.server.busy(+1)
        try:
            status, content_type, body = self._respond()
            self._send(status, content_type, body)
        finally:
            self.server.busy(-1)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = do_HEAD = _answer  # noqa: N815

    def _respond(self) -> tuple[int, str, str]:
        path = urlsplit(self.path).path
        try:
            body = self._body()
            self._authorize()
            monitoring = self.options.monitoring
            if monitoring.enabled and path == monitoring.path:
                return 200, "text/plain", self.options.metrics_page()
            if self.command == "OPTIONS" and self.options.cors:
                return 200, "application/json", ""
            if not _ANY.fullmatch(path):
                return 404, "application/json", rest_answers.error("Not found")
            return 200, "application/json", self._dispatch(path, body)
        except StatusError as error:
            return _HTTP.get(error.code, 500), "application/json", rest_answers.error(error.message)
        except _TooLargeError as error:
            self.close_connection = True
            return 413, "application/json", rest_answers.error(str(error))
        except RecursionError:
            return 400, "application/json", rest_answers.error("JSON Parse error: nested too deeply")
        except (OSError, EOFError):
            raise
        except Exception as error:
            log.exception("a REST request failed inside the server")
            return 500, "application/json", rest_answers.error(f"{type(error).__name__}: {error}")

    def _authorize(self) -> None:
        token = self.options.token
        given = self.headers.get("Authorization", "")
        if token is not None and not hmac.compare_digest(given.encode(), f"Bearer {token}".encode()):
            fail(StatusCode.UNAUTHENTICATED, "a valid token is needed in the header Authorization")

    def _dispatch(self, path: str, body: bytes) -> str:
        match = {"POST": _POST, "GET": _GET}.get(self.command, _POST).fullmatch(path)
        if match is None or self.command not in ("POST", "GET"):
            fail(StatusCode.INVALID_ARGUMENT, f"Malformed request: {self.command} {self.path}")
        call = Call(time.monotonic() + self.options.timeout)
        if self.command == "GET":
            return self._look_up(match, call)
        if not self.server.workers.acquire(timeout=self.options.timeout):
            fail(StatusCode.UNAVAILABLE, "the server is busy with other requests")
        try:
            return self._infer(match, body, call)
        finally:
            self.server.workers.release()

    def _infer(self, match: re.Match[str], body: bytes, call: Call) -> str:
        method = match["method"].lower()
        if method == "predict":
            request = protos.predict.PredictRequest()
            _fill_spec(request.model_spec, match)
            rows = rest_requests.predict_request(body, request, lambda name: self._inputs(request, name))
            return rest_answers.predictions(self.api.predict(request, call, "REST"), rows)
        if method == "classify":
            request = protos.classification.ClassificationRequest()
            _fill_spec(request.model_spec, match)
            rest_requests.examples_request(body, request)
            return rest_answers.classifications(self.api.classify(request, call, "REST"))
        request = protos.regression.RegressionRequest()
        _fill_spec(request.model_spec, match)
        rest_requests.examples_request(body, request)
        return rest_answers.regressions(self.api.regress(request, call, "REST"))

    def _look_up(self, match: re.Match[str], call: Call) -> str:
        if not match["name"]:
            fail(StatusCode.INVALID_ARGUMENT, "Missing model name in request.")
        if match["metadata"]:
            request = protos.get_model_metadata.GetModelMetadataRequest(metadata_field=["signature_def"])
            _fill_spec(request.model_spec, match)
            return rest_answers.model_metadata(self.api.get_model_metadata(request, call, "REST"))
        request = protos.get_model_status.GetModelStatusRequest()
        _fill_spec(request.model_spec, match)
        return rest_answers.model_status(self.api.get_model_status(request, call, "REST"))

    def _inputs(self, request: Any, name: str) -> Any:
        return self.api.signature_inputs(request.model_spec, name)

    def _body(self) -> bytes:
        """The request's body, whole and decompressed, within the bound."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            raw = self._chunks()
        else:
            length = self.headers.get("Content-Length", "0").strip()
            if not length.isdecimal():
                self.close_connection = True
                fail(StatusCode.INVALID_ARGUMENT, f"Malformed request: Content-Length {length!r}")
            self._bound(int(length))
            raw = self.rfile.read(int(length))
            if len(raw) < int(length):
                raise EOFError
        if self.headers.get("Content-Encoding", "").strip().lower() == "gzip":
            return self._decompressed(raw)
        return raw

    def _bound(self, size: int) -> None:
        if size > self.options.max_body_bytes:
            raise _TooLargeError(f"the request is larger than {self.options.max_body_bytes} bytes")

    def _chunks(self) -> bytes:
        parts, total = [], 0
        while True:
            line = self.rfile.readline(_CHUNK)
            try:
                size = int(line.split(b";")[0], 16)
            except ValueError:
                self.close_connection = True
                fail(StatusCode.INVALID_ARGUMENT, "Malformed request: a chunk without a size")
            if size <= 0:
                while self.rfile.readline(_CHUNK).strip():  # trailers
                    pass
                return b"".join(parts)
            total += size
            self._bound(total)
            parts.append(self.rfile.read(size))
            self.rfile.readline(_CHUNK)

    def _decompressed(self, raw: bytes) -> bytes:
        stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        try:
            body = stream.decompress(raw, self.options.max_body_bytes + 1)
        except zlib.error:
            fail(StatusCode.INVALID_ARGUMENT, "Malformed request: the body is not gzip")
        self._bound(len(body))
        if not stream.eof:
            fail(StatusCode.INVALID_ARGUMENT, "Malformed request: the gzip body ends early")
        return body

    def _send(self, status: int, content_type: str, text: str) -> None:
        body = text.encode(errors="replace")
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        if self.options.cors:
            self.send_header("Access-Control-Allow-Origin", "*")
            self.send_header("Access-Control-Allow-Methods", "POST, GET")
            self.send_header("Access-Control-Allow-Headers", "Content-Type")
        if len(body) >= _MIN_GZIP and "gzip" in self.headers.get("Accept-Encoding", "").lower():
            body = gzip.compress(body, 1)
            self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        if self.server.stopping or self.close_connection:
            self.close_connection = True
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
        self.wfile.flush()


class _TooLargeError(Exception):
    """The body is over the bound; the rest of it is not read, so the connection ends."""


def _fill_spec(spec: Any, match: re.Match[str]) -> None:
    spec.name = unquote(match["name"])
    if match["version"]:
        if int(match["version"]) >= 2**63:
            fail(StatusCode.INVALID_ARGUMENT, f"Failed to convert version: {match['version']} to numeric.")
        spec.version.value = int(match["version"])
    if match["label"]:
        spec.version_label = unquote(match["label"])
