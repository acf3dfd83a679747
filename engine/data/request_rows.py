"""Rows of a request as raw inputs, in the same form as those of a stored dataset."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from nabla.engine.data.features import MISSING_CODE, UNKNOWN_CODE
from nabla.engine.data.schema import Cell, Column, ColumnType, format_category
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import AnyArray, Float64Array

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_EXPECTED: dict[ColumnType, str] = {
    "number": "A finite number",
    "boolean": "true or false",
    "date": "A date as text, such as 2024-05-31 or 2024-05-31T12:00:00Z,",
}


def parse_matrix(rows: Sequence[Sequence[Cell]], width: int, field: str) -> Float64Array:
    """Return rows of cells, each of which has to be a finite number, as a matrix (rows, width).

    Raises:
        InvalidInput: A row or a cell is not accepted; the field names the row and the position.
    """
    for index, row in enumerate(rows):
        if len(row) != width:
            raise InvalidInput(f"{field}.{index}", f"This row has {len(row)} numbers; the network has {width} inputs.")
        for position, cell in enumerate(row):
            if type(cell) is not float and type(cell) is not int:
                raise InvalidInput(f"{field}.{index}.{position}", f"A number is expected, not {format_cell(cell)}.")
            if not _is_finite(cell):
                raise InvalidInput(
                    f"{field}.{index}.{position}", "Only finite numbers are accepted, no NaN or infinity."
                )
    return np.array(rows, np.float64)


def parse_rows(rows: Sequence[Sequence[Cell]], columns: Sequence[Column], field: str) -> tuple[AnyArray, ...]:
    """Return the columns of rows whose cells are in the order of the columns.

    Raises:
        InvalidInput: A row or a cell is not accepted; the field names the row and the position.
    """
    for index, row in enumerate(rows):
        if len(row) != len(columns):
            raise InvalidInput(
                f"{field}.{index}",
                f"This row has {len(row)} values; the columns are {', '.join(column.name for column in columns)}.",
            )
    return tuple(
        _parse_column([row[position] for row in rows], column, _cell_field(field, str(position)))
        for position, column in enumerate(columns)
    )


def parse_records(rows: Sequence[Mapping[str, Cell]], columns: Sequence[Column], field: str) -> tuple[AnyArray, ...]:
    """Return the columns of rows whose cells are keyed by column name.

    Raises:
        InvalidInput: A name or a cell is not accepted; the field names the row and the column.
    """
    names = [column.name for column in columns]
    for index, row in enumerate(rows):
        for name in sorted(row.keys() - names):
            raise InvalidInput(
                f"{field}.{index}.{name}", f"There is no such column. The columns are {', '.join(names)}."
            )
        for name in names:
            if name not in row:
                raise InvalidInput(f"{field}.{index}.{name}", "This column is missing; send null for a missing value.")
    return tuple(
        _parse_column([row[column.name] for row in rows], column, _cell_field(field, column.name)) for column in columns
    )


def _cell_field(field: str, column: str) -> Callable[[int], str]:
    return lambda row: f"{field}.{row}.{column}"


def _parse_column(cells: Sequence[Cell], column: Column, field: Callable[[int], str]) -> AnyArray:
    if column.type == "category":
        # Models of earlier versions may have categories with other spellings, which are still found by these.
        code_of: dict[Cell, int] = {format_category(name): code for code, name in enumerate(column.categories)}
        code_of |= {name: code for code, name in enumerate(column.categories)}
        codes = [
            MISSING_CODE
            if cell is None
            else code_of.get(cell if isinstance(cell, str) else None, code_of.get(format_category(cell), UNKNOWN_CODE))
            for cell in cells
        ]
        return np.array(codes, np.int32)
    values = np.empty(len(cells))
    for row, cell in enumerate(cells):
        value = math.nan if cell is None else parse_cell(cell, column.type)
        if value is None:
            raise InvalidInput(field(row), f"{_EXPECTED[column.type]} is expected, not {format_cell(cell)}.")
        values[row] = value
    return values


def parse_cell(cell: Cell, column_type: ColumnType) -> float | None:
    """Return a cell of a number, boolean or date column as a number, or None if it is not of that type."""
    if column_type == "boolean":
        return float(cell) if isinstance(cell, bool) else None
    if column_type == "date":
        return _parse_date(cell) if isinstance(cell, str) else None
    if isinstance(cell, bool) or not isinstance(cell, int | float) or not _is_finite(cell):
        return None
    return float(cell)


def format_cell(cell: Cell) -> str:
    """Return a cell for an error message, as JSON writes it, cut to 40 characters."""
    if isinstance(cell, str):
        return repr(cell if len(cell) <= 40 else f"{cell[:40]}…")
    if cell is None or isinstance(cell, bool):
        return {None: "null", True: "true", False: "false"}[cell]
    return repr(cell)[:40]


def _is_finite(number: float) -> bool:
    try:
        return math.isfinite(number)
    except OverflowError:  # an integer beyond the range of float64
        return False


def _parse_date(text: str) -> float | None:
    """Return days since 1970-01-01; a time without a time zone is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) / timedelta(days=1)
