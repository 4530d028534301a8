"""The blocking client: images in, typed predictions out, of any server that speaks TensorFlow Serving's API.

with Classifier("localhost:8500", model="flowers") as classifier:
    print(classifier.classify("rose.jpg").label)
    for result in classifier.classify_many(Path("photos").glob("*.jpg")):
        print(result.source, result.error or result.label)
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import grpc

from serving import protos
from serving.calls import (
    GET_MODEL_STATUS,
    PREDICT,
    Backoff,
    ErrorMode,
    Prediction,
    Score,
    Security,
    Target,
    channel_options,
    not_ready,
)
from serving.errors import (
    BadImage,
    DeadlineExceeded,
    ModelNotFound,
    PermissionDenied,
    ServerUnavailable,
    ServingError,
)
from serving.images import MAX_PIXELS, WHITE, Colour, ImageInput, source_name
from serving.requests import Batch, Bounds, batches, prepare

__all__ = [
    "BadImage",
    "Classifier",
    "DeadlineExceeded",
    "ModelNotFound",
    "PermissionDenied",
    "Prediction",
    "Score",
    "Security",
    "ServerUnavailable",
    "ServingError",
]


class Classifier:
    """A connection to one model of one server. Safe to use from several threads.

    Args:
      address: `host:port`, or `unix:/path` of a socket.
      model: the name under which the server serves it.
      version, version_label: ask this version and not the latest; at most one of them.
      timeout: seconds for one call, tries included.
      retries: how often a call is tried again, on UNAVAILABLE only.
      security: TLS and token.
      signature, input_name: where the model takes encoded images.
      classes: names of the classes in the model's order, for `Prediction.top`.
      max_request_bytes: batches are cut so that a request's images stay below; one larger image is refused.
      max_pixels: images with more are refused before they are decoded or sent.
      background: red, green and blue that show through where an image is transparent, as set at ingest.
      channel_options: gRPC channel arguments by name.

    Raises `ValueError` for arguments that contradict each other; it does not connect yet.
    """

    def __init__(
        self,
        address: str,
        model: str,
        *,
        version: int | None = None,
        version_label: str | None = None,
        timeout: float = 30.0,
        retries: int = 4,
        security: Security | None = None,
        signature: str = "serving_default",
        input_name: str = "image_bytes",
        classes: Sequence[str] = (),
        max_request_bytes: int = 64 << 20,
        max_pixels: int = MAX_PIXELS,
        background: Colour = WHITE,
        backoff: Backoff | None = None,
        channel_options: Mapping[str, Any] | None = None,
    ):
        security = security or Security()
        self.target = Target(address, model, version, version_label, signature, input_name, tuple(classes))
        self.timeout = timeout
        self.retries = retries
        self.max_request_bytes = max_request_bytes
        self.max_pixels = max_pixels
        self.background = background
        self._backoff = backoff or Backoff()
        self._metadata = security.metadata(address)
        self._channel = _open(address, security, channel_options)
        self._closed = threading.Event()
        self._predict = self._channel.unary_unary(
            PREDICT,
            request_serializer=protos.predict.PredictRequest.SerializeToString,
            response_deserializer=protos.predict.PredictResponse.FromString,
        )
        self._status = self._channel.unary_unary(
            GET_MODEL_STATUS,
            request_serializer=protos.get_model_status.GetModelStatusRequest.SerializeToString,
            response_deserializer=protos.get_model_status.GetModelStatusResponse.FromString,
        )

    def __enter__(self) -> "Classifier":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._closed.set()
        self._channel.close()

    def classify(self, image: ImageInput, *, timeout: float | None = None) -> Prediction:
        """The model's answer for one image: a path, a file's bytes, uint8 pixels, or a Pillow image.

        Raises `BadImage`, `ServerUnavailable`, `ModelNotFound`, `DeadlineExceeded`, `PermissionDenied`, or
        `ServingError` for anything else that the server answers.
        """
        source = source_name(image, "<image>")
        item = prepare(image, source, self._bounds(1))
        if isinstance(item, BadImage):
            raise item
        return self._ask([item], [source], self.timeout if timeout is None else timeout)[0]

    def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int = 32,
        in_flight: int = 2,
        errors: ErrorMode = "return",
        progress: Callable[[int], None] | None = None,
    ) -> Iterator[Prediction | BadImage]:
        """Answers for any number of images, in their order, as they come in.

        Reads the iterable only as far ahead as `in_flight` batches, so that it may be endless.

        Args:
          batch_size: images a request, at most.
          in_flight: requests under way at once.
          errors: `return` yields a `BadImage` in the place of an image that cannot be classified; `raise`
            raises it there. Trouble with the server is always raised.
          progress: called with the number of images done so far, after each batch.

        Raises `ValueError` for sizes below 1, when the first answer is asked for.
        """
        if in_flight < 1:
            raise ValueError(f"in_flight is at least 1. Received: {in_flight}")
        pending: deque[_Sent] = deque()
        done = 0
        try:
            for batch in batches(images, self._bounds(batch_size)):
                pending.append(self._send(batch))
                if len(pending) >= in_flight:
                    done += yield from _yield_all(self._receive(pending.popleft()), errors)
                    if progress:
                        progress(done)
            while pending:
                done += yield from _yield_all(self._receive(pending.popleft()), errors)
                if progress:
                    progress(done)
        finally:
            for sent in pending:  # whoever stops listening frees the server's work
                sent.cancel()

    def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Returns as soon as the server serves the model.

        Raises the reason why not when the time is over: `ServerUnavailable` when nothing answers,
        `ModelNotFound` when the server does not know the model or has no version of it ready.
        """
        end = time.monotonic() + timeout
        attempt = 0
        while True:
            left = max(end - time.monotonic(), 0.05)
            try:
                response = self._status(
                    self.target.status_request(), timeout=min(left, 5.0), metadata=self._metadata
                )
                if self.target.is_available(response):
                    return
                failure = not_ready(self.target, response, timeout)
            except grpc.RpcError as error:
                failure = self._error(error, timeout)
                if not isinstance(failure, ServerUnavailable | ModelNotFound | DeadlineExceeded):
                    raise failure from None
            pause = self._backoff.seconds(attempt)
            if time.monotonic() + pause >= end:
                raise failure from None
            attempt += 1
            if self._closed.wait(pause):
                raise ServerUnavailable(f"the connection to {self.target.address} was closed") from None

    def _bounds(self, batch_size: int) -> Bounds:
        return Bounds(batch_size, self.max_request_bytes, self.max_pixels, self.background)

    def _ask(self, encoded: list[bytes], sources: list[str], timeout: float) -> list[Prediction]:
        """One request with its retries."""
        request = self.target.predict_request(encoded)
        end = time.monotonic() + timeout
        attempt = 0
        while True:
            try:
                left = max(end - time.monotonic(), 0.001)
                return self.target.predictions(
                    self._predict(request, timeout=left, metadata=self._metadata), sources
                )
            except grpc.RpcError as error:
                failure = self._error(error, timeout, sources[0] if len(sources) == 1 else None)
            pause = self._backoff.seconds(attempt)
            if (
                not isinstance(failure, ServerUnavailable)
                or attempt >= self.retries
                or time.monotonic() + pause >= end
                or self._closed.wait(pause)
            ):
                raise failure from None
            attempt += 1

    def _send(self, batch: Batch) -> "_Sent":
        call = None
        if encoded := batch.encoded():
            request = self.target.predict_request(encoded)
            call = self._predict.future(request, timeout=self.timeout, metadata=self._metadata)
        return _Sent(batch, call)

    def _receive(self, sent: "_Sent") -> list[Prediction | BadImage]:
        if sent.call is None:
            return sent.batch.merge([])
        try:
            answers = self.target.predictions(sent.call.result(), sent.batch.sources())
        except grpc.RpcError as error:
            failure = self._error(error, self.timeout)
            if not failure.about_images and not isinstance(failure, ServerUnavailable):
                raise failure from None
            return sent.batch.merge(self._search(sent.batch.encoded(), sent.batch.sources()))
        return sent.batch.merge(answers)

    def _search(self, encoded: list[bytes], sources: list[str]) -> list[Prediction | BadImage]:
        """Asks again for a batch that failed, halving it wherever an image spoils the others' answer."""
        try:
            return list(self._ask(encoded, sources, self.timeout))
        except BadImage as error:
            return [error]
        except ServingError as error:
            if len(encoded) == 1 or not error.about_images:
                raise
        middle = len(encoded) // 2
        return [
            *self._search(encoded[:middle], sources[:middle]),
            *self._search(encoded[middle:], sources[middle:]),
        ]

    def _error(self, error: grpc.RpcError, timeout: float, source: str | None = None) -> ServingError:
        return self.target.error(error.code(), error.details(), timeout, source)


class _Sent(NamedTuple):
    """A batch with its call under way, None when there was nothing to send."""

    batch: Batch
    call: Any

    def cancel(self) -> None:
        if self.call is not None:
            self.call.cancel()


def _yield_all(results: list[Any], errors: ErrorMode) -> Iterator[Any]:
    for result in results:
        if errors == "raise" and isinstance(result, BadImage):
            raise result
        yield result
    return len(results)


def _open(address: str, security: Security, extra: Mapping[str, Any] | None) -> grpc.Channel:
    credentials = security.credentials()
    options = channel_options(extra)
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)
