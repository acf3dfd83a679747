"""Text columns that are numbers: which columns of a table they are, and their conversion.

Text is read as numbers if nearly all of it is numbers in one of two formats, with or without thousands separators,
units and spellings of missing values (`engine.data.text_formats`). What is not a number is reported, or read as
missing.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from nabla.engine.data.ingest.text_stats import (
    COMMA,
    MISSING_TEXTS,
    NUMBER_FORMATS,
    POINT,
    TextExample,
    TextStats,
    strip_unit_signs,
)
from nabla.engine.data.ingest_options import Decimal
from nabla.engine.data.schema import format_names
from nabla.engine.data.text_formats import SPACES, NumberFormat
from nabla.engine.errors import quote


@dataclass(frozen=True)
class NumberColumns:
    """Text columns that are to be read as numbers.

    Attributes:
        format: The format of the numbers of the table.
        columns: The columns, each with the format of its numbers.
        questions: Sentences about columns whose decimal separator is ambiguous, which the user has to answer.
        problems: Sentences about texts that are not numbers, one for each column, by its name.
        notes: Sentences about what was recognized.
    """

    format: NumberFormat
    columns: Mapping[str, NumberFormat]
    questions: Sequence[str]
    problems: Mapping[str, str]
    notes: Sequence[str]


def find_number_columns(
    stats: Mapping[str, TextStats],
    required: frozenset[str],
    decimal: Decimal | None,
    known_formats: Mapping[str, NumberFormat],
    *,
    comma_separates_cells: bool,
    describe_remedy: Callable[[str, Sequence[TextExample]], str],
) -> NumberColumns:
    """Find the text columns that are numbers, and their format.

    Args:
        stats: Counts of the texts of all text columns.
        required: Columns that have to be numbers.
        decimal: The decimal separator, if it is known.
        known_formats: Formats of single columns that are known.
        comma_separates_cells: Whether a comma separates the cells of a row, so that a number with one is quoted.
        describe_remedy: Returns a sentence about what to do with texts of a column that are not numbers.
    """
    notes: list[str] = []
    questions: list[str] = []
    problems: dict[str, str] = {}
    format = NumberFormat(decimal) if decimal else _find_format(stats)
    columns: dict[str, NumberFormat] = {}
    for name in sorted(stats):
        column = stats[name]
        column_format = known_formats.get(name) or column.choose_format(format)
        if name not in required and not column.are_numbers(column_format):
            continue
        columns[name] = column_format
        is_certain = any(other.certain[format] for other in stats.values())
        if (column.ambiguous or column.ambiguous_units) and not (
            is_certain or decimal or name in known_formats or comma_separates_cells
        ):
            example, separator = ("1,234", "comma") if column.ambiguous else ("1.234 €", "point")
            questions.append(
                f"The column {quote(name)} holds numbers such as {example}, whose {separator} may separate thousands "
                'or decimals. Set decimal to "." or ",".'
            )
            continue
        if rows := column.count_non_numeric(column_format):
            problems[name] = _describe_non_numeric(name, column, rows, describe_remedy)
        if column.missing:
            notes.append(column.describe_missing(name))
        if column.with_units:
            notes.append(f"In the column {quote(name)} currency and percent signs are ignored.")
    with_comma = [quote(name) for name, column_format in columns.items() if column_format == COMMA]
    if with_comma:
        plural = "s" if len(with_comma) > 1 else ""
        notes.append(
            f"The comma is the decimal separator of the column{plural} {format_names(with_comma)}: 1.234,5 is read as "
            "1234.5."
        )
    return NumberColumns(format, columns, questions, problems, notes)


def _find_format(stats: Mapping[str, TextStats]) -> NumberFormat:
    """Return the format of which more numbers are certain; without any, the one with a decimal point."""
    candidates = [column for column in stats.values() if any(map(column.are_numbers, NUMBER_FORMATS))]
    point, comma = (sum(column.certain[format] for column in candidates) for format in NUMBER_FORMATS)
    return COMMA if comma > point else POINT


def _describe_non_numeric(
    name: str, column: TextStats, rows: int, describe_remedy: Callable[[str, Sequence[TextExample]], str]
) -> str:
    shown = [f"{quote(text.text)} in row {text.first_row}" for text in column.non_numeric]
    more = rows - sum(text.rows for text in column.non_numeric)
    texts = ", ".join(shown) + (f" and {more} more" if more > 0 and shown else "")
    remedy = describe_remedy(name, column.non_numeric)
    return (
        f"The column {quote(name)} holds numbers, but {rows} of {column.texts} rows "
        f"{'does' if rows == 1 else 'do'} not{f': {texts}' if texts else ''}. {remedy}"
    )


def parse_numbers(texts: pa.Array, format: NumberFormat, *, invalid_is_missing: bool = False) -> pa.Array:
    """Return texts as float64; spellings of missing values are null.

    Args:
        texts: The texts.
        format: Their format.
        invalid_is_missing: Make texts that are not numbers null too, instead of raising an error.

    Raises:
        pyarrow.ArrowInvalid: A text is not a number.
    """
    trimmed = pc.utf8_trim_whitespace(texts.cast(pa.string()))
    null = pa.scalar(None, pa.string())
    present = pc.if_else(pc.is_in(pc.utf8_lower(trimmed), MISSING_TEXTS), null, trimmed)
    stripped = strip_unit_signs(present)
    separators = rf"[{re.escape(format.thousands)}{SPACES}]"
    is_grouped = pc.match_substring_regex(stripped, rf"^{format.grouped}$")
    numbers = pc.if_else(is_grouped, pc.replace_substring_regex(stripped, separators, ""), stripped)
    is_number = pc.or_(is_grouped, pc.match_substring_regex(stripped, rf"^{format.plain}$"))
    if invalid_is_missing:
        numbers = pc.if_else(is_number, numbers, null)
    elif not pc.all(is_number, min_count=0).as_py():
        raise pa.ArrowInvalid("not a number")
    numbers = pc.replace_substring(pc.replace_substring_regex(numbers, r"^\+", ""), format.decimal, ".")
    return numbers.cast(pa.float64())
