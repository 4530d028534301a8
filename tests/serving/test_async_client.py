"""The asynchronous client gives the answers and the errors of the blocking one."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from serving.async_client import AsyncClassifier
from serving.client import BadImage, Classifier, ModelNotFound, ServerUnavailable
from serving.local import LocalServer
from tests.serving.samples import COLOURS, MODEL, colour, encoded
from tests.serving.tiny_model import CLASSES


def run(server: LocalServer, use: Callable[[AsyncClassifier], Awaitable], **options: object):
    async def main():
        async with AsyncClassifier(server.address, MODEL, **options) as classifier:
            return await use(classifier)

    return asyncio.run(main())


def test_the_same_answers(server: LocalServer, classifier: Classifier):
    async def use(twin: AsyncClassifier):
        await twin.wait_until_ready(10)
        return await asyncio.gather(*(twin.classify(pixels) for pixels in COLOURS.values()))

    assert run(server, use) == [classifier.classify(pixels) for pixels in COLOURS.values()]


def test_many_keeps_the_order_and_each_image_its_error(server: LocalServer):
    damaged = encoded(colour(10, 250, 10, 64), "JPEG")[:-20]
    items = [COLOURS[CLASSES[n % 3]] for n in range(40)]
    items[5], items[17] = damaged, b"text"
    seen: list[int] = []

    async def use(twin: AsyncClassifier):
        return [result async for result in twin.classify_many(items, batch_size=8, progress=seen.append)]

    results = run(server, use)
    assert [n for n, result in enumerate(results) if result.error] == [5, 17]
    assert all(r.label == CLASSES[n % 3] for n, r in enumerate(results) if not r.error)
    assert seen == [8, 16, 24, 32, 40]


def test_errors_are_raised_on_demand(server: LocalServer):
    async def use(twin: AsyncClassifier):
        return [result async for result in twin.classify_many([b"text"], errors="raise")]

    with pytest.raises(BadImage):
        run(server, use)
    with pytest.raises(ModelNotFound, match="version 3"):
        run(server, lambda twin: twin.classify(COLOURS["red"]), version=3)


def test_nobody_there():
    async def main():
        async with AsyncClassifier("127.0.0.1:1", MODEL, retries=1) as twin:
            with pytest.raises(ServerUnavailable, match=r"127\.0\.0\.1:1"):
                await twin.classify(COLOURS["red"])
            with pytest.raises(ServerUnavailable):
                await twin.wait_until_ready(0.2)

    asyncio.run(main())
