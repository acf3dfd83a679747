"""Rows of a request as raw inputs, in the same form as those of a stored dataset."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from nabla.engine.data.features import MISSING_CODE, UNKNOWN_CODE
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.schema import Cell, Column, ColumnType, format_category, format_names, normalize_name
from nabla.engine.data.text_formats import NumberFormat, parse_date, parse_number
from nabla.engine.errors import InvalidInput
from nabla.engine.typing import AnyArray, Float64Array

# Problems of a request that are reported at once.
_MAX_PROBLEMS = 20
_BOOLEANS = {"true": 1.0, "false": 0.0, "1": 1.0, "0": 0.0}

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


def parse_records(
    rows: Sequence[Mapping[str, Cell]], columns: Sequence[Column], field: str, warnings: InputWarnings | None = None
) -> tuple[AnyArray, ...]:
    """Return the columns of rows whose cells are keyed by column name, in any Unicode normal form.

    Raises:
        InvalidInput: A column is missing, or a cell is not accepted; the field names the row and the column.
    """
    names = [column.name for column in columns]
    known = frozenset(names)
    if any(row.keys() != known for row in rows):
        rows = [_match_names(row, known, warnings) for row in rows]
        _check_present(rows, names, field)
    return tuple(
        _parse_column([row[column.name] for row in rows], column, _cell_field(field, column.name)) for column in columns
    )


def _match_names(row: Mapping[str, Cell], known: frozenset[str], warnings: InputWarnings | None) -> Mapping[str, Cell]:
    """Return the cells of a row whose names, or their normal forms, are known."""
    matched, unused = {}, []
    for name, cell in row.items():
        match = name if name in known else normalize_name(name)
        if match in known:
            matched[match] = cell
        else:
            unused.append(name)
    if unused and warnings is not None:
        warnings.add_unused(unused)
    return matched


def _check_present(rows: Sequence[Mapping[str, Cell]], names: Sequence[str], field: str) -> None:
    missing = [
        (
            f"{field}.{index}.{name}",
            f"This column is missing; send null for a missing value. The columns are {format_names(names)}.",
        )
        for index, row in enumerate(rows)
        for name in names
        if name not in row
    ][:_MAX_PROBLEMS]
    if missing:
        (first_field, first), *others = missing
        raise InvalidInput(first_field, first, *others)


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
        value = math.nan if cell is None else parse_cell(cell, column)
        if value is None:
            raise InvalidInput(field(row), f"{_EXPECTED[column.type]} is expected, not {format_cell(cell)}.")
        values[row] = value
    return values


def parse_cell(cell: Cell, column: Column) -> float | None:
    """Return a cell of a number, boolean or date column as a number, or None if it is not of that type.

    Text is read as in a file: " 1,234.5" is a number, "?" is a missing one, and "True" is a boolean.
    """
    if isinstance(cell, str):
        if column.type == "number":
            return parse_number(cell, NumberFormat(column.decimal))
        if not cell.strip():
            return math.nan
        if column.type == "date":
            return parse_date(cell, column.date_order)
        return _BOOLEANS.get(cell.strip().lower())
    if column.type == "boolean":
        return float(cell) if isinstance(cell, bool) or cell in (0, 1) else None
    if column.type == "date":
        return None
    if not isinstance(cell, bool | int | float) or not _is_finite(cell):
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
