"""The `nabla` command."""

import typer

from app.command.lazily import Lazily

cli = typer.Typer(cls=Lazily, no_args_is_help=True, pretty_exceptions_enable=False)


@cli.callback()
def nabla() -> None:
    """Nabla trains neural networks: a service, and commands that work with it.

    They speak to the service at NABLA_URL, http://127.0.0.1:8000 by default, or start one for the call with --local.
    With --json the service's own JSON is all that is on stdout.

    Exit codes: 0 it is done; 1 it was refused, or the job has not succeeded; 2 the command was not understood; 3 there
    is no service; 130 it was interrupted.
    """


if __name__ == "__main__":
    cli()
