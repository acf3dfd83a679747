"""Raw inputs of a table, read from the Arrow IPC file in which it is stored."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types

from nabla.engine.data.features import MISSING_CODE, UNKNOWN_CODE
from nabla.engine.data.schema import Column, format_category
from nabla.engine.data.text_formats import MISSING_SPELLINGS, parse_date
from nabla.engine.errors import Damaged, InvalidInput, quote
from nabla.engine.typing import AnyArray, RowIndices

TICKS_PER_DAY = {"s": 86_400, "ms": 86_400_000, "us": 86_400_000_000, "ns": 86_400_000_000_000}


class TableFeatures:
    """Columns of a table in a memory-mapped Arrow IPC file, which is never loaded as a whole.

    Raises:
        Damaged: The file cannot be read, or lacks a column.
    """

    def __init__(self, path: Path, columns: tuple[Column, ...]) -> None:
        self.columns = columns
        self._path = path
        with self._reading():
            source = pa.memory_map(str(path))
            schema = pa.ipc.open_file(source).schema
            # The fields of a batch come in the order of the file, not in that of the indices.
            fields = [_field_index(schema, column.name) for column in columns]
            self._file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
            sizes = [self._file.get_batch(number).num_rows for number in range(self._file.num_record_batches)]
        self._batch_ends = np.cumsum(sizes, dtype=np.int64)
        self.rows = int(self._batch_ends[-1]) if sizes else 0
        self.inputs = sum(column.inputs for column in columns)

    def read(self, rows: RowIndices) -> tuple[AnyArray, ...]:
        """Return one array per column for the given rows, which are in ascending order.

        Raises:
            Damaged: The file cannot be read.
        """
        if not rows.size:
            return tuple(np.empty(0, np.int32 if column.type == "category" else np.float64) for column in self.columns)
        first, last = int(rows[0]), int(rows[-1]) + 1
        with self._reading():
            batches = self._slice_batches(first, last)
            return tuple(
                np.concatenate([decode_column(batch.column(column.name), column) for batch in batches])[rows - first]
                for column in self.columns
            )

    def select_column(self, index: int) -> "TableFeatures":
        """Return the features of a single column."""
        return TableFeatures(self._path, self.columns[index : index + 1])

    def _slice_batches(self, first: int, last: int) -> list[pa.RecordBatch]:
        """Return the rows from `first` up to, not including, `last`."""
        batches = []
        number = int(np.searchsorted(self._batch_ends, first, side="right"))
        while first < last:
            batch = self._file.get_batch(number)
            batch_end = int(self._batch_ends[number])
            batch_start = batch_end - batch.num_rows
            end = min(last, batch_end)
            batches.append(batch.slice(first - batch_start, end - first))
            first, number = end, number + 1
        return batches

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pa.ArrowException, LookupError) as error:
            name = f"{self._path.parent.name}/{self._path.name}"
            raise Damaged(f"The stored file {name} cannot be read.") from error


def _field_index(schema: pa.Schema, name: str) -> int:
    index: int = schema.get_field_index(name)
    if index < 0:
        raise LookupError(name)
    return index


def decode_column(values: pa.Array, column: Column) -> AnyArray:
    """Return a stored column as raw inputs; see `nabla.engine.data.features`."""
    match column.type:
        case "category":
            return _encode_categories(values, column.categories)
        case "date":
            is_time = pyarrow.types.is_date(values.type) or pyarrow.types.is_timestamp(values.type)
            return _to_float64(epoch_days(values) if is_time else _parse_dates(values, column))
        case "boolean":
            return _to_float64(_to_booleans(values, column.name))
        case _:
            return _to_float64(values)


def _to_booleans(values: pa.Array, name: str) -> pa.Array:
    """Return booleans, or numbers and texts that are booleans. Raises InvalidInput (field `dataset_id`) for others."""
    if pyarrow.types.is_boolean(values.type):
        return values
    if pyarrow.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pyarrow.types.is_floating(values.type) or pyarrow.types.is_integer(values.type):
        if not pc.all(pc.is_in(values.drop_null(), pa.array([0, 1]).cast(values.type)), min_count=0).as_py():
            raise InvalidInput(
                "dataset_id", f"The column {name!r} holds numbers; true and false, or 1 and 0 are expected."
            )
        return values.cast(pa.bool_())
    return pc.utf8_lower(pc.utf8_trim_whitespace(values)).cast(pa.bool_())


def _parse_dates(texts: pa.Array, column: Column) -> pa.Array:
    """Return texts as days since 1970-01-01. Raises InvalidInput (field `dataset_id`) for others than dates."""
    encoded = texts if pyarrow.types.is_dictionary(texts.type) else texts.dictionary_encode()
    days: list[float | None] = []
    for text in encoded.dictionary.to_pylist():
        if text is None or text.strip().lower() in MISSING_SPELLINGS:
            days.append(None)
        elif (day := parse_date(text, column.date_order)) is not None:
            days.append(day)
        else:
            raise InvalidInput(
                "dataset_id",
                f"The column {quote(column.name)} holds the text {quote(text)}; dates such as 2024-05-31 are expected.",
            )
    return pa.array(days, pa.float64()).take(encoded.indices)


def epoch_days(values: pa.Array) -> pa.Array:
    """Return dates or timestamps as float64 days since 1970-01-01; nulls stay nulls."""
    if pa.types.is_date(values.type):
        return values.cast(pa.date32()).cast(pa.int32()).cast(pa.float64())
    ticks = values.cast(pa.int64()).cast(pa.float64(), safe=False)
    return pc.divide(ticks, float(TICKS_PER_DAY[values.type.unit]))


def _to_float64(values: pa.Array) -> AnyArray:
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return np.asarray(values.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _encode_categories(values: pa.Array, categories: Sequence[str]) -> AnyArray:
    """Return the codes of values, which are looked up by their names (see `format_category`)."""
    encoded = values if pyarrow.types.is_dictionary(values.type) else values.dictionary_encode()
    # Models of earlier versions may have categories with other spellings, which are still found by these.
    code_of = {format_category(name): code for code, name in enumerate(categories)}
    code_of |= {name: code for code, name in enumerate(categories)}
    codes = [
        MISSING_CODE if value is None else code_of.get(value, code_of.get(format_category(value), UNKNOWN_CODE))
        for value in encoded.dictionary.to_pylist()
    ]
    indices = encoded.indices.cast(pa.int32()).fill_null(len(codes)).to_numpy(zero_copy_only=False)
    return np.asarray(np.array([*codes, MISSING_CODE], np.int32)[indices])
