"""`nabla jobs`, `nabla watch` and `nabla history`."""

from typing import Annotated, Literal

import typer

from nabla.app.cli.options import DEFAULT_URL, CliCommand, JobArgument, Json, Limit, ListByDefaultGroup, Local, Url
from nabla.app.cli.output import console, echo, print_json, print_list, print_table
from nabla.app.cli.progress import cost_chart, follow_job
from nabla.app.cli.service import open_client
from nabla.app.client import Job
from nabla.app.schemas.jobs import HistoryView, JobView

jobs_app = typer.Typer(cls=ListByDefaultGroup, add_completion=False)
watch_app = typer.Typer(add_completion=False)
history_app = typer.Typer(add_completion=False)

_TABLE_METRICS = ("cost", "accuracy", "r2", "validation_cost", "validation_accuracy", "validation_r2", "learning_rate")
_TABLE_POINTS, _CHART_POINTS = 20, 200


@jobs_app.callback()
def jobs() -> None:
    """List, show, cancel, pause or resume jobs."""


@jobs_app.command("list", cls=CliCommand)
def list_jobs(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List jobs, newest first."""
    with open_client(url, local) as client:
        print_list(client.list_jobs(), limit, json, ("id", "name", "state", "epoch", "cost", "device"), _table_row)


def _table_row(view: JobView) -> tuple[object, ...]:
    cost = None if view.cost is None else f"{view.cost:.4g}"
    return view.id, view.name, view.state, f"{view.epoch}/{view.epochs}", cost, view.device


@jobs_app.command(cls=CliCommand)
def show(job: JobArgument, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show the state and the settings of a job."""
    with open_client(url, local) as client:
        view = client.get_job(job).view
    if json:
        print_json(view)
    else:
        print_table(("", ""), [item for item in view.model_dump(mode="json").items() if item[1] not in (None, [], {})])


@jobs_app.command(cls=CliCommand)
def cancel(
    job: JobArgument,
    keep: Annotated[
        Literal["last", "best"] | None, typer.Option(help="Publish the last weights, or those of the best epoch.")
    ] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Cancel an unfinished job."""
    with open_client(url, local) as client:
        _print_state(client.get_job(job).cancel(keep), json)


@jobs_app.command(cls=CliCommand)
def pause(job: JobArgument, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Pause a job: save it and free its slot."""
    with open_client(url, local) as client:
        _print_state(client.get_job(job).pause(), json)


@jobs_app.command(cls=CliCommand)
def resume(job: JobArgument, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Resume a paused job exactly where it was paused."""
    with open_client(url, local) as client:
        _print_state(client.get_job(job).resume(), json)


def _print_state(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job.view)
    else:
        echo(f"{job.id} is {'pausing' if job.view.pausing else job.state}.")


@watch_app.command(cls=CliCommand)
def watch(job: JobArgument, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Follow a job until it is finished. Ctrl-C asks whether to cancel it or leave it running."""
    with open_client(url, local) as client:
        watched = client.get_job(job)
        follow_job(watched, local=local)
    if json:
        print_json(watched.view)
    else:
        cost = "" if watched.cost is None else f", cost {watched.cost:.4g}"
        echo(f"{watched.id} succeeded after {watched.epoch} epochs{cost}.")


@history_app.command(cls=CliCommand)
def history(
    job: JobArgument,
    plot: Annotated[bool, typer.Option("--plot", help="Draw the cost by epoch.")] = False,
    points: Annotated[
        int | None,
        typer.Option(
            min=6,
            max=10_000,
            help=f"Number of epochs to show. Default: {_TABLE_POINTS}, or {_CHART_POINTS} with --plot.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Show the cost and the metrics of a job by epoch.

    Prints a sample of the epochs, with the lowest and the highest costs
    among them; with --json all epochs.
    """
    with open_client(url, local) as client:
        sample = None if json else points or (_CHART_POINTS if plot else _TABLE_POINTS)
        epochs = client.get_job(job).history(points=sample)
    if json:
        print_json(HistoryView(data=list(epochs), has_more=False))
    elif plot and epochs:
        console().print(cost_chart(epochs))
    else:
        metrics = [name for name in _TABLE_METRICS if name in epochs.columns()]
        rows = [(epoch.epoch, *(f"{getattr(epoch, name):.4g}" for name in metrics)) for epoch in epochs]
        print_table(("epoch", *metrics), rows, empty="No epoch is finished yet.")
