"""Greedy batching: what is joined, what is kept apart, and what happens to those that wait."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest

from serving.batching import BatchLimits, Call, GreedyBatcher
from serving.status import StatusCode, StatusError


class Model:
    """Doubles its rows; the first run waits until it is let go, so that others queue up behind it."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.started, self.go = threading.Event(), threading.Event()

    def __call__(self, inputs: list[np.ndarray]) -> list[np.ndarray]:
        self.sizes.append(len(inputs[0]))
        if len(self.sizes) == 1:
            self.started.set()
            assert self.go.wait(10)
        if (inputs[0] < 0).any():
            raise StatusError(StatusCode.INVALID_ARGUMENT, "a bad row")
        return [inputs[0] * 2]


class Crowd:
    """Requests from threads of their own, the first of them inside the model."""

    def __init__(self, **limits: object):
        self.model = Model()
        self.batcher = GreedyBatcher(self.model, BatchLimits(max_parallel=1, **limits))
        self.pool = ThreadPoolExecutor(20)
        self.first = self.ask(1)
        assert self.model.started.wait(10)

    def ask(self, *rows: int, call: Call | None = None, dtype: type = np.int64) -> Future:
        return self.pool.submit(lambda: self.batcher([np.array(rows, dtype)], call or Call())[0].tolist())

    def queued(self, count: int) -> None:
        until(lambda: len(self.batcher._queue) == count)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


@pytest.fixture
def crowd():
    made: list[Crowd] = []

    def make(**limits: object) -> Crowd:
        made.append(Crowd(**limits))
        return made[-1]

    yield make
    for each in made:
        each.model.go.set()
        each.pool.shutdown()


def test_those_that_wait_run_together(crowd):
    group = crowd()
    waiting = [group.ask(n, n + 1) for n in range(5)]
    group.queued(5)
    group.model.go.set()
    assert group.first.result(10) == [2]
    assert [each.result(10) for each in waiting] == [[2 * n, 2 * n + 2] for n in range(5)]
    assert group.model.sizes == [1, 10]


def test_a_batch_keeps_its_bound_and_its_kind(crowd):
    group = crowd(max_batch_size=4)
    waiting = [group.ask(n, n) for n in range(4)]
    group.queued(4)
    other = group.ask(7, dtype=np.float32)
    group.queued(5)
    group.model.go.set()
    assert [each.result(10) for each in waiting] == [[2 * n, 2 * n] for n in range(4)]
    assert other.result(10) == [14.0]
    assert sorted(group.model.sizes) == [1, 1, 4, 4]


def test_a_bad_request_does_not_cost_the_others(crowd):
    group = crowd()
    good, bad, also_good = group.ask(1), group.ask(-1), group.ask(3)
    group.queued(3)
    group.model.go.set()
    assert (good.result(10), also_good.result(10)) == ([2], [6])
    with pytest.raises(StatusError, match="a bad row"):
        bad.result(10)


def test_a_full_queue_refuses(crowd):
    group = crowd(max_queue=2)
    waiting = [group.ask(1), group.ask(2)]
    group.queued(2)
    with pytest.raises(StatusError, match="queue to which this task was submitted is full") as caught:
        group.ask(3).result(10)
    assert caught.value.code is StatusCode.UNAVAILABLE
    group.model.go.set()
    assert [each.result(10) for each in waiting] == [[2], [4]]


def test_who_goes_away_frees_his_place_and_is_not_run(crowd):
    group = crowd()
    call = Call()
    gone, stays = group.ask(1, call=call), group.ask(2)
    group.queued(2)
    call.cancel()
    with pytest.raises(StatusError) as caught:
        gone.result(10)
    assert caught.value.code is StatusCode.CANCELLED
    group.queued(1)
    group.model.go.set()
    assert stays.result(10) == [4]
    assert group.model.sizes == [1, 1]


def test_a_deadline_ends_the_wait(crowd):
    group = crowd()
    late = group.ask(1, call=Call(time.monotonic() + 0.05))
    with pytest.raises(StatusError) as caught:
        late.result(10)
    assert caught.value.code is StatusCode.DEADLINE_EXCEEDED
    group.model.go.set()
    assert group.first.result(10) == [2]
    assert group.model.sizes == [1]


def test_batches_are_filled_up_to_the_allowed_sizes(crowd):
    group = crowd(max_batch_size=8, allowed_sizes=(2, 8))
    waiting = [group.ask(n) for n in range(3)]
    group.queued(3)
    group.model.go.set()
    assert group.first.result(10) == [2]
    assert [each.result(10) for each in waiting] == [[0], [2], [4]]
    assert group.model.sizes == [2, 8]


def test_several_batches_may_run_at_once():
    both_inside = threading.Barrier(2, timeout=10)

    def run(inputs: list[np.ndarray]) -> list[np.ndarray]:
        both_inside.wait()
        return inputs

    batcher = GreedyBatcher(run, BatchLimits(max_parallel=2))
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda n: batcher([np.array([n])], Call())[0].tolist(), [1, 2]))
    assert results == [[1], [2]]
