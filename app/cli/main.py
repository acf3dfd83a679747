"""The `nabla` command."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# In the order of the help.
_COMMANDS = {
    "serve": ("serve", "commands"),
    "demo": ("demo", "commands"),
    "train": ("train", "commands"),
    "watch": ("jobs", "watch_commands"),
    "jobs": ("jobs", "jobs_commands"),
    "history": ("jobs", "history_commands"),
    "predict": ("predict", "predict_commands"),
    "evaluate": ("predict", "evaluate_commands"),
    "export": ("networks", "export_commands"),
    "network": ("networks", "network_commands"),
    "dataset": ("datasets", "commands"),
    "devices": ("devices", "commands"),
}


class Lazily(TyperGroup):
    """Knows the names of its commands, and where they are."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(_COMMANDS, TyperCommand(None))  # for their names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _COMMANDS:
            return None
        module, name = _COMMANDS[cmd_name]
        command = typer.main.get_command(getattr(import_module(f"nabla.app.cli.{module}"), name))
        command.name = cmd_name
        return command


class ListedByDefault(TyperGroup):
    """`nabla jobs --json` is `nabla jobs list --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_completion = ctx.resilient_parsing
        if not is_completion and (not args or (args[0].startswith("-") and args[0] != "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


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
