"""`nabla jobs`"""

from typing import Annotated, Literal

import typer

from app.client import Job
from app.command.connecting import connected
from app.command.failures import Told
from app.command.lazily import ListedByDefault
from app.command.options import DEFAULT_URL, Json, Limit, Local, Url
from app.command.showing import say, show_json, show_list, show_table
from app.schemas.jobs import JobView

commands = typer.Typer(cls=ListedByDefault, add_completion=False)
Reference = Annotated[str, typer.Argument(metavar="JOB", help="Id or name of a job.")]


@commands.callback()
def jobs() -> None:
    """List jobs; or show, cancel, pause or resume one."""


@commands.command("list", cls=Told)
def list_jobs(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List jobs, newest first."""
    with connected(url, local) as client:
        show_list(client.jobs(), limit, json, ("id", "name", "state", "epoch", "cost", "device"), _row)


def _row(view: JobView) -> tuple[object, ...]:
    return view.id, view.name, view.state, f"{view.epoch}/{view.epochs}", _figure(view.cost), view.device


@commands.command(cls=Told)
def show(job: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show all that is known of a job."""
    with connected(url, local) as client:
        view = client.job(job).view
    if json:
        show_json(view)
    else:
        show_table(("", ""), [item for item in view.model_dump(mode="json").items() if item[1] not in (None, [], {})])


@commands.command(cls=Told)
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


@commands.command(cls=Told)
def pause(job: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Pause a job: it is saved, and frees its slot."""
    with connected(url, local) as client:
        _told(client.job(job).pause(), json)


@commands.command(cls=Told)
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
