"""The blocking client: images in, typed predictions out, of any server that speaks TensorFlow Serving's API.

with Classifier("localhost:8500", model="flowers") as classifier:
    print(classifier.classify("rose.jpg").label)
    for result in classifier.classify_many(Path("photos").glob("*.jpg")):
        print(result.source, result.error or result.label)
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import grpc

from serving.calls import ErrorMode, Prediction, Score, Security, not_ready
from serving.connection import Connection
from serving.errors import (
    BadImage,
    DeadlineExceeded,
    ModelNotFound,
    PermissionDenied,
    ServerUnavailable,
    ServingError,
)
from serving.images import ImageInput, source_name
from serving.requests import Batch, batches, prepare

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


class Classifier(Connection):
    """A blocking connection to one model of one server, for any number of threads; see `Connection`."""

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

    def served_versions(self) -> tuple[int, ...]:
        """The versions that can be asked now: of the model, or those that this connection's label means."""
        try:
            response = self._status(
                self.target.status_request(), timeout=self.timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise self._error(error, self.timeout) from None
        return self.target.available(response)

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
                if self.target.available(response):
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

    def _ask(self, encoded: list[bytes], sources: list[str], timeout: float) -> list[Prediction]:
        """One request with its retries."""
        request = self.target.predict_request(encoded)
        end = time.monotonic() + timeout
        attempt = 0
        while True:
            try:
                left = max(end - time.monotonic(), 0.001)
                response = self._predict(request, timeout=left, metadata=self._metadata)
                return self._read(response, sources)
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
            answers = self._read(sent.call.result(), sent.batch.sources())
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

    def _read(self, response: Any, sources: Sequence[str]) -> list[Prediction]:
        version = response.model_spec.version.value
        if self._lacks_names(version):
            try:
                request = self.target.names_request(version)
                answer = self._predict(request, timeout=self.timeout, metadata=self._metadata)
            except grpc.RpcError as error:
                answer = error
            self._keep_names(version, answer)
        return self._predictions(response, sources)


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
