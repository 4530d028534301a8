"""Requests while versions are swapped under them: not one may fail."""

import itertools
import shutil
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from serving.client import Classifier
from serving.local import LocalServer
from tests.serving.samples import COLOURS, MODEL, encoded

REQUESTS = 10_000
CLIENTS = 8


@pytest.mark.timeout(900)  # half a minute on a machine of its own
def test_ten_thousand_requests_while_versions_are_swapped(
    saved_model: Path, other_model: Path, tmp_path: Path, push: Callable[[Path, Path], None]
):
    """Versions are copied as Pusher does, `saved_model.pb` last, each as soon as the one before has gone."""
    shutil.copytree(saved_model, tmp_path / "1")
    image = encoded(COLOURS["green"])
    sent, done = itertools.count(), threading.Event()
    answers: Counter[tuple[int, str]] = Counter()

    def ask() -> Counter[tuple[int, str]]:
        seen: Counter[tuple[int, str]] = Counter()
        # No retries: a refused request would count as a failure.
        with Classifier(server.address, MODEL, retries=0) as classifier:
            while next(sent) < REQUESTS:
                answer = classifier.classify(image)
                seen[answer.model_version, answer.label] += 1
        return seen

    def swap() -> int:
        for number in itertools.count(2):
            if done.is_set():
                return number
            push(other_model if number % 2 == 0 else saved_model, tmp_path / str(number))
            server.wait_for("unloaded", version=number - 1)
        return 0

    flags = ["--file_system_poll_wait_seconds=0.05"]
    with LocalServer(tmp_path, MODEL, flags=flags) as server, ThreadPoolExecutor(CLIENTS + 1) as pool:
        swapping = pool.submit(swap)
        try:
            for asking in [pool.submit(ask) for _ in range(CLIENTS)]:
                answers += asking.result()
        finally:
            done.set()
        swaps = swapping.result()
    assert answers.total() == REQUESTS
    assert swaps >= 5
    for version, label in answers:
        assert label == ("green" if version % 2 else "lime")
    assert len(answers) >= 4  # several versions answered
