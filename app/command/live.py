"""A job as it trains: a live view on a terminal, lines now and then elsewhere."""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from app.client import Job
from app.client.curve import sparkline
from app.command.showing import console
from app.schemas.histories import EpochView

# Epochs whose pace is taken for that of those to come.
_RECENT = 50
_LINES_IN_ALL = 10


class Seen(Protocol):
    def see(self, epoch: EpochView | None) -> None:
        """An epoch has ended; or the job has changed its state."""


@contextmanager
def shown(job: Job) -> Iterator[Seen]:
    """On stderr: stdout is for what comes of it."""
    to = console(stderr=True)
    if not to.is_terminal:
        yield Lines(job, to)
        return
    view = View(job)
    with Live(get_renderable=view.rendered, console=to, refresh_per_second=8):
        yield view


class View:
    """State, progress, cost, pace and time left, over a curve of the cost."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._last: EpochView | None = None
        self._seconds: deque[float] = deque(maxlen=_RECENT)

    def see(self, epoch: EpochView | None) -> None:
        if epoch is not None:
            self._last = epoch
            self._seconds.append(epoch.seconds)

    def rendered(self) -> Group:
        job, last = self._job, self._last
        done = last.epoch if last else job.epoch
        row = Table.grid(padding=(0, 2))
        row.add_row(
            Text(job.state, style={"succeeded": "green", "failed": "red"}.get(job.state, "bold")),
            ProgressBar(job.view.epochs, done, width=24),
            f"{done}/{job.view.epochs} epochs",
            *self._figures(done),
        )
        costs = [point.cost for point in job.curve.points]
        return Group(row, Text(sparkline(costs, 60), style="cyan"))

    def _figures(self, done: int) -> list[str]:
        last, found = self._last, []
        if last is not None:
            found.append(f"cost {last.cost:.4g}")
            if last.validation_cost is not None:
                found.append(f"validation {last.validation_cost:.4g}")
            if last.rows_per_second is not None:
                found.append(f"{last.rows_per_second:,.0f} rows/s")
        if self._seconds and not self._job.has_ended:
            found.append(f"ETA {clock((self._job.view.epochs - done) * sum(self._seconds) / len(self._seconds))}")
        return found


class Lines:
    """Each state, and some epochs."""

    def __init__(self, job: Job, to: Console) -> None:
        self._job = job
        self._to = to
        self._next = 1

    def see(self, epoch: EpochView | None) -> None:
        job = self._job
        if epoch is None:
            self._to.print(f"{job.id} is {job.state}")
        elif epoch.epoch >= self._next:
            self._next = epoch.epoch + max(1, job.view.epochs // _LINES_IN_ALL)
            measured = "" if epoch.validation_cost is None else f", validation cost {epoch.validation_cost:.4g}"
            self._to.print(f"epoch {epoch.epoch} of {job.view.epochs}: cost {epoch.cost:.4g}{measured}")


def clock(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"
