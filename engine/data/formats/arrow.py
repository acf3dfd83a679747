"""Arrow's own format, as a file and as a stream."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from engine.data.formats.dictionaries import plain
from engine.data.formats.pieces import refusing
from engine.data.formats.schema import check_names
from engine.data.meter import Meter

FILE_MAGIC = b"ARROW1"
_SENTENCE = "The Arrow file is damaged, or written in a way that is not accepted."


def batches(path: Path, field: str, meter: Meter) -> Iterator[pa.RecordBatch]:
    """The rows of a table, every offset checked. Raises InvalidInput, TooLarge."""
    with refusing(field, _SENTENCE):
        source = pa.memory_map(str(path))
        is_file = source.read(len(FILE_MAGIC)) == FILE_MAGIC
        source.seek(0)
        parts = _of_file(source, meter) if is_file else _of_stream(source, meter)
        schema = next(parts)
    check_names(schema.names, field)
    while True:
        with refusing(field, _SENTENCE):
            part = next(parts, None)
            if part is not None:
                part.validate(full=True)
        if part is None:
            return
        for batch in plain(part, field):
            meter.unpacked(batch.nbytes, field)
            yield batch


def _of_file(source: Any, meter: Meter) -> Iterator[Any]:
    with pa.ipc.open_file(source) as reader:
        yield reader.schema
        count = reader.num_record_batches
        for place in range(count):
            yield reader.get_batch(place)
            meter.bytes_read += source.size() // count


def _of_stream(source: Any, meter: Meter) -> Iterator[Any]:
    with pa.ipc.open_stream(source) as reader:
        yield reader.schema
        before = 0
        for batch in reader:
            yield batch
            meter.bytes_read += source.tell() - before
            before = source.tell()
