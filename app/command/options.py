"""What several commands are told in the same words."""

from pathlib import Path
from typing import Annotated

import typer

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
Missing = Annotated[
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
