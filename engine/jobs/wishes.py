"""What was asked of running jobs and has not happened yet."""

from collections.abc import Callable
from dataclasses import dataclass

from engine.jobs.job import Changed, Event, Paused


@dataclass
class _Wish:
    pause: bool = False
    learning_rate: float | None = None

    @property
    def is_left(self) -> bool:
        return self.pause or self.learning_rate is not None


class Wishes:
    """Those who change it hold the registry's lock."""

    def __init__(self, settled: Callable[[str], None]) -> None:
        """`settled` hears the id of a job of which nothing is left to wish."""
        self._settled = settled
        self._wishes: dict[str, _Wish] = {}

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._wishes

    def pause(self, job_id: str) -> None:
        self._wishes.setdefault(job_id, _Wish()).pause = True

    def take_back_pause(self, job_id: str) -> bool:
        """Whether there was one to take back."""
        if not self.asks_to_pause(job_id):
            return False
        self._wishes[job_id].pause = False
        self._forget_if_done(job_id)
        return True

    def asks_to_pause(self, job_id: str) -> bool:
        return job_id in self._wishes and self._wishes[job_id].pause

    def change_rate(self, job_id: str, learning_rate: float) -> None:
        self._wishes.setdefault(job_id, _Wish()).learning_rate = learning_rate

    def rate_changed(self, job_id: str, learning_rate: float) -> None:
        """The job's worker has taken it up. Another may have been asked for since."""
        wish = self._wishes.get(job_id)
        if wish is not None and wish.learning_rate == learning_rate:
            wish.learning_rate = None
            self._forget_if_done(job_id)

    def _forget_if_done(self, job_id: str) -> None:
        if not self._wishes[job_id].is_left:
            self.forget(job_id)

    def left_to_do(self, job_id: str) -> tuple[Event, ...]:
        """What makes a job that no worker has any more into what was asked for."""
        wish = self._wishes.get(job_id, _Wish())
        paused = (Paused(),) if wish.pause else ()
        return (*paused, *(() if wish.learning_rate is None else (Changed(learning_rate=wish.learning_rate),)))

    def forget(self, job_id: str) -> None:
        """All of it has happened, or cannot any more."""
        if self._wishes.pop(job_id, None) is not None:
            self._settled(job_id)
