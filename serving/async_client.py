"""The asynchronous twin of `serving.client`, for programs that run an event loop.

async with AsyncClassifier("localhost:8500", model="flowers") as classifier:
    async for result in classifier.classify_many(paths):
        print(result.source, result.error or result.label)
"""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

import grpc
import grpc.aio

from serving.calls import ErrorMode, Prediction, not_ready
from serving.connection import Connection
from serving.errors import BadImage, DeadlineExceeded, ModelNotFound, ServerUnavailable, ServingError
from serving.images import ImageInput, source_name
from serving.requests import Batch, batches, prepare


class AsyncClassifier(Connection):
    """A connection to one model of one server, for one event loop; see `Connection`.

    The errors are those of `serving.client.Classifier`. Images are read and, where need be, decoded in a
    thread, so that the loop stays free.
    """

    _channels = grpc.aio

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

    async def served_versions(self) -> tuple[int, ...]:
        """The versions that can be asked now: of the model, or those that this connection's label means."""
        try:
            response = await self._status(
                self.target.status_request(), timeout=self.timeout, metadata=self._metadata
            )
        except grpc.RpcError as error:
            raise self._error(error, self.timeout) from None
        return self.target.available(response)

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
            await asyncio.sleep(pause)

    async def _ask(self, encoded: list[bytes], sources: list[str], timeout: float) -> list[Prediction]:
        """One request with its retries."""
        request = self.target.predict_request(encoded)
        end = time.monotonic() + timeout
        attempt = 0
        while True:
            try:
                left = max(end - time.monotonic(), 0.001)
                response = await self._predict(request, timeout=left, metadata=self._metadata)
                return await self._read(response, sources)
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

    async def _read(self, response: Any, sources: Sequence[str]) -> list[Prediction]:
        version = response.model_spec.version.value
        if self._lacks_names(version):
            try:
                request = self.target.names_request(version)
                answer = await self._predict(request, timeout=self.timeout, metadata=self._metadata)
            except grpc.RpcError as error:
                answer = error
            self._keep_names(version, answer)
        return self._predictions(response, sources)
