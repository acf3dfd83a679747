"""What several commands are told in the same words."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from nabla.app.cli.output import printable
from nabla.app.client import ConnectionLost, NablaError, ServiceError

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option("--url", envvar="NABLA_URL", help="Where the service is.")]
Local = Annotated[
    bool, typer.Option("--local", help="Start a service for this call, on the folder NABLA_DATA_DIR or ./data.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the service's own JSON, and nothing else.")]
Limit = Annotated[int, typer.Option(min=1, max=100_000, help="How many at most, the newest.")]
File = Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True)]
Target = Annotated[
    list[str] | None, typer.Option(help="The column to learn as a number; may be given several times. See --label.")
]
Label = Annotated[str | None, typer.Option(help="The column that holds the class.")]
Imputation = Annotated[
    str | None,
    typer.Option(help="What a missing value gets: mean, median, most_frequent; without it such rows are refused."),
]
Version = Annotated[str | None, typer.Option(help="A version, by its number or a tag; by default the current one.")]


def version_of(given: str | None) -> int | str | None:
    return int(given) if given is not None and given.isascii() and given.isdigit() else given


def sizes(given: str) -> list[int]:
    """`64,32`. Raises BadParameter."""
    try:
        found = [int(part) for part in given.split(",") if part.strip()]
    except ValueError:
        found = [0]
    if any(size < 1 for size in found):
        raise typer.BadParameter("Sizes of layers are whole numbers of at least 1, with commas between them: 64,32.")
    return found


FAILED, NO_SERVICE, INTERRUPTED = 1, 3, 130
# Fields whose options have another name; a job's network is a network's name here.
_OPTIONS = {"network_id": "network", "dataset_id": "dataset", "splits": "held_out"}


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
