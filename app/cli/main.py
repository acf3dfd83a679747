"""Entry point of the `nabla` command."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# Module and Typer app by command, in the order of the help.
_COMMANDS = {
    "serve": ("serve", "serve_app"),
    "demo": ("demo", "demo_app"),
    "train": ("train", "train_app"),
    "watch": ("jobs", "watch_app"),
    "history": ("jobs", "history_app"),
    "predict": ("predict", "predict_app"),
    "evaluate": ("predict", "evaluate_app"),
    "export": ("networks", "export_app"),
    "networks": ("networks", "networks_app"),
    "datasets": ("datasets", "datasets_app"),
    "jobs": ("jobs", "jobs_app"),
    "devices": ("service", "devices_app"),
}


class LazyGroup(TyperGroup):
    """A group that imports the module of a command when the command is called, so that `serve` starts fast."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        # Placeholders: completion and suggestions read the names only.
        self.commands = dict.fromkeys(_COMMANDS, TyperCommand(None))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; return None for an unknown name."""
        if cmd_name not in _COMMANDS:
            return None
        module, app = _COMMANDS[cmd_name]
        command = typer.main.get_command(getattr(import_module(f"nabla.app.cli.{module}"), app))
        command.name = cmd_name
        return command


cli = typer.Typer(cls=LazyGroup, no_args_is_help=True, pretty_exceptions_enable=False)


# Typer keeps the line breaks of every paragraph but the first.
@cli.callback()
def nabla() -> None:
    """Train and query neural networks.

    Commands connect to the service at NABLA_URL (http://127.0.0.1:8000 by
    default). With --local they start a service for as long as they run.
    With --json they print the JSON of the HTTP API, and nothing else.

    Exit codes:
      0    success
      1    the service rejected the request, or the job did not succeed
      2    usage error
      3    cannot connect to the service
      130  interrupted
    """


if __name__ == "__main__":
    cli()
