"""What bounds a server: sizes, pixels, time. And what it tells of itself: health, reflection, metrics."""

import base64
import gzip
import http.client
import io
import json
import socket
import struct
import zlib
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from PIL import Image

from serving import image_limits, protos
from serving.client import BadImage, Classifier
from serving.config_files import Monitoring, read_batching, read_monitoring
from serving.errors import StartError
from serving.flags import parse
from serving.local import LocalServer
from tests.serving.samples import COLOURS, MODEL, encoded


def saved(size: tuple[int, int], kind: str, mode: str = "RGB", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def bomb(width: int, height: int) -> bytes:
    """A PNG of some bytes that declares a huge picture."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + chunk


@pytest.mark.parametrize(
    "data",
    [
        saved((31, 17), "PNG"),
        saved((31, 17), "JPEG"),
        saved((31, 17), "JPEG", progressive=True, comment=b"\xff\xc0 not a frame"),
        saved((31, 17), "GIF"),
        saved((31, 17), "BMP"),
        saved((31, 17), "WEBP"),
        saved((31, 17), "WEBP", lossless=True),
        saved((31, 17), "WEBP", mode="RGBA"),
    ],
    ids=["png", "jpeg", "progressive", "gif", "bmp", "webp", "webp-lossless", "webp-alpha"],
)
def test_pixels_are_counted_from_the_header(data: bytes):
    assert image_limits.pixel_count(data) == 31 * 17
    for length in range(len(data)):  # a cut header is never an accident, only an unknown
        assert image_limits.pixel_count(data[:length]) in (None, 31 * 17)


def test_a_frame_larger_than_its_canvas_counts():
    data = bytearray(saved((31, 17), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)
    assert image_limits.pixel_count(bytes(data)) == 31 * 17


def test_frames_of_an_animation_count():
    rng = np.random.default_rng(0)
    frames = [Image.fromarray(rng.integers(0, 256, (17, 31), np.uint8)) for _ in range(30)]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    assert image_limits.pixel_count(buffer.getvalue()) == 31 * 17 * 10


@pytest.mark.parametrize("data", [b"", b"text", b"\xff\xd8", b"\xff\xd8\xff\xc0", b"BM", b"RIFF0000WEBPVP8 "])
def test_what_has_no_header_has_no_count(data: bytes):
    assert image_limits.pixel_count(data) is None


@pytest.mark.parametrize("signature", ["serving_default", "serving_examples"])
def test_too_many_pixels_are_refused_before_decoding(server: LocalServer, signature: str):
    data = bomb(60_000, 60_000)
    if signature == "serving_examples":
        example = protos.example.Example()
        example.features.feature["image/encoded"].bytes_list.value.append(data)
        data = example.SerializeToString()
    name = "image_bytes" if signature == "serving_default" else "examples"
    # By the inner call: the client itself would refuse such an image, or send it on as a PNG.
    with (
        Classifier(server.address, MODEL, signature=signature, input_name=name) as classifier,
        pytest.raises(BadImage, match="3600000000 pixels, more than the 1000000"),
    ):
        classifier._ask([data], ["bomb"], 10)


def test_a_request_over_the_bound_is_refused(server: LocalServer):
    noise = np.random.default_rng(0).integers(0, 256, (900, 900, 3), dtype=np.uint8)
    big = encoded(noise, "BMP")
    assert len(big) > 2_000_000
    with Classifier(server.address, MODEL) as classifier:
        results = list(classifier.classify_many([noise, noise, COLOURS["red"], noise], batch_size=4))
        assert [result.error for result in results] == [None] * 4  # cut until each part fits
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    connection.request("POST", f"/v1/models/{MODEL}:predict", gzip.compress(b" " * 5_000_000), GZIP)
    response = connection.getresponse()
    assert response.status == 413 and b"larger than 4000000 bytes" in response.read()


GZIP = {"Content-Encoding": "gzip"}


def test_a_client_that_sends_nothing_does_not_hold_the_server(server: LocalServer):
    host, port = server.rest_address.split(":")
    silent = [socket.create_connection((host, int(port))) for _ in range(3)]
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    connection.request("GET", f"/v1/models/{MODEL}")
    assert connection.getresponse().status == 200
    for each in silent:
        each.close()


def test_chunked_bodies_are_read(server: LocalServer):
    image = {"b64": base64.b64encode(encoded(COLOURS["blue"])).decode()}
    body = json.dumps({"instances": [image]}).encode()
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    connection.request(
        "POST", f"/v1/models/{MODEL}:predict", iter([body[:50], body[50:]]), encode_chunked=True
    )
    response = connection.getresponse()
    assert json.loads(response.read())["predictions"][0]["label"] == "blue"


def test_health_tells_of_the_server_and_each_model(server: LocalServer):
    with grpc.insecure_channel(server.address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        for service in ("", "tensorflow.serving.PredictionService", MODEL):
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_reflection_lists_and_describes_the_services(server: LocalServer):
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="tensorflow.serving.PredictionService"),
    ]
    with grpc.insecure_channel(server.address) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        listed, described = stub.ServerReflectionInfo(iter(asked), timeout=10)
    names = {service.name for service in listed.list_services_response.service}
    assert {"tensorflow.serving.PredictionService", "tensorflow.serving.ModelService"} <= names
    assert described.file_descriptor_response.file_descriptor_proto


def test_a_unix_socket_serves_too(server: LocalServer):
    socket_path = next(part for part in server.command if part.startswith("--grpc_socket_path="))
    with Classifier(f"unix:{socket_path.partition('=')[2]}", MODEL) as classifier:
        assert classifier.classify(COLOURS["red"]).label == "red"


def test_metrics_have_the_names_of_the_real_server(server: LocalServer, classifier: Classifier):
    classifier.classify(COLOURS["red"])
    connection = http.client.HTTPConnection(server.rest_address, timeout=20)
    connection.request("GET", "/monitoring/prometheus/metrics")
    response = connection.getresponse()
    page = response.read().decode()
    assert response.headers["Content-Type"] == "text/plain"
    assert "# TYPE :tensorflow:serving:request_count counter" in page
    assert f':tensorflow:serving:request_count{{model_name="{MODEL}",status="OK"}}' in page
    label = f'model_name="{MODEL}",API="Predict",entrypoint="GRPC"'
    counts = {
        line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1])
        for line in page.splitlines()
        if line.startswith(f":tensorflow:serving:request_latency_bucket{{{label}")
    }
    assert list(counts.values()) == sorted(counts.values())
    assert f":tensorflow:serving:request_latency_count{{{label}}} {max(counts.values()):.0f}" in page
    assert f':tensorflow:serving:batching_session:batch_size_count{{model_name="{MODEL}"}}' in page
    assert f':imagemill:serving:label_count{{model_name="{MODEL}",label="red"}}' in page


def test_batching_parameters_are_read(tmp_path: Path):
    file = tmp_path / "batching.config"
    file.write_text(
        "max_batch_size { value: 16 } batch_timeout_micros { value: 0 } num_batch_threads { value: 2 } "
        "max_enqueued_batches { value: 3 } allowed_batch_sizes: 4 allowed_batch_sizes: 16",
        encoding="utf-8",
    )
    limits = read_batching(file)
    assert (limits.max_batch_size, limits.max_parallel, limits.max_queue) == (16, 2, 48)
    assert limits.allowed_sizes == (4, 16)
    file.write_text("max_batch_size { value: 16 } allowed_batch_sizes: 4", encoding="utf-8")
    with pytest.raises(StartError, match="end with max_batch_size = 16"):
        read_batching(file)
    file.write_text("max_batch_size { value: -1 }", encoding="utf-8")
    with pytest.raises(StartError, match="must be positive"):
        read_batching(file)


def test_monitoring_is_read(tmp_path: Path):
    file = tmp_path / "monitoring.config"
    file.write_text('prometheus_config { enable: true path: "/metrics" }', encoding="utf-8")
    assert read_monitoring(file) == Monitoring(True, "/metrics")
    file.write_text("", encoding="utf-8")
    assert not read_monitoring(file).enabled


def test_a_command_line_of_the_real_server_is_understood(caplog: pytest.LogCaptureFixture):
    options = parse(
        [
            "--port=9000",
            "--rest_api_port=9001",
            "--model_name=flowers",
            "--model_base_path=/models/flowers",
            "--enable_batching",
            "--file_system_poll_wait_seconds=5",
            "--tensorflow_session_parallelism=2",
            "--grpc_channel_arguments=grpc.max_connection_age_ms=2000,grpc.lb=round",
            "--flush_filesystem_caches=false",
            "--enable_model_warmup=true",
            "--rest_api_timeout_in_ms=1000",
        ]
    )
    assert (options.port, options.enable_batching, options.rest_api_timeout_in_ms) == (9000, True, 1000)
    assert options.channel_arguments == (("grpc.max_connection_age_ms", 2000), ("grpc.lb", "round"))
    assert "--flush_filesystem_caches has no effect" in caplog.text
    with pytest.raises(StartError, match="platform_config_file is not supported"):
        parse(["--platform_config_file=x"])
