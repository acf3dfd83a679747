"""What was asked of running jobs and has not happened yet."""

from collections.abc import Callable
from dataclasses import dataclass

from engine.jobs.job import Changed, Event, Paused


@dataclass
class _Wish:
    pause: bool = False
    learning_rate: float | None = None
    snapshot: bool = False

    @property
    def changes(self) -> bool:
        return self.pause or self.learning_rate is not None


class Wishes:
    """Those who change it hold the registry's lock; those who read it need not."""

    def __init__(self, settled: Callable[[str], None]) -> None:
        """`settled` hears the id of a job when something that was asked of it has happened, or cannot any more."""
        self._settled = settled
        self._wishes: dict[str, _Wish] = {}

    def asks_for_change(self, job_id: str) -> bool:
        """Whether it was to be paused, or to go on with another learning rate."""
        return self._wish(job_id).changes

    def pause(self, job_id: str) -> None:
        self._wishes.setdefault(job_id, _Wish()).pause = True

    def take_back_pause(self, job_id: str) -> bool:
        """Whether there was one to take back."""
        if not self.asks_to_pause(job_id):
            return False
        self._wishes[job_id].pause = False
        self._settle(job_id)
        return True

    def asks_to_pause(self, job_id: str) -> bool:
        return self._wish(job_id).pause

    def change_rate(self, job_id: str, learning_rate: float) -> None:
        self._wishes.setdefault(job_id, _Wish()).learning_rate = learning_rate

    def rate_changed(self, job_id: str, learning_rate: float) -> None:
        """The job's worker has taken it up. Another may have been asked for since."""
        wish = self._wishes.get(job_id)
        if wish is not None and wish.learning_rate == learning_rate:
            wish.learning_rate = None
            self._settle(job_id)

    def take_snapshot(self, job_id: str) -> None:
        self._wishes.setdefault(job_id, _Wish()).snapshot = True

    def asks_for_snapshot(self, job_id: str) -> bool:
        return self._wish(job_id).snapshot

    def snapshot_arrived(self, job_id: str) -> None:
        if self.asks_for_snapshot(job_id):
            self._wishes[job_id].snapshot = False
            self._settle(job_id)

    def _wish(self, job_id: str) -> _Wish:
        return self._wishes.get(job_id, _Wish())

    def _settle(self, job_id: str) -> None:
        if self._wishes[job_id] == _Wish():
            del self._wishes[job_id]
        self._settled(job_id)

    def left_to_do(self, job_id: str) -> tuple[Event, ...]:
        """What makes a job that no worker has any more into what was asked for."""
        wish = self._wish(job_id)
        paused = (Paused(),) if wish.pause else ()
        return (*paused, *(() if wish.learning_rate is None else (Changed(learning_rate=wish.learning_rate),)))

    def forget(self, job_id: str) -> None:
        """All of it has happened, or cannot any more."""
        if self._wishes.pop(job_id, None) is not None:
            self._settled(job_id)
