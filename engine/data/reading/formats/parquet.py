"""Parquet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pyarrow.types as kinds

from engine.data.reading.formats.dictionaries import plain
from engine.data.reading.formats.pieces import refusing
from engine.data.reading.formats.schema import check_names
from engine.data.reading.meter import Meter

_SENTENCE = "The Parquet file is damaged, or written in a way that is not accepted."
# Bytes of a batch, and rows at most.
_BATCH, _ROWS = 2**24, 2**17
# A footer may announce what it likes.
_FOOTER_LIMITS = {"thrift_string_size_limit": 2**26, "thrift_container_size_limit": 2**22}


def batches(path: Path, field: str, meter: Meter) -> Iterator[pa.RecordBatch]:
    """The rows of a table. Raises InvalidInput, TooLarge."""
    size = path.stat().st_size
    with refusing(field, _SENTENCE):
        file = _open(path, [])
        schema = file.schema_arrow
        check_names(schema.names, field)
        text = [column.name for column in schema if kinds.is_string(column.type) or kinds.is_large_string(column.type)]
        if text:  # a short file may hold a long text many times over; this way it stays short
            file = _open(path, text)
        announced = max(1, file.metadata.num_rows)
        parts = file.iter_batches(batch_size=max(1, min(_ROWS, _BATCH // (8 * len(schema)))), use_threads=True)
    rows = 0
    while True:
        with refusing(field, _SENTENCE):
            part = next(parts, None)
            if part is not None:
                part.validate(full=True)
        if part is None:
            break
        rows += len(part)
        meter.bytes_read += max(0, size * rows // announced - size * (rows - len(part)) // announced)
        for batch in plain(part, field):
            meter.unpacked(batch.nbytes, field)
            yield batch


def _open(path: Path, text: list[str]) -> Any:
    return pa.parquet.ParquetFile(
        path,
        read_dictionary=text,
        memory_map=False,
        buffer_size=2**20,
        pre_buffer=False,
        schema_depth_limit=100,
        **_FOOTER_LIMITS,
    )
