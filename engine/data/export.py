"""Columns written to files for others to read, of which never more than a block is in memory."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from nabla.engine import durable_files
from nabla.engine.data.npy_io import write_array
from nabla.engine.literals import FileFormat

T = TypeVar("T")
ArrowForm = Literal["file", "stream"]
Block = dict[str, npt.NDArray[np.generic]]
"""Columns by their names: of numbers, or of texts as objects."""


def export_array(path: Path, rows: int, blocks: Iterator[npt.NDArray[np.generic]]) -> Path:
    """A .npy file of so many rows, from blocks (rows, columns) of one type. Where it is: see `durable`. Raises
    StorageFailed."""
    first = next(blocks)
    return write_array(path, first.dtype, (rows, first.shape[1]), _with(first, blocks))


def export_table(path: Path, format: FileFormat, blocks: Iterator[Block]) -> Path:
    """A table of blocks with the same columns. Where it is: see `durable`. Raises StorageFailed."""
    # A process that only knows the formats does not load PyArrow.
    from nabla.engine.data.arrow_io import write_batches, write_csv, write_parquet

    write = {"csv": write_csv, "parquet": write_parquet, "arrow": write_batches}[format]
    first, batches = _batches(blocks)
    return durable_files.write_file(path, lambda sink: write(sink, first.schema, batches))


def hand_over_table(folder: Path, form: ArrowForm, blocks: Iterator[Block]) -> Path:
    """The same in Arrow's format, for another process to send at once: see `durable.hand_over`. Raises
    StorageFailed."""
    from nabla.engine.data.arrow_io import write_batches, write_stream

    write = {"file": write_batches, "stream": write_stream}[form]
    first, batches = _batches(blocks)
    return durable_files.hand_over(folder, lambda sink: write(sink, first.schema, batches))


def _batches(blocks: Iterator[Block]) -> tuple[Any, Iterator[Any]]:
    """The first batch, and all of them."""
    import pyarrow as pa

    batches = (pa.RecordBatch.from_pydict(block) for block in blocks)
    first = next(batches)
    return first, _with(first, batches)


def _with(first: T, others: Iterator[T]) -> Iterator[T]:
    yield first
    yield from others
