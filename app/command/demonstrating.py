"""`nabla demo`"""

from typing import Annotated

import typer

from app.command.failures import Told

commands = typer.Typer(add_completion=False)


@commands.command(cls=Told)
def demo(
    epochs: Annotated[int, typer.Option(min=1, help="How long to train.")] = 60,
) -> None:
    """Start a service on a free port, train it to read handwritten digits, and end it again."""
    from app.command.demo import run

    raise typer.Exit(run(epochs))
