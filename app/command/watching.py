"""`nabla watch`"""

from typing import Annotated

import typer

from app.command.connecting import connected
from app.command.failures import Told
from app.command.following import follow
from app.command.options import DEFAULT_URL, Json, Local, Url
from app.command.showing import say, show_json

commands = typer.Typer(add_completion=False)


@commands.command(cls=Told)
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
