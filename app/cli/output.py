"""Output of commands: results on stdout, as text, tables or JSON, and messages on stderr."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

View = TypeVar("View", bound=BaseModel, covariant=True)


class Resource(Protocol[View]):
    """A resource of the client."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def view(self) -> View:
        """Its representation in the HTTP API."""


# Wide enough that tables in files and pipes are not wrapped.
_FILE_WIDTH = 240


def console(*, stderr: bool = False) -> Console:
    """Return a console that uses colors and animation only on terminals."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, markup=False, highlight=False, width=None if stream.isatty() else _FILE_WIDTH)


def echo(text: str = "") -> None:
    """Print a result to stdout."""
    console().print(replace_control_characters(text), soft_wrap=True)


def log(message: str) -> None:
    """Print a progress message to stderr."""
    console(stderr=True).print(replace_control_characters(message), soft_wrap=True)


def print_table(header: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "None found.") -> None:
    """Print a table to stdout.

    Args:
        header: The names of the columns.
        rows: The cells; None is printed as an empty cell.
        empty: The text to print if there are no rows.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else replace_control_characters(str(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(empty)


def print_json(value: Any) -> None:
    """Print a model of the HTTP API, or a structure that contains models, as JSON to stdout."""
    if isinstance(value, BaseModel):
        print(value.model_dump_json())
    else:
        print(json.dumps(value, default=lambda model: model.model_dump(mode="json"), ensure_ascii=False))


def print_json_array(items: Iterable[dict[str, Any]]) -> None:
    """Print a JSON array to stdout, with one item in memory at a time."""
    print("[", end="")
    for index, item in enumerate(items):
        print("," if index else "", json.dumps(item, ensure_ascii=False), sep="", end="")
    print("]")


def print_list(
    resources: Iterable[Resource[View]],
    limit: int,
    as_json: bool,
    header: Sequence[str],
    to_row: Callable[[View], Sequence[object]],
) -> None:
    """Print the first resources of a list, as a page of the HTTP API or as a table."""
    views = [resource.view for resource in islice(resources, limit + 1)]
    if as_json:
        print_json({"data": views[:limit], "has_more": len(views) > limit})
    else:
        print_table(header, map(to_row, views[:limit]))


def confirm_deletion(resource: Resource[Any], reference: str, shadows: list[str], yes: bool) -> None:
    """Ask before a resource is deleted.

    Args:
        resource: The resource.
        reference: Its id or name, as given by the user.
        shadows: Ids of older resources with the same name.
        yes: Do not ask.

    Raises:
        ValueError: Several resources have the name, or there is no terminal to ask on.
        typer.Abort: The user declined.
    """
    if shadows and reference != resource.id:
        ids = ", ".join((resource.id, *reversed(shadows)))
        raise ValueError(
            f"{len(shadows) + 1} resources have the name {reference!r}: {ids}. Give the id of one of them."
        )
    if yes:
        return
    if not sys.stdin.isatty():
        raise ValueError(f"{resource!r} is not deleted without confirmation. Confirm with --yes.")
    typer.confirm(f"Delete {resource!r}?", abort=True, err=True)


def print_deleted(resource: Resource[Any], as_json: bool) -> None:
    """Confirm a deletion; as JSON, print the last state of the resource."""
    if as_json:
        print_json(resource.view)
    else:
        log(f"Deleted {resource!r}.")


def replace_control_characters(text: str) -> str:
    """Replace characters that a terminal would interpret; names of columns and classes may come from any file."""
    return "".join(character if character.isprintable() or character == "\n" else "�" for character in text)
