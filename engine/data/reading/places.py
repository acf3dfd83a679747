"""How a sentence says where in the data something is wrong."""

from collections.abc import Callable

from engine.data.reading.formats.schema import shown
from engine.errors import InvalidInput

Refusal = Callable[[int, str], InvalidInput]
"""Of a row, counted from 0, and a sentence about it."""


def in_array(field: str) -> Refusal:
    return lambda row, sentence: InvalidInput(f"{field}.{row}", sentence)


def in_column(column: str, field: str = "file") -> Refusal:
    """Rows of a table are counted from 1, as people do."""
    return lambda row, sentence: InvalidInput(
        field, f"Row {row + 1}, column {shown(column)}: {sentence[0].lower()}{sentence[1:]}"
    )


def in_request(column: str, key: str) -> Refusal:
    """Of rows that are to be predicted the field says which one it is, counted from 0, as that of rows in JSON does.
    `key`: how it calls the column."""
    return lambda row, sentence: in_column(column, f"body.{row}.{key}")(row, sentence)
