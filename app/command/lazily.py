"""`nabla` itself: its commands are imported when they are called, so that starting a service waits for none of them."""

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

# In the order of the help.
_MODULES = {
    "serve": "serving",
    "demo": "demo",
    "train": "training",
    "watch": "watching",
    "jobs": "jobs",
    "history": "history",
    "predict": "predicting",
    "evaluate": "evaluating",
    "export": "exporting",
    "network": "networks",
    "dataset": "datasets",
    "devices": "devices",
}


class Lazily(TyperGroup):
    """Knows the names of its commands, and where they are."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands = dict.fromkeys(_MODULES, TyperCommand(None))  # for their names

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in _MODULES:
            return None
        command = typer.main.get_command(import_module(f"app.command.{_MODULES[cmd_name]}").commands)
        command.name = cmd_name
        return command


class ListedByDefault(TyperGroup):
    """`nabla jobs --json` is `nabla jobs list --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        is_completion = ctx.resilient_parsing
        if not is_completion and (not args or (args[0].startswith("-") and args[0] != "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)
