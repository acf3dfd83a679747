"""Detection of the task: whether a target column is learned as numbers (regression) or as classes."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.types

from nabla.engine.data.ingest.formats.types import (
    ReadHints,
    declared_categories,
    is_date,
    is_number,
    is_text,
    read_adaptively,
)
from nabla.engine.data.ingest.table_schema import replace_null_values
from nabla.engine.data.ingest.text_stats import COMMA, POINT, TextStats, count_texts
from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.schema import format_category
from nabla.engine.data.text_formats import parse_number
from nabla.engine.errors import InvalidInput, quote

# Whole numbers with at most this many different values, each in this many rows on average, are classes.
_MAX_NUMERIC_CLASSES, _MIN_ROWS_PER_CLASS = 10, 5
# Texts are classes if they have at most this many different values, or each is in this many rows on average.
_MAX_TEXT_CLASSES, _MIN_ROWS_PER_TEXT = 20, 2
# Enough rows to learn a column with more different numbers than classes as numbers; the rest is not read.
_MIN_ROWS_OF_NUMBERS = 1000


def detect_task(
    read_batches: Callable[[ReadHints], Iterator[pa.RecordBatch]], options: IngestOptions
) -> tuple[IngestOptions, Sequence[str]]:
    """Return the options with the target as target or label, and a sentence about the choice.

    Args:
        read_batches: Yields the rows; takes what is known of the table.
        options: Options with the task "auto", and a single target.

    Raises:
        InvalidInput: The target is neither clearly numbers nor clearly classes.
    """
    # Read as text, so that formats without types do not decide what its numbers are.
    hints = ReadHints(text_columns=frozenset(options.target))
    detected, _ = read_adaptively(
        lambda hints: _detect(read_batches(hints), options), hints, guesses_encoding=options.cleaning == "auto"
    )
    return detected


def _detect(batches: Iterator[pa.RecordBatch], options: IngestOptions) -> tuple[IngestOptions, Sequence[str]]:
    (name,) = options.target
    stats, distinct, rows, first_row, is_text_column = TextStats(), set[str](), 0, 0, False
    for batch in batches:
        if name not in batch.schema.names:
            return replace(options, task=None), ()  # the error is that of any column that does not exist
        if name in declared_categories(batch.schema):
            return _as_label(options, "categories")
        values = _drop_missing(batch.column(name), first_row, options)
        first_row += len(batch)
        if pyarrow.types.is_boolean(values.type):
            return _as_label(options, "true and false")
        if is_date(values.type) or not (is_text(values.type) or is_number(values.type)):
            return replace(options, task=None), ()
        rows += len(values)
        if is_text(values.type):
            is_text_column = True
            stats.add(count_texts(values, 0))
        if len(distinct) <= max(_MAX_NUMERIC_CLASSES, rows // _MIN_ROWS_PER_TEXT):
            distinct.update(map(format_category, pa.compute.unique(values).to_pylist()))
        has_many_numbers = len(distinct) > _MAX_NUMERIC_CLASSES and not (is_text_column and stats.is_plain_text)
        if rows >= _MIN_ROWS_OF_NUMBERS and has_many_numbers:
            break
    if is_text_column and not any(map(stats.are_numbers, (POINT, COMMA))):
        if len(distinct) > _MAX_TEXT_CLASSES and len(distinct) * _MIN_ROWS_PER_TEXT > rows:
            raise InvalidInput(
                "target",
                f"The column {quote(name)} holds text with {len(distinct)} different values in {rows} rows: neither "
                f"numbers nor classes. Name it as label to learn them as classes anyway: label={name}.",
            )
        return _as_label(options, f"{len(distinct)} different texts")
    if is_text_column:
        distinct = {text for text in distinct if _is_number(text)}
    is_whole = all(value.lstrip("-").isdigit() for value in distinct)
    if len(distinct) == 2 and is_whole:
        return _as_label(options, "two different numbers")
    if is_whole and len(distinct) <= min(_MAX_NUMERIC_CLASSES, rows // _MIN_ROWS_PER_CLASS):
        return _as_label(options, f"{len(distinct)} different whole numbers")
    return replace(options, task="regression"), (f"The target {quote(name)} is learned as numbers.",)


def _is_number(text: str) -> bool:
    """Return whether a text is a number in either format, and not a spelling of a missing value."""
    return any((number := parse_number(text, format)) is not None and number == number for format in (POINT, COMMA))


def _drop_missing(values: pa.Array, first_row: int, options: IngestOptions) -> pa.Array:
    """Return the values of the target that are present, without those of `drop_rows`."""
    if options.drop_rows:
        dropped = [row - 1 - first_row for row in options.drop_rows]
        is_kept = np.ones(len(values), np.bool_)
        is_kept[[row for row in dropped if 0 <= row < len(values)]] = False
        values = values.filter(pa.array(is_kept))
    if options.null_values and is_text(values.type):
        values = replace_null_values(values, options.null_values)
    return values.drop_null()


def _as_label(options: IngestOptions, description: str) -> tuple[IngestOptions, Sequence[str]]:
    (name,) = options.target
    note = f"The target {quote(name)} has {description}, which are learned as classes."
    return replace(options, target=(), label=name, task="classification"), (note,)
