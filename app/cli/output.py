"""What people see: tables and sentences on stdout, progress on stderr; or JSON, and nothing else."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

from pydantic import BaseModel
from rich.console import Console
from rich.table import Table

View = TypeVar("View", bound=BaseModel, covariant=True)


class Held(Protocol[View]):
    """What a client gives out."""

    @property
    def view(self) -> View: ...


# Where nobody looks, nothing is cut.
_WIDE = 240


def console(*, stderr: bool = False) -> Console:
    """Colours and animation are for terminals."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, markup=False, highlight=False, width=None if stream.isatty() else _WIDE)


def show_table(names: Sequence[str], rows: Iterable[Sequence[object]], *, none: str = "There are none.") -> None:
    """`none`: what is said if there are no rows."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in names:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else printable(str(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        console().print(none)


def say(sentence: str = "") -> None:
    """What was asked for."""
    console().print(printable(sentence), soft_wrap=True)


def note(sentence: str) -> None:
    """What goes on meanwhile, on stderr."""
    console(stderr=True).print(printable(sentence), soft_wrap=True)


def show_json(value: Any) -> None:
    """A model as the service says it; or what is made of such."""
    if isinstance(value, BaseModel):
        print(value.model_dump_json())
    else:
        print(json.dumps(value, default=_as_json, ensure_ascii=False))


def show_json_rows(rows: Iterable[dict[str, Any]]) -> None:
    """A list, of which never more than one row is in memory."""
    print("[", end="")
    for place, row in enumerate(rows):
        print("," if place else "", json.dumps(row, ensure_ascii=False), sep="", end="")
    print("]")


def _as_json(value: Any) -> Any:
    return value.model_dump(mode="json")


def show_list(
    found: Iterable[Held[View]], limit: int, json: bool, names: Sequence[str], row: Callable[[View], Sequence[object]]
) -> None:
    """So many at most, as the service lists them or as a table."""
    views = [one.view for one in islice(found, limit + 1)]
    if json:
        show_json({"data": views[:limit], "has_more": len(views) > limit})
    else:
        show_table(names, map(row, views[:limit]))


def show_deleted(deleted: Held[Any], json: bool) -> None:
    """As it was."""
    if json:
        show_json(deleted.view)
    else:
        note(f"{deleted!r} is deleted.")


def printable(text: str) -> str:
    """Names of columns and classes come from files of anybody; a terminal takes orders."""
    return "".join(each if each.isprintable() or each == "\n" else "�" for each in text)
