"""What the two faces of the server do with the calls themselves: cancelling, deadlines, crowds, accidents."""

import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from serving import protos
from serving.batching import Call
from serving.calls import PREDICT
from serving.config_files import Monitoring
from serving.grpc_face import GrpcFace, GrpcOptions
from serving.rest_face import RestFace, RestOptions


class Slow:
    """Stands where `Api` stands; a predict ends when its client is gone or the test says so."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.end = threading.Event()
        self.gone = threading.Event()
        self.calls: list[Call] = []

    def predict(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        self.calls.append(call)
        call.watch(self.gone.set)
        self.entered.release()
        assert self.end.wait(20)
        return protos.predict.PredictResponse()

    def get_model_status(self, request: Any, call: Call, entrypoint: str = "GRPC") -> Any:
        raise RuntimeError("an accident")

    classify = regress = multi_inference = get_model_metadata = reload_config = get_model_status


@pytest.fixture
def slow() -> Iterator[Slow]:
    api = Slow()
    yield api
    api.end.set()


@pytest.fixture
def channel(slow: Slow) -> Iterator[grpc.Channel]:
    face = GrpcFace(slow, GrpcOptions(("127.0.0.1:0",), threads=4, max_requests=2, max_message_bytes=1000))
    face.start()
    with grpc.insecure_channel(f"127.0.0.1:{face.ports[0]}") as opened:
        yield opened
    slow.end.set()
    face.stop(0).wait()


def send(channel: grpc.Channel, data: bytes = b"", timeout: float = 20) -> Any:
    return channel.unary_unary(PREDICT).future(data, timeout=timeout)


def test_a_client_that_goes_away_is_noticed(slow: Slow, channel: grpc.Channel):
    call = send(channel)
    assert slow.entered.acquire(timeout=10)
    call.cancel()
    assert slow.gone.wait(10)
    assert slow.calls[0].cancelled


def test_the_deadline_of_the_client_is_known(slow: Slow, channel: grpc.Channel):
    call = send(channel, timeout=15)
    assert slow.entered.acquire(timeout=10)
    assert 0 < slow.calls[0].deadline - time.monotonic() < 15.1
    call.cancel()


def test_a_crowd_is_turned_away(slow: Slow, channel: grpc.Channel):
    inside = [send(channel), send(channel)]
    assert all(slow.entered.acquire(timeout=10) for _ in inside)
    assert send(channel).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    slow.end.set()
    assert [call.code() for call in inside] == [grpc.StatusCode.OK] * 2


def test_a_message_over_the_bound_is_refused(channel: grpc.Channel):
    call = send(channel, b"\x00" * 2000)
    assert call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "larger than max" in call.details()


def test_an_accident_inside_is_told_without_its_traceback(slow: Slow, channel: grpc.Channel):
    call = channel.unary_unary("/tensorflow.serving.ModelService/GetModelStatus").future(b"", timeout=10)
    assert (call.code(), call.details()) == (grpc.StatusCode.INTERNAL, "RuntimeError: an accident")


@pytest.fixture(params=[20])
def rest(slow: Slow, request: pytest.FixtureRequest) -> Iterator[RestFace]:
    options = RestOptions(
        max_body_bytes=1000,
        max_connections=request.param,
        threads=1,
        timeout=5,
        cors=True,
        monitoring=Monitoring(path="/metrics"),
        metrics_page=lambda: "a page",
    )
    face = RestFace(slow, "127.0.0.1", 0, options)
    face.start()
    yield face
    face.stop(1)


def ask(rest: RestFace, method: str, path: str, body: bytes = b"", **headers: str) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=10)
    connection.request(method, path, body, {"Connection": "close", **headers})
    response = connection.getresponse()
    return response.status, response.read(), response.headers


def test_an_accident_over_rest(rest: RestFace):
    status, body, _ = ask(rest, "GET", "/v1/models/any")
    assert (status, json.loads(body)) == (500, {"error": "RuntimeError: an accident"})


def test_cross_origin_requests_where_allowed(rest: RestFace):
    status, _, headers = ask(rest, "OPTIONS", "/v1/models/any:predict")
    assert (status, headers["Access-Control-Allow-Origin"]) == (200, "*")


def test_the_page_for_prometheus_may_be_elsewhere(rest: RestFace):
    assert ask(rest, "GET", "/metrics")[:2] == (200, b"a page")
    assert ask(rest, "GET", "/monitoring/prometheus/metrics")[0] == 404


def test_a_body_over_the_bound_is_refused(rest: RestFace):
    status, body, _ = ask(rest, "POST", "/v1/models/any:predict", b" " * 2000)
    assert (status, json.loads(body)) == (413, {"error": "the request is larger than 1000 bytes"})


@pytest.mark.parametrize("rest", [1], indirect=True)
def test_more_connections_than_allowed_are_turned_away(rest: RestFace):
    first = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=10)
    first.request("GET", "/metrics")  # kept open by the client
    assert first.getresponse().read() == b"a page"
    second = http.client.HTTPConnection("127.0.0.1", rest.port, timeout=10)
    second.request("GET", "/metrics")
    assert second.getresponse().status == 503
    first.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"POST /v1/models/any:predict HTTP/1.1\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/models/any:predict HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /v1/models/any/versions/x HTTP/1.1\r\n\r\n",
    ],
    ids=["length", "chunk", "version"],
)
def test_malformed_requests_are_answered(rest: RestFace, raw: bytes):
    with socket.create_connection(("127.0.0.1", rest.port), timeout=10) as connection:
        connection.sendall(raw)
        assert connection.recv(4096).startswith(b"HTTP/1.1 400 ")
