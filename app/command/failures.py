"""What goes wrong, in words, and as exit codes that scripts can use."""

import sys
from typing import Any

import typer
from typer.core import TyperCommand

from app.client import ConnectionLost, NablaError, ServiceError
from app.command.showing import printable

FAILED, NO_SERVICE, INTERRUPTED = 1, 3, 130
# Fields whose options have another name; a job's network is a network's name here.
_OPTIONS = {"network_id": "network", "dataset_id": "dataset", "parts": "held_out"}


class Told(TyperCommand):
    """A command that ends with a sentence where it cannot do what it was asked for, and never with a traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except ConnectionLost as problem:
            _tell(f"{problem} `nabla serve` starts one; NABLA_URL or --url say where it is; --local is for this call.")
            raise typer.Exit(NO_SERVICE) from problem
        except ServiceError as problem:
            for sentence in self._sentences(problem):
                _tell(sentence)
            raise typer.Exit(FAILED) from problem
        except BrokenPipeError:
            raise  # nobody reads any more, as after `| head`
        except (NablaError, OSError, ValueError) as problem:
            _tell(str(problem))
            raise typer.Exit(FAILED) from problem

    def _sentences(self, problem: ServiceError) -> list[str]:
        """With the option that was wrong, where it is one."""
        options = {parameter.name: parameter.opts[0] for parameter in self.params}
        found = []
        for error in problem.errors:
            field = error["field"].partition(".")[0]
            option = options.get(_OPTIONS.get(field, field), "")
            found.append(f"{option}: {error['message']}" if option.startswith("--") else error["message"])
        return found or [str(problem)]


def _tell(sentence: str) -> None:
    print(f"nabla: {printable(sentence)}", file=sys.stderr)
