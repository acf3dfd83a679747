"""Writing of predictions to files, from blocks of rows of which one is in memory at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from nabla.engine import durable_files
from nabla.engine.data.dataset import write_npy
from nabla.engine.extras import requires_extra
from nabla.engine.literals import FileFormat

T = TypeVar("T")
ArrowIpcFormat = Literal["file", "stream"]
TableBlock = dict[str, npt.NDArray[np.generic]]
"""Columns by name: arrays of numbers, or of texts as objects."""


def export_array(path: Path, rows: int, blocks: Iterator[npt.NDArray[np.generic]]) -> Path:
    """Write blocks (rows, columns) of one dtype, with `rows` rows in total, to a .npy file.

    Returns:
        The path of the file, whose name has a digest of the content; see `durable_files.write_file`.

    Raises:
        StorageFailed: The file cannot be written.
    """
    first = next(blocks)
    return write_npy(path, first.dtype, (rows, first.shape[1]), _prepend(first, blocks))


def export_table(path: Path, format: FileFormat, blocks: Iterator[TableBlock]) -> Path:
    """Write blocks with the same columns to a CSV, Parquet or Arrow file.

    Returns:
        The path of the file, whose name has a digest of the content; see `durable_files.write_file`.

    Raises:
        StorageFailed: The file cannot be written.
    """
    # Processes that only need the names of the formats do not load PyArrow.
    with requires_extra("format", "Tables"):
        from nabla.engine.data.arrow_io import write_arrow_file, write_csv, write_parquet

    write = {"csv": write_csv, "parquet": write_parquet, "arrow": write_arrow_file}[format]
    first, batches = _to_batches(blocks)
    return durable_files.write_file(path, lambda sink: write(sink, first.schema, batches))


def export_temporary_table(directory: Path, ipc_format: ArrowIpcFormat, blocks: Iterator[TableBlock]) -> Path:
    """Write blocks with the same columns to an Arrow file or stream that another process reads once and removes.

    Returns:
        The path of the file; see `durable_files.write_temporary`.

    Raises:
        StorageFailed: The file cannot be written.
    """
    with requires_extra("body", "Arrow tables"):
        from nabla.engine.data.arrow_io import write_arrow_file, write_arrow_stream

    write = {"file": write_arrow_file, "stream": write_arrow_stream}[ipc_format]
    first, batches = _to_batches(blocks)
    return durable_files.write_temporary(directory, lambda sink: write(sink, first.schema, batches))


def _to_batches(blocks: Iterator[TableBlock]) -> tuple[Any, Iterator[Any]]:
    """Return the first record batch, which has the schema, and an iterator over all of them."""
    import pyarrow as pa

    batches = (pa.RecordBatch.from_pydict(block) for block in blocks)
    first = next(batches)
    return first, _prepend(first, batches)


def _prepend(first: T, others: Iterator[T]) -> Iterator[T]:
    yield first
    yield from others
