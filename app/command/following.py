"""Following a job to its end, or until somebody has seen enough."""

import sys

import typer

from app.client import Job, JobFailed
from app.command.failures import INTERRUPTED
from app.command.live import shown
from app.command.showing import note
from app.schemas.histories import EpochView


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
