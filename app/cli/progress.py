"""A job as it trains: a live view on a terminal, lines now and then elsewhere."""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

import plotille
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nabla.app.cli.options import INTERRUPTED
from nabla.app.cli.output import console, note
from nabla.app.client import Job, JobFailed
from nabla.app.client.history import sparkline
from nabla.app.schemas.jobs import EpochView

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


def follow(job: Job, *, local: bool) -> None:
    """Until it has succeeded. Raises JobFailed if it has not; Exit if it was interrupted."""
    try:
        with shown(job) as seen:
            for event in job.follow():
                seen.see(event if isinstance(event, EpochView) else None)
    except KeyboardInterrupt:
        _interrupted(job, local)
        raise typer.Exit(INTERRUPTED) from None
    if job.state != "succeeded":
        raise JobFailed(job.view)


def _interrupted(job: Job, local: bool) -> None:
    """On a terminal the job may be cancelled; else nobody has said that it should be."""
    if sys.stdin.isatty() and sys.stderr.isatty() and _wants_to_cancel():
        note(f"{job.id} is {job.cancel().state}.")
    elif local:
        note(
            f"{job.id} is not finished. It goes on when there is a service on this folder again: "
            f"nabla watch {job.id} --local"
        )
    else:
        note(f"{job.id} goes on. See it with: nabla watch {job.id}")


def _wants_to_cancel() -> bool:
    """Whoever interrupts the question leaves it running."""
    try:
        print("\nCancel the job, or leave it running? [c/L] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("c", "cancel")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False


_WIDTH, _HEIGHT = 60, 12


def plot(history: Sequence[EpochView], *, colours: bool) -> str:
    """Cost by epoch, and the validation cost where there is one: in another colour, or of crosses."""
    figure = plotille.Figure()
    figure.width, figure.height = _WIDTH, _HEIGHT
    figure.x_label, figure.y_label = "epoch", "cost"
    figure.set_x_limits(min_=0, max_=history[-1].epoch)
    figure.set_y_limits(min_=0)
    figure.color_mode = "names"
    figure.with_colors = colours
    figure.x_ticks_fkt = lambda value, _: f"{value:.0f}"
    figure.y_ticks_fkt = lambda value, _: f"{value:.3f}"
    figure.plot([epoch.epoch for epoch in history], [epoch.cost for epoch in history], lc="blue", label="cost")
    measured = [(epoch.epoch, epoch.validation_cost) for epoch in history if epoch.validation_cost is not None]
    if measured:
        epochs, costs = zip(*measured, strict=True)
        figure.plot(epochs, costs, lc="red", label="validation cost", marker=None if colours else "x")
    return str(figure.show(legend=bool(measured)))
