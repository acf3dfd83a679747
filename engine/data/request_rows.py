"""Raw inputs from rows in a request, as those of a stored dataset are read. What is of the wrong kind is named."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from nabla.engine.data.features import MISSING, UNSEEN, Array
from nabla.engine.data.schema import Column, ColumnType
from nabla.engine.data.schema import name as name_of
from nabla.engine.errors import InvalidInput

Cell = float | bool | str | None
Plain = npt.NDArray[np.float64]

_FIRST_DAY = datetime(1970, 1, 1, tzinfo=UTC)


def matrix_of(rows: Sequence[Sequence[float]], width: int, field: str) -> Plain:
    """Rows of `width` numbers of which it is known that they are numbers. Raises InvalidInput naming the row, or the
    row and the place in it."""
    try:
        found = np.array(rows, np.float64)
    except ValueError:  # they are not of one length
        return numbers_of(rows, width, field)
    return found if found.shape == (len(rows), width) else numbers_of(rows, width, field)


def numbers_of(rows: Sequence[Sequence[Cell]], width: int, field: str) -> Plain:
    """Rows of `width` plain numbers. Raises InvalidInput naming the row, or the row and the place in it."""
    for number, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(f"{field}.{number}", f"This row has {len(row)} numbers; the network has {width} inputs.")
        for place, cell in enumerate(row):
            if type(cell) is not float and type(cell) is not int:
                raise InvalidInput(f"{field}.{number}.{place}", f"A number is expected, not {shown(cell)}.")
            if not _is_finite(cell):
                raise InvalidInput(f"{field}.{number}.{place}", "Only finite numbers are accepted, no NaN or infinity.")
    return np.array(rows, np.float64)


def columns_of(rows: Sequence[Sequence[Cell]], columns: Sequence[Column], field: str) -> tuple[Array, ...]:
    """Rows of values in the order of the columns; None where there is no value. Raises InvalidInput naming the row, or
    the row and the place in it."""
    for number, row in enumerate(rows):
        if len(row) != len(columns):
            raise InvalidInput(
                f"{field}.{number}",
                f"This row has {len(row)} values; the columns are {', '.join(column.name for column in columns)}.",
            )
    return tuple(
        _column([row[place] for row in rows], column, _fields(field, str(place)))
        for place, column in enumerate(columns)
    )


def named_columns_of(rows: Sequence[Mapping[str, Cell]], columns: Sequence[Column], field: str) -> tuple[Array, ...]:
    """Rows of values by the names of the columns; None where there is no value. Raises InvalidInput naming the row and
    the column."""
    names = [column.name for column in columns]
    for number, row in enumerate(rows):
        for name in sorted(row.keys() - names):
            raise InvalidInput(
                f"{field}.{number}.{name}", f"There is no such column. The columns are {', '.join(names)}."
            )
        for name in names:
            if name not in row:
                raise InvalidInput(
                    f"{field}.{number}.{name}", "This column is missing; null says that there is no value."
                )
    return tuple(_column([row[column.name] for row in rows], column, _fields(field, column.name)) for column in columns)


def _fields(field: str, column: str) -> Callable[[int], str]:
    return lambda number: f"{field}.{number}.{column}"


def _column(cells: Sequence[Cell], column: Column, field: Callable[[int], str]) -> Array:
    if column.type == "category":
        places = {category: code for code, category in enumerate(column.categories)}
        return np.array([MISSING if cell is None else places.get(name_of(cell), UNSEEN) for cell in cells], np.int32)
    found = np.empty(len(cells))
    for number, cell in enumerate(cells):
        value = math.nan if cell is None else real_of(cell, column.type)
        if value is None:
            raise InvalidInput(field(number), f"{_EXPECTED[column.type]} is expected, not {shown(cell)}.")
        found[number] = value
    return found


_EXPECTED: dict[ColumnType, str] = {
    "number": "A finite number",
    "boolean": "true or false",
    "date": "A date as text, such as 2024-05-31 or 2024-05-31T12:00:00Z,",
}


def real_of(cell: Cell, type_: ColumnType) -> float | None:
    """A value as a number; None if it is not of the column's type."""
    if type_ == "boolean":
        return float(cell) if isinstance(cell, bool) else None
    if type_ == "date":
        return _days(cell) if isinstance(cell, str) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not _is_finite(cell):
        return None
    return float(cell)


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # a whole number beyond all of float64
        return False


def _days(text: str) -> float | None:
    """Since 1970-01-01; without a time zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _FIRST_DAY) / timedelta(days=1)


def shown(cell: Cell) -> str:
    """A value in a sentence, cut where it is long."""
    if isinstance(cell, str):
        return repr(cell if len(cell) <= 40 else f"{cell[:40]}…")
    if cell is None or isinstance(cell, bool):
        return {None: "null", True: "true", False: "false"}[cell]
    return repr(cell)[:40]
