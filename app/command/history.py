"""`nabla history`"""

from typing import Annotated

import typer

from app.command.connecting import connected
from app.command.failures import Told
from app.command.options import DEFAULT_URL, Json, Local, Url
from app.command.showing import console, show_json, show_table
from app.schemas.histories import HistoryView

commands = typer.Typer(add_completion=False)
_FIGURES = ("cost", "accuracy", "r2", "validation_cost", "validation_accuracy", "validation_r2", "learning_rate")


@commands.command(cls=Told)
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
        from app.command.plots import plot as drawn

        print(drawn(epochs, colours=console().is_terminal))
    else:
        names = [name for name in _FIGURES if name in epochs.columns()]
        rows = [(epoch.epoch, *(f"{getattr(epoch, name):.4g}" for name in names)) for epoch in epochs]
        show_table(("epoch", *names), rows, none="It has not finished an epoch.")
