"""The asynchronous twin of `serving.client`, for programs that run an event loop.

async with AsyncClassifier("localhost:8500", model="flowers") as classifier:
    async for result in classifier.classify_many(paths):
        print(result.source, result.error or result.label)
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from typing import Any

import grpc
import grpc.aio

from serving import protos
from serving.calls import (
    GET_MODEL_STATUS,
    PREDICT,
    Backoff,
    ErrorMode,
    Prediction,
    Security,
    Target,
    channel_options,
    not_ready,
)
from serving.errors import BadImage, DeadlineExceeded, ModelNotFound, ServerUnavailable, ServingError
from serving.images import MAX_PIXELS, WHITE, Colour, ImageInput, source_name
from serving.requests import Batch, Bounds, batches, prepare


class AsyncClassifier:
    """A connection to one model of one server, for one event loop.

    The arguments and the errors are those of `serving.client.Classifier`. Images are read and, where need be,
    decoded in a thread, so that the loop stays free.
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

    async def __aenter__(self) -> "AsyncClassifier":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._channel.close()

    async def classify(self, image: ImageInput, *, timeout: float | None = None) -> Prediction:
        """The model's answer for one image; see `Classifier.classify`."""
        source = source_name(image, "<image>")
        item = await asyncio.to_thread(prepare, image, source, self._bounds(1))
        if isinstance(item, BadImage):
            raise item
        return (await self._ask([item], [source], self.timeout if timeout is None else timeout))[0]

    async def classify_many(
        self,
        images: Iterable[ImageInput],
        *,
        batch_size: int = 32,
        in_flight: int = 2,
        errors: ErrorMode = "return",
        progress: Callable[[int], None] | None = None,
    ) -> AsyncIterator[Prediction | BadImage]:
        """Answers for any number of images, in their order; see `Classifier.classify_many`."""
        if in_flight < 1:
            raise ValueError(f"in_flight is at least 1. Received: {in_flight}")
        source = batches(images, self._bounds(batch_size))
        pending: deque[asyncio.Task[list[Prediction | BadImage]]] = deque()
        done = 0
        exhausted = False
        try:
            while pending or not exhausted:
                while not exhausted and len(pending) < in_flight:
                    batch = await asyncio.to_thread(next, source, None)
                    if batch is None:
                        exhausted = True
                    else:
                        pending.append(asyncio.create_task(self._answer(batch)))
                if not pending:
                    break
                results = await pending.popleft()
                for result in results:
                    if errors == "raise" and isinstance(result, BadImage):
                        raise result
                    yield result
                done += len(results)
                if progress:
                    progress(done)
        finally:
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)

    async def wait_until_ready(self, timeout: float = 60.0) -> None:
        """Returns as soon as the server serves the model; see `Classifier.wait_until_ready`."""
        end = time.monotonic() + timeout
        attempt = 0
        while True:
            left = max(end - time.monotonic(), 0.05)
            try:
                response = await self._status(
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
            await asyncio.sleep(pause)

    def _bounds(self, batch_size: int) -> Bounds:
        return Bounds(batch_size, self.max_request_bytes, self.max_pixels, self.background)

    async def _ask(self, encoded: list[bytes], sources: list[str], timeout: float) -> list[Prediction]:
        """One request with its retries."""
        request = self.target.predict_request(encoded)
        end = time.monotonic() + timeout
        attempt = 0
        while True:
            try:
                left = max(end - time.monotonic(), 0.001)
                response = await self._predict(request, timeout=left, metadata=self._metadata)
                return self.target.predictions(response, sources)
            except grpc.RpcError as error:
                failure = self._error(error, timeout, sources[0] if len(sources) == 1 else None)
            pause = self._backoff.seconds(attempt)
            if (
                not isinstance(failure, ServerUnavailable)
                or attempt >= self.retries
                or time.monotonic() + pause >= end
            ):
                raise failure from None
            attempt += 1
            await asyncio.sleep(pause)

    async def _answer(self, batch: Batch) -> list[Prediction | BadImage]:
        encoded, sources = batch.encoded(), batch.sources()
        return batch.merge(await self._search(encoded, sources) if encoded else [])

    async def _search(self, encoded: list[bytes], sources: list[str]) -> list[Prediction | BadImage]:
        """Asks for a batch, halving it wherever an image spoils the answer of the others."""
        try:
            return list(await self._ask(encoded, sources, self.timeout))
        except BadImage as error:
            return [error]
        except ServingError as error:
            if len(encoded) == 1 or not error.about_images:
                raise
        middle = len(encoded) // 2
        return [
            *await self._search(encoded[:middle], sources[:middle]),
            *await self._search(encoded[middle:], sources[middle:]),
        ]

    def _error(self, error: grpc.RpcError, timeout: float, source: str | None = None) -> ServingError:
        return self.target.error(error.code(), error.details(), timeout, source)


def _open(address: str, security: Security, extra: Mapping[str, Any] | None) -> grpc.aio.Channel:
    credentials = security.credentials()
    options = channel_options(extra)
    if credentials is None:
        return grpc.aio.insecure_channel(address, options=options)
    return grpc.aio.secure_channel(address, credentials, options=options)
