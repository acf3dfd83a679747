"""Stages of reading beside each other: in order, and gone when nobody wants what they make."""

import threading
import time
from collections.abc import Iterator

import pytest

from nabla.engine.data.ingest.prefetch import abreast, ahead


@pytest.fixture(autouse=True)
def _leaves_no_thread() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def _late(item: int) -> int:
    """The first of every three takes longest."""
    time.sleep((2 - item % 3) * 0.002)
    return item


def test_the_order_stays() -> None:
    assert list(abreast(_late, iter(range(30)), 3)) == list(range(30))


def test_several_threads_work_at_once() -> None:
    together = threading.Barrier(2, timeout=10)
    assert len(list(abreast(lambda _: together.wait(), iter(range(4)), 2))) == 4


def test_of_several_failures_the_first_item_counts() -> None:
    failed = threading.Event()

    def work(item: int) -> int:
        if item == 1:
            failed.wait(10)  # the item after it fails before
            raise ValueError("1")
        if item == 2:
            failed.set()
            raise ValueError("2")
        return item

    made = abreast(work, iter(range(3)), 2)
    assert next(made) == 0
    with pytest.raises(ValueError, match="1"):
        next(made)


def test_what_was_made_before_the_items_failed_is_there() -> None:
    def items() -> Iterator[int]:
        yield from range(3)
        raise OSError("no more")

    made = abreast(_late, items(), 2)
    assert [next(made), next(made), next(made)] == [0, 1, 2]
    with pytest.raises(OSError, match="no more"):
        next(made)


def test_no_more_is_begun_than_is_wanted() -> None:
    begun: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            begun.append(item)
            yield item

    made = abreast(_late, items(), 2)
    assert next(made) == 0
    time.sleep(0.05)
    assert len(begun) < 6
    made.close()


def test_given_up_in_the_middle() -> None:
    for made in (ahead(iter(range(100))), abreast(_late, iter(range(100)), 2)):
        assert next(made) == 0
        made.close()
