"""Targets, labels and weights of a stored table, written as arrays beside it."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.types

from nabla.engine.data.dataset import write_npy
from nabla.engine.data.ingest.formats.arrow import iter_mapped_batches
from nabla.engine.data.ingest.formats.types import is_number, is_text, to_numpy
from nabla.engine.data.ingest.table_schema import ColumnRoles
from nabla.engine.data.ingest.validation import (
    DistributionDetector,
    LabelBlock,
    LabelEncoder,
    NumberValidator,
    WeightValidator,
    invalid_label,
    table_row_error,
)
from nabla.engine.data.ingest_options import NO_TARGETS, TargetSummary
from nabla.engine.typing import AnyArray, Float64Array

_IterBatches = Callable[[], Iterator[tuple[int, pa.RecordBatch]]]
"""Yields batches, each with the number of its first row; may be called several times."""


def store_targets(table: Path, rows: int, roles: ColumnRoles, encoder: LabelEncoder | None) -> TargetSummary:
    """Write targets or labels, and weights, beside a stored table.

    Args:
        table: The table.
        rows: Its number of rows.
        roles: The roles of its columns; without columns to learn, only weights are written.
        encoder: The encoder that all labels were added to, if there is a label.

    Raises:
        InvalidInput: A value is not accepted.
        StorageFailed: The disk cannot be written.
    """
    directory = table.parent
    with pa.OSFile(str(table)) as file:
        names = pa.ipc.open_file(file).schema.names
    required = set(roles.required)
    columns = [index for index, name in enumerate(names) if name in required]
    iter_batches = partial(_iter_numbered_batches, table, columns)
    if roles.weight is not None:
        _store_weights(directory, rows, roles.weight, iter_batches)
    if not roles.target_columns:
        return NO_TARGETS
    if roles.label is not None:
        assert encoder is not None
        return _store_codes(directory, rows, roles.label, encoder, iter_batches)
    return _store_target_numbers(directory, rows, roles.targets, iter_batches)


def read_labels(labels: pa.Array) -> LabelBlock:
    """Return labels of a table, of which none is missing. Raises InvalidInput if their type is not that of labels."""
    type_ = labels.type
    if not (is_text(type_) or is_number(type_) or pyarrow.types.is_boolean(type_)):
        raise invalid_label("label", str(type_))
    encoded = labels.dictionary_encode()
    return LabelBlock(encoded.dictionary.to_pylist(), to_numpy(encoded.indices), is_text(type_))


def _iter_numbered_batches(table: Path, columns: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield some columns of a stored table, each batch with the number of its first row."""
    first_row = 0
    for batch in iter_mapped_batches(table, columns):
        yield first_row, batch
        first_row += len(batch)


def _store_target_numbers(
    directory: Path, rows: int, names: tuple[str, ...], iter_batches: _IterBatches
) -> TargetSummary:
    numbers = NumberValidator(lambda row, column, message: table_row_error(names[column])(row, message))
    detector = DistributionDetector()

    def iter_blocks() -> Iterator[AnyArray]:
        for first_row, batch in iter_batches():
            block = np.column_stack([_column_to_float64(batch, name) for name in names])
            numbers.add(block, first_row)
            detector.add(block)
            yield block

    write_npy(directory / "targets.npy", np.dtype(np.float64), (rows, len(names)), iter_blocks())
    return TargetSummary(len(names), None, numbers.smallest, numbers.largest, detector.all_distributions)


def _store_codes(
    directory: Path, rows: int, name: str, encoder: LabelEncoder, iter_batches: _IterBatches
) -> TargetSummary:
    encoder.finish()
    codes = (encoder.encode(read_labels(batch.column(name)), first_row) for first_row, batch in iter_batches())
    write_npy(directory / "codes.npy", np.dtype(np.int32), (rows,), codes)
    return TargetSummary.from_classes(encoder.classes)


def _store_weights(directory: Path, rows: int, name: str, iter_batches: _IterBatches) -> None:
    validator = WeightValidator("weight", table_row_error(name))

    def iter_blocks() -> Iterator[AnyArray]:
        for first_row, batch in iter_batches():
            block = _column_to_float64(batch, name)
            validator.add(block, first_row)
            yield block
        validator.finish()

    write_npy(directory / "weights.npy", np.dtype(np.float64), (rows,), iter_blocks())


def _column_to_float64(batch: pa.RecordBatch, name: str) -> Float64Array:
    numbers: Float64Array = to_numpy(batch.column(name)).astype(np.float64, copy=False)
    return numbers
