"""Pipelined stages keep the order, and end with their consumer."""

import threading
import time
from collections.abc import Iterator

import pytest

from nabla.engine.data.ingest.prefetch import map_ordered, prefetch


@pytest.fixture(autouse=True)
def _no_threads_left() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def _delayed(item: int) -> int:
    """Take longest for the first of every three items."""
    time.sleep((2 - item % 3) * 0.002)
    return item


def test_results_keep_the_order_of_the_items() -> None:
    assert list(map_ordered(_delayed, iter(range(30)), 3)) == list(range(30))


def test_several_threads_run_at_once() -> None:
    barrier = threading.Barrier(2, timeout=10)
    assert len(list(map_ordered(lambda _: barrier.wait(), iter(range(4)), 2))) == 4


def test_error_of_the_first_failed_item_is_raised() -> None:
    failed = threading.Event()

    def fail(item: int) -> int:
        if item == 1:
            failed.wait(10)  # until the item after it has failed
            raise ValueError("1")
        if item == 2:
            failed.set()
            raise ValueError("2")
        return item

    results = map_ordered(fail, iter(range(3)), 2)
    assert next(results) == 0
    with pytest.raises(ValueError, match="1"):
        next(results)


def test_results_before_an_error_of_the_iterator_are_yielded() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more")

    results = map_ordered(_delayed, items(), 2)
    assert [next(results), next(results), next(results)] == [0, 1, 2]
    with pytest.raises(OSError, match="no more"):
        next(results)


def test_read_ahead_is_bounded() -> None:
    started: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            started.append(item)
            yield item

    results = map_ordered(_delayed, items(), 2)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(started) < 6
    results.close()


def test_closed_before_the_end() -> None:
    for results in (prefetch(iter(range(100))), map_ordered(_delayed, iter(range(100)), 2)):
        assert next(results) == 0
        results.close()
