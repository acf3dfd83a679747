"""Arrow's own format, as a file and as a stream."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from engine.data.reading.formats.dictionaries import plain
from engine.data.reading.formats.pieces import refusing
from engine.data.reading.formats.schema import check_names, stored
from engine.data.reading.meter import Meter
from engine.durable import digest_in
from engine.errors import InvalidInput

FILE_MAGIC = b"ARROW1"
# Bytes that are mapped at once, if no batch is larger.
_MAPPED = 2**26
# Bytes that a mapped batch itself may take.
_OF_A_BATCH = 2**12
_SENTENCE = "The Arrow file is damaged, or written in a way that is not accepted."


def batches(path: Path, field: str, meter: Meter) -> Iterator[pa.RecordBatch]:
    """The rows of a table, every offset checked. Raises InvalidInput, TooLarge."""
    with refusing(field, _SENTENCE):
        with path.open("rb") as file:
            is_file = file.read(len(FILE_MAGIC)) == FILE_MAGIC
        parts = _of_file(path, meter) if is_file else _of_stream(path, field, meter)
        check_names(next(parts).names, field)  # they need not be UTF-8
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


def _of_file(path: Path, meter: Meter) -> Iterator[Any]:
    """The schema, and the batches."""
    with pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        yield reader.schema
        share = source.size() // max(1, reader.num_record_batches)
    for batch in mapped(path):
        yield batch
        meter.bytes_read += share


def mapped(path: Path, columns: Sequence[int] = ()) -> Iterator[pa.RecordBatch]:
    """The batches of a file, with these columns or with all. One may be as large as the file, so that it is mapped, and
    not read; and mapped anew after a while, so that what was looked at does not count as memory of this process."""
    options = pa.ipc.IpcReadOptions(included_fields=[*columns])
    place, count = 0, 1
    while place < count:
        with pa.memory_map(str(path)) as source, pa.ipc.open_file(source, options=options) as reader:
            count = reader.num_record_batches
            begin = place
            while place < count and (place - begin) * source.size() < _MAPPED * count:
                yield reader.get_batch(place)
                place += 1


def staying(path: Path, field: str) -> pa.Schema | None:
    """The schema of the file at `path` if it is as it would be written, else None: its columns are of types that are
    stored, and what is mapped of it takes no memory, since it is not packed; and its name has its digest. Raises
    InvalidInput."""
    with path.open("rb") as file:
        if digest_in(path.name) is None or file.read(len(FILE_MAGIC)) != FILE_MAGIC:
            return None
    with refusing(field, _SENTENCE), pa.memory_map(str(path)) as source, pa.ipc.open_file(source) as reader:
        check_names(reader.schema.names, field)  # they need not be UTF-8
        if any(stored(column.type) != column.type for column in reader.schema):
            return None
        before = pa.total_allocated_bytes()
        for place in range(reader.num_record_batches):
            batch = reader.get_batch(place)
            if pa.total_allocated_bytes() > before + _OF_A_BATCH:
                return None
            del batch
        return reader.schema


def _of_stream(path: Path, field: str, meter: Meter) -> Iterator[Any]:
    with pa.memory_map(str(path)) as source, pa.ipc.open_stream(source) as reader:
        yield reader.schema
        before = 0
        for batch in reader:
            yield batch
            meter.bytes_read += source.tell() - before
            before = source.tell()
        if source.tell() < source.size():  # rows that nobody would miss
            raise InvalidInput(field, "More follows after the end of the Arrow stream; one stream holds all rows.")
