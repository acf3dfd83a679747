"""What was asked of the device, for tests: counts, and epochs in which what stops a GPU is refused."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Literal


class Refused(AssertionError):
    """What a GPU would let pass, to the harm of speed or results."""


@dataclass
class Counters:
    allocations: int = 0
    frees: int = 0
    # Where the host waited for the device.
    synchronizations: int = 0
    # Copies between the host and the device that the host waited for, either way, and every copy to the host.
    host_round_trips: int = 0
    launches: int = 0
    products: int = 0


What = Literal["allocations", "frees", "synchronizations", "host_round_trips"]


@dataclass
class _Epoch:
    events: bool
    # What could not be raised where it happened: Python drops an array where no caller listens.
    unheard: list[str] = field(default_factory=list)


counters = Counters()
_epochs: list[_Epoch] = []


def count(what: What, sentence: str, of_an_event: bool = False, heard: bool = True) -> None:
    """Counts, and inside an epoch refuses."""
    setattr(counters, what, getattr(counters, what) + 1)
    if _epochs and not (of_an_event and _epochs[-1].events):
        refusal = f"{sentence} inside an epoch."
        if heard:
            raise Refused(refusal)
        _epochs[-1].unheard.append(refusal)


@contextmanager
def counting() -> Iterator[Counters]:
    """What is counted from here on; complete once the block is left."""
    before, counted = Counters(**vars(counters)), Counters()
    try:
        yield counted
    finally:
        for one in fields(Counters):
            setattr(counted, one.name, getattr(counters, one.name) - getattr(before, one.name))


@contextmanager
def inside_an_epoch(events: bool = False) -> Iterator[None]:
    """No allocation, no free, no waiting and no copy that waits, in any thread; with `events`, events may be waited on.

    Raises at once, but for a free, which is raised where the block is left.
    """
    epoch = _Epoch(events)
    _epochs.append(epoch)
    try:
        yield
    finally:
        _epochs.remove(epoch)
    if epoch.unheard:
        raise Refused(" ".join(epoch.unheard))
