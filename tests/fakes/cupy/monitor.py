"""For tests: counts operations on the device, and forbids the host to block in chosen sections."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Literal


class Misuse(AssertionError):
    """An operation that a GPU would accept, at the cost of speed or correct results."""


@dataclass
class Counters:
    """Numbers of operations.

    Attributes:
        synchronizations: How often the host waited for the device.
        host_round_trips: Copies in either direction that the host waited for, and all copies to the host.
        products: Matrix products by cuBLAS.
    """

    allocations: int = 0
    frees: int = 0
    synchronizations: int = 0
    host_round_trips: int = 0
    launches: int = 0
    products: int = 0


BlockingOperation = Literal["allocations", "frees", "synchronizations", "host_round_trips"]


@dataclass
class _NonBlockingSection:
    """A section in which blocking operations are forbidden.

    `deferred` are violations that could not be raised on the spot: Python ignores exceptions of finalizers.
    """

    allows_events: bool
    deferred: list[str] = field(default_factory=list)


counters = Counters()
_sections: list[_NonBlockingSection] = []


def count(operation: BlockingOperation, description: str, *, is_event: bool = False, can_raise: bool = True) -> None:
    """Count an operation. Raises Misuse in a section that forbids it, or defers that to the section's end."""
    setattr(counters, operation, getattr(counters, operation) + 1)
    if _sections and not (is_event and _sections[-1].allows_events):
        violation = f"{description} in a non-blocking section."
        if can_raise:
            raise Misuse(violation)
        _sections[-1].deferred.append(violation)


@contextmanager
def count_operations() -> Iterator[Counters]:
    """Yield counters of the operations in the block, which are set at its end."""
    before, difference = Counters(**vars(counters)), Counters()
    try:
        yield difference
    finally:
        for counter in fields(Counters):
            setattr(difference, counter.name, getattr(counters, counter.name) - getattr(before, counter.name))


@contextmanager
def forbid_blocking(*, allow_events: bool = False) -> Iterator[None]:
    """Forbid allocations, frees, synchronization and blocking copies in the block, in all threads.

    Raises Misuse on the spot; for a free, at the end of the block. With `allow_events`, the host may wait for events.
    """
    section = _NonBlockingSection(allow_events)
    _sections.append(section)
    try:
        yield
    finally:
        _sections.remove(section)
    if section.deferred:
        raise Misuse(" ".join(section.deferred))
