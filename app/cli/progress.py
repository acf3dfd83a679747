"""Cost charts for terminals, and the progress of a job: a live display on terminals, occasional lines elsewhere."""

import copy
import math
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from statistics import fmean
from typing import Protocol, TypeVar

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from nabla.app.cli.options import EXIT_INTERRUPTED
from nabla.app.cli.output import console, log
from nabla.app.client import Job, JobFailed
from nabla.app.client.history import CostScale
from nabla.app.schemas.jobs import EpochView

_BLOCKS = " ▁▂▃▄▅▆▇█"
_CROSS = "×"
_COST_STYLE, _VALIDATION_STYLE = "cyan", "red"
_CHART_WIDTH, _CHART_HEIGHT = 60, 12
_SPARKLINE_WIDTH = 60
_STATE_STYLES = {"succeeded": "green", "failed": "red"}
# Recent epochs from which the remaining time is estimated.
_PACE_EPOCHS = 50
_MAX_EPOCH_LINES = 10

T = TypeVar("T")


def sparkline(costs: Sequence[float], width: int) -> str:
    """Return costs as one line of bars, on a logarithmic scale if they span more than a factor of 20.

    Args:
        costs: The costs in the order of the epochs; NaN and infinite ones are left out.
        width: Maximum number of bars. With more costs, a bar is the mean of neighbouring ones.
    """
    finite = [cost for cost in costs if math.isfinite(cost)]
    if not finite:
        return ""
    means = [fmean(group) for group in _group(finite, width)]
    return "".join(_bars(means, CostScale(means), height=1)[0])


def cost_chart(epochs: Sequence[EpochView]) -> Text:
    """Return a chart of the cost by epoch, with axes.

    Bars show the cost, and crosses the validation cost if there is one. The scale is logarithmic if the costs span more
    than a factor of 20.

    Args:
        epochs: The epochs to draw, at least one.
    """
    groups = _group(epochs, _CHART_WIDTH)
    # Few epochs get bars of several columns.
    columns = [group for group in groups for _ in range(_CHART_WIDTH // len(groups))]
    costs = [fmean(epoch.cost for epoch in column) for column in columns]
    validation_costs = [
        [epoch.validation_cost for epoch in column if epoch.validation_cost is not None] for column in columns
    ]
    crosses = {position: fmean(costs) for position, costs in enumerate(validation_costs) if costs}
    scale = CostScale([*costs, *crosses.values()])
    chart = _bars(costs, scale, _CHART_HEIGHT)
    for position, cost in crosses.items():
        line = _CHART_HEIGHT - 1 - _eighths(cost, scale, _CHART_HEIGHT) // 8
        chart[line][position] = _CROSS
    return _add_axes(chart, scale, epochs[0].epoch, epochs[-1].epoch, has_validation=bool(crosses))


def _group(values: Sequence[T], count: int) -> list[Sequence[T]]:
    """Split values into at most `count` groups of neighbours."""
    count = min(count, len(values))
    return [values[index * len(values) // count : (index + 1) * len(values) // count] for index in range(count)]


def _eighths(cost: float, scale: CostScale, height: int) -> int:
    """Return the height of a cost in eighths of a line, from 0 for the lowest cost."""
    return int(scale.height(cost) * (8 * height - 1))


def _bars(costs: Sequence[float], scale: CostScale, height: int) -> list[list[str]]:
    """Return the lines of a bar chart from top to bottom, each as a list of characters."""
    heights = [_eighths(cost, scale, height) + 1 for cost in costs]
    return [[_BLOCKS[min(max(eighths - 8 * line, 0), 8)] for eighths in heights] for line in reversed(range(height))]


def _add_axes(
    chart: list[list[str]], scale: CostScale, first_epoch: int, last_epoch: int, *, has_validation: bool
) -> Text:
    labels = {0: f"{scale.high:.3g}", len(chart) - 1: f"{scale.low:.3g}"}
    margin = max(map(len, labels.values()))
    text = Text(f"(cost{', logarithmic' if scale.is_logarithmic else ''})\n")
    for line, characters in enumerate(chart):
        text.append(f"{labels.get(line, ''):>{margin}} │")
        for character in characters:
            text.append(character, _VALIDATION_STYLE if character == _CROSS else _COST_STYLE)
        text.append("\n")
    width = len(chart[0])
    last = str(last_epoch) if last_epoch != first_epoch else ""
    text.append(f"{'':>{margin}} └{'─' * width}\n")
    text.append(f"{'':>{margin}}  {first_epoch:<{max(1, width - len(last))}}{last} (epoch)")
    if has_validation:
        text.append(f"\n{'':>{margin}}  ")
        text.append("█", _COST_STYLE).append(" cost  ")
        text.append(_CROSS, _VALIDATION_STYLE).append(" validation cost")
    return text


def follow_job(job: Job, *, local: bool) -> None:
    """Show the progress of a job until it succeeds.

    Args:
        job: The job.
        local: Whether its service runs for this command only, so that an interrupt stops the job.

    Raises:
        JobFailed: It failed or was cancelled.
        typer.Exit: The command was interrupted.
    """
    try:
        with _open_display(job) as display:
            for event in job.follow():
                display.update(event if isinstance(event, EpochView) else None)
    except KeyboardInterrupt:
        _handle_interrupt(job, local)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    if job.state != "succeeded":
        raise JobFailed(job.view)


def _handle_interrupt(job: Job, local: bool) -> None:
    """Offer to cancel the job on a terminal; elsewhere leave it running."""
    if sys.stdin.isatty() and sys.stderr.isatty() and _confirm_cancel():
        log(f"{job.id} is {job.cancel().state}.")
    elif local:
        log(
            f"{job.id} is not finished. It continues when a service runs on this data directory again: "
            f"nabla watch {job.id} --local"
        )
    else:
        log(f"{job.id} continues to run. Follow it with: nabla watch {job.id}")


def _confirm_cancel() -> bool:
    """Ask whether to cancel the job; a second interrupt means no."""
    try:
        print("\nCancel the job, or leave it running? [c/L] ", end="", file=sys.stderr, flush=True)
        return sys.stdin.readline().strip().lower() in ("c", "cancel")
    except KeyboardInterrupt:
        print(file=sys.stderr)
        return False


class _Display(Protocol):
    """Display of the progress of a job."""

    def update(self, epoch: EpochView | None) -> None:
        """Show a finished epoch, or a change of state for None."""


@contextmanager
def _open_display(job: Job) -> Iterator[_Display]:
    stderr = console(stderr=True)
    if not stderr.is_terminal:
        yield _LineDisplay(job, stderr)
        return
    display = _LiveDisplay(job)
    with Live(get_renderable=display.render, console=stderr, refresh_per_second=8):
        yield display


class _LiveDisplay:
    """State, progress bar, cost, pace and remaining time, above a sparkline of the cost."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._last_epoch: EpochView | None = None
        self._epoch_seconds: deque[float] = deque(maxlen=_PACE_EPOCHS)
        self._compiling, self._next_refresh = False, 0.0
        self._spinner = Spinner("dots")

    def update(self, epoch: EpochView | None) -> None:
        if epoch is not None:
            self._last_epoch = epoch
            self._epoch_seconds.append(epoch.seconds)

    def render(self) -> Group:
        job = self._job
        epochs_done = self._last_epoch.epoch if self._last_epoch else job.epoch
        row = Table.grid(padding=(0, 2))
        row.add_row(
            self._render_state(),
            ProgressBar(job.view.epochs, epochs_done, width=24),
            f"{epochs_done}/{job.view.epochs} epochs",
            *self._metrics(job.view.epochs - epochs_done),
        )
        costs = [point.cost for point in job.cost_curve.points]
        return Group(row, Text(sparkline(costs, _SPARKLINE_WIDTH), style="cyan"))

    def _render_state(self) -> Spinner | Text:
        state = Text("compiling" if self._is_compiling() else self._job.state)
        state.stylize(_STATE_STYLES.get(self._job.state, "bold"))
        if self._job.is_finished or self._last_epoch is not None:
            return state
        self._spinner.update(text=state)  # something moves while nothing else does
        return self._spinner

    def _is_compiling(self) -> bool:
        """Return whether code for the network is compiled, which no event tells, before the first epoch."""
        if self._last_epoch is not None or self._job.state != "running":
            return False
        if time.monotonic() >= self._next_refresh:
            self._next_refresh = time.monotonic() + 1.0
            # A copy: the job itself is updated by the events.
            self._compiling = copy.copy(self._job).refresh().view.compiling
        return self._compiling

    def _metrics(self, epochs_left: int) -> list[str]:
        epoch, metrics = self._last_epoch, []
        if epoch is not None:
            metrics.append(f"cost {epoch.cost:.4g}")
            if epoch.validation_cost is not None:
                metrics.append(f"validation {epoch.validation_cost:.4g}")
            if epoch.rows_per_second is not None:
                metrics.append(f"{epoch.rows_per_second:,.0f} rows/s")
        if self._epoch_seconds and not self._job.is_finished:
            seconds = epochs_left * sum(self._epoch_seconds) / len(self._epoch_seconds)
            metrics.append(f"ETA {_format_duration(seconds)}")
        return metrics


class _LineDisplay:
    """A line for each change of state, and for about every tenth of the epochs."""

    def __init__(self, job: Job, console: Console) -> None:
        self._job = job
        self._console = console
        self._next_epoch = 1

    def update(self, epoch: EpochView | None) -> None:
        job = self._job
        if epoch is None:
            self._console.print(f"{job.id} is {job.state}")
        elif epoch.epoch >= self._next_epoch:
            self._next_epoch = epoch.epoch + max(1, job.view.epochs // _MAX_EPOCH_LINES)
            validation = "" if epoch.validation_cost is None else f", validation cost {epoch.validation_cost:.4g}"
            self._console.print(f"epoch {epoch.epoch} of {job.view.epochs}: cost {epoch.cost:.4g}{validation}")


def _format_duration(seconds: float) -> str:
    """Return a duration as M:SS or H:MM:SS."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
