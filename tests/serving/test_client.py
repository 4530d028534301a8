"""The client against a running server: answers, order, errors, retries."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from PIL import Image

from serving import protos, tensors
from serving.calls import Backoff
from serving.client import (
    BadImage,
    Classifier,
    DeadlineExceeded,
    ModelNotFound,
    Prediction,
    ServerUnavailable,
    ServingError,
)
from serving.grpc_face import PREDICTION_SERVICE
from serving.local import LocalServer
from tests.serving.samples import COLOURS, MODEL, colour, encoded
from tests.serving.tiny_model import CLASSES


@pytest.mark.parametrize("label", CLASSES)
def test_every_form_of_an_image_gets_the_same_answer(classifier: Classifier, label: str, tmp_path: Path):
    path = tmp_path / "image.png"
    path.write_bytes(encoded(COLOURS[label]))
    forms = [path, str(path), path.read_bytes(), COLOURS[label], Image.open(path)]
    answers = [classifier.classify(form) for form in forms]
    assert {answer.label for answer in answers} == {label}
    assert len({answer.probabilities for answer in answers}) == 1
    assert answers[0].source == str(path)
    assert answers[0].model_version == 7
    assert answers[0].confidence == max(answers[0].probabilities)
    assert sum(answers[0].probabilities) == pytest.approx(1, abs=1e-6)


def test_top_gives_the_likeliest_classes_with_their_names(server: LocalServer):
    with Classifier(server.address, MODEL, classes=CLASSES) as classifier:
        top = classifier.classify(colour(100, 60, 20)).top(2)
    assert [score.label for score in top] == ["red", "green"]
    assert top[0].probability > top[1].probability


def test_an_abstaining_model_has_no_label_but_its_scores():
    answer = Prediction("cat.jpg", "", 0.4, (0.35, 0.4, 0.25), 1)
    assert answer.abstained
    assert [score.label for score in answer.top(2)] == ["1", "0"]
    assert [score.label for score in replace(answer, classes=CLASSES).top(2)] == [CLASSES[1], CLASSES[0]]


def test_many_keeps_the_order_and_reports_progress(classifier: Classifier):
    labels = [CLASSES[i * i % 3] for i in range(50)]
    seen: list[int] = []
    results = list(
        classifier.classify_many((COLOURS[label] for label in labels), batch_size=7, progress=seen.append)
    )
    assert [result.label for result in results] == labels
    assert seen[-1] == 50 and seen == sorted(seen) and len(seen) == 8


def test_many_streams_an_endless_source(classifier: Classifier):
    taken = 0

    def endless() -> Iterator[np.ndarray]:
        nonlocal taken
        while True:
            taken += 1
            yield COLOURS["red"]

    stream = classifier.classify_many(endless(), batch_size=4, in_flight=2)
    assert next(stream).label == "red"
    assert taken <= 12


def test_bad_images_in_a_batch_do_not_cost_the_others(classifier: Classifier):
    good = encoded(colour(10, 250, 10, 64), "JPEG")
    damaged = good[:-20]  # its header is whole: only the server finds out
    items = [good, damaged, b"text", good, "gone.png", damaged, good]
    results = list(classifier.classify_many(items, batch_size=16))
    assert [result.error is None for result in results] == [True, False, False, True, False, False, True]
    assert all(isinstance(result, BadImage) for result in results if result.error)
    assert results[1].source == "<image 1>" and "the model cannot read it" in str(results[1])
    with pytest.raises(BadImage, match="<image 1>"):
        list(classifier.classify_many(items, errors="raise"))


def test_a_damaged_image_raises(classifier: Classifier):
    with pytest.raises(BadImage, match="the model cannot read it"):
        classifier.classify(encoded(colour(10, 250, 10, 64), "JPEG")[:-20])


def test_requests_stay_below_the_size_limit(server: LocalServer):
    image = encoded(COLOURS["red"])
    with Classifier(server.address, MODEL, max_request_bytes=len(image) * 2) as classifier:
        assert len(list(classifier.classify_many([image] * 5))) == 5
        big = encoded(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        with pytest.raises(BadImage, match="max_request_bytes"):
            classifier.classify(big)


def test_an_unknown_model_is_named(server: LocalServer):
    with Classifier(server.address, "tulips") as classifier, pytest.raises(ModelNotFound, match="tulips"):
        classifier.classify(COLOURS["red"])
    with (
        Classifier(server.address, MODEL, version=3) as classifier,
        pytest.raises(ModelNotFound, match="version 3"),
    ):
        classifier.classify(COLOURS["red"])


def test_a_signature_of_another_kind_is_told(server: LocalServer):
    with (
        Classifier(server.address, MODEL, input_name="pixels") as classifier,
        pytest.raises(ServingError, match="input tensor alias not found in signature: pixels"),
    ):
        list(classifier.classify_many([COLOURS["red"]] * 3))


def test_version_and_label_exclude_each_other():
    with pytest.raises(ValueError, match="not both"):
        Classifier("localhost:1", MODEL, version=1, version_label="stable")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_nobody_at_the_address_is_told_with_the_address():
    address = f"127.0.0.1:{free_port()}"
    with Classifier(address, MODEL, retries=1) as classifier, pytest.raises(ServerUnavailable, match=address):
        classifier.classify(COLOURS["red"])
    with Classifier(address, MODEL) as classifier, pytest.raises(ServerUnavailable, match=address):
        classifier.wait_until_ready(0.3)


class Scripted:
    """A server that answers Predict by a script of status codes, and then rightly."""

    def __init__(self, *script: grpc.StatusCode, delay: threading.Event | None = None):
        self.calls = 0
        self._script = list(script)
        self._delay = delay
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        handler = grpc.unary_unary_rpc_method_handler(
            self._answer,
            request_deserializer=protos.predict.PredictRequest.FromString,
            response_serializer=protos.predict.PredictResponse.SerializeToString,
        )
        self._server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(PREDICTION_SERVICE, {"Predict": handler})]
        )
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def _answer(self, request, context):
        self.calls += 1
        if self._delay:
            self._delay.wait(5)
        if self._script:
            context.abort(self._script.pop(0), "as the script says")
        count = len(request.inputs["image_bytes"].string_val)
        response = protos.predict.PredictResponse()
        tensors.from_numpy(np.full((count, 2), 0.5, np.float32), response.outputs["probabilities"])
        tensors.from_numpy(np.full(count, 0.5, np.float32), response.outputs["confidence"])
        tensors.strings([b"a"] * count, response.outputs["label"])
        return response

    def __enter__(self) -> "Scripted":
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._delay:
            self._delay.set()
        self._server.stop(0).wait()


QUICK = Backoff(first=0.01, longest=0.02)


def test_unavailable_is_tried_again():
    unavailable = grpc.StatusCode.UNAVAILABLE
    with (
        Scripted(unavailable, unavailable) as fake,
        Classifier(fake.address, MODEL, backoff=QUICK) as classifier,
    ):
        assert classifier.classify(COLOURS["red"]).label == "a"
        assert fake.calls == 3
    with Scripted(unavailable) as fake, Classifier(fake.address, MODEL, backoff=QUICK) as classifier:
        assert len(list(classifier.classify_many([COLOURS["red"]] * 3))) == 3


def test_unavailable_is_not_tried_for_ever():
    with (
        Scripted(*[grpc.StatusCode.UNAVAILABLE] * 9) as fake,
        Classifier(fake.address, MODEL, retries=2, backoff=QUICK) as classifier,
    ):
        with pytest.raises(ServerUnavailable, match="as the script says"):
            classifier.classify(COLOURS["red"])
        assert fake.calls == 3


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.NOT_FOUND]
)
def test_other_errors_are_not_tried_again(code: grpc.StatusCode):
    with Scripted(code) as fake, Classifier(fake.address, MODEL, backoff=QUICK) as classifier:
        with pytest.raises(ServingError) as caught:
            classifier.classify(COLOURS["red"])
        assert fake.calls == 1
        assert caught.value.code == code.name
        assert "\n" not in str(caught.value)


def test_the_deadline_ends_a_call():
    with (
        Scripted(delay=threading.Event()) as fake,
        Classifier(fake.address, MODEL, timeout=0.2) as classifier,
    ):
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded, match=r"within 0\.2 s"):
            classifier.classify(COLOURS["red"])
        assert time.monotonic() - start < 2


def test_a_server_that_comes_up_late_is_waited_for(base_path: Path):
    port = free_port()
    ready: list[float] = []
    with Classifier(f"127.0.0.1:{port}", MODEL) as classifier:
        waiter = threading.Thread(target=lambda: ready.append(classifier.wait_until_ready(60) or 1.0))
        waiter.start()
        with LocalServer(base_path, MODEL, port):
            waiter.join(30)
            assert ready == [1.0]
            assert classifier.classify(COLOURS["blue"]).label == "blue"
