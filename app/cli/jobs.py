"""`nabla jobs`"""

from typing import Annotated, Literal

import typer

from nabla.app.cli.main import ListedByDefault
from nabla.app.cli.options import DEFAULT_URL, Json, Limit, Local, Told, Url
from nabla.app.cli.output import console, say, show_json, show_list, show_table
from nabla.app.cli.progress import follow
from nabla.app.cli.service import connected
from nabla.app.client import Job
from nabla.app.schemas.jobs import HistoryView, JobView

jobs_commands = typer.Typer(cls=ListedByDefault, add_completion=False)
Reference = Annotated[str, typer.Argument(metavar="JOB", help="Id or name of a job.")]


@jobs_commands.callback()
def jobs() -> None:
    """List jobs; or show, cancel, pause or resume one."""


@jobs_commands.command("list", cls=Told)
def list_jobs(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List jobs, newest first."""
    with connected(url, local) as client:
        show_list(client.jobs(), limit, json, ("id", "name", "state", "epoch", "cost", "device"), _row)


def _row(view: JobView) -> tuple[object, ...]:
    return view.id, view.name, view.state, f"{view.epoch}/{view.epochs}", _figure(view.cost), view.device


@jobs_commands.command(cls=Told)
def show(job: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show all that is known of a job."""
    with connected(url, local) as client:
        view = client.job(job).view
    if json:
        show_json(view)
    else:
        show_table(("", ""), [item for item in view.model_dump(mode="json").items() if item[1] not in (None, [], {})])


@jobs_commands.command(cls=Told)
def cancel(
    job: Reference,
    keep: Annotated[
        Literal["last", "best"] | None, typer.Option(help="Publish the weights that it has reached, or its best ones.")
    ] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Cancel a job that has not ended."""
    with connected(url, local) as client:
        _told(client.job(job).cancel(keep), json)


@jobs_commands.command(cls=Told)
def pause(job: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Pause a job: it is saved, and frees its slot."""
    with connected(url, local) as client:
        _told(client.job(job).pause(), json)


@jobs_commands.command(cls=Told)
def resume(job: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Resume a paused job, exactly where it was paused."""
    with connected(url, local) as client:
        _told(client.job(job).resume(), json)


def _told(job: Job, json: bool) -> None:
    if json:
        show_json(job.view)
    else:
        say(f"{job.id} is {'being paused' if job.view.pausing else job.state}.")


def _figure(value: float | None) -> str | None:
    return None if value is None else f"{value:.4g}"


history_commands = typer.Typer(add_completion=False)
_FIGURES = ("cost", "accuracy", "r2", "validation_cost", "validation_accuracy", "validation_r2", "learning_rate")


@history_commands.command(cls=Told)
def history(
    job: Annotated[str, typer.Argument(help="Id or name of a job.")],
    plot: Annotated[bool, typer.Option("--plot", help="Draw the cost by epoch.")] = False,
    points: Annotated[
        int | None, typer.Option(min=6, max=10_000, help="Epochs to show of all; by default 20, and 200 in a plot.")
    ] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Show how the cost of a job fell. As JSON all epochs, else some of them, the lowest and the highest among them."""
    with connected(url, local) as client:
        found = client.job(job)
        epochs = found.history() if json else found.history_in_brief(points or (200 if plot else 20))
    if json:
        show_json(HistoryView(data=list(epochs), has_more=False))
    elif plot and epochs:
        from nabla.app.cli.progress import plot as drawn

        print(drawn(epochs, colours=console().is_terminal))
    else:
        names = [name for name in _FIGURES if name in epochs.columns()]
        rows = [(epoch.epoch, *(f"{getattr(epoch, name):.4g}" for name in names)) for epoch in epochs]
        show_table(("epoch", *names), rows, none="It has not finished an epoch.")


watch_commands = typer.Typer(add_completion=False)


@watch_commands.command(cls=Told)
def watch(
    job: Annotated[str, typer.Argument(help="Id or name of a job.")],
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Follow a job to its end. Ctrl-C asks whether to cancel it, or leave it running."""
    with connected(url, local) as client:
        followed = client.job(job)
        follow(followed, local=local)
    if json:
        show_json(followed.view)
    else:
        cost = "" if followed.cost is None else f", cost {followed.cost:.4g}"
        say(f"{followed.id} has succeeded after {followed.epoch} epochs{cost}.")
