"""Files that were handed in, read, checked and stored as the content of a dataset.

In memory is never more than some blocks of them. Nothing is ever unpickled, and sizes are checked before they are
believed.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nabla.engine.data.examples import Array
from nabla.engine.data.ingest.arrays import Given, store_arrays
from nabla.engine.data.ingest.formats import arrow, csv, json, npy, npz
from nabla.engine.data.ingest.formats.byte_stream import Readable, exactly, whole
from nabla.engine.data.ingest.formats.decompression import Pieces, opened
from nabla.engine.data.ingest.formats.detection import START, format_of
from nabla.engine.data.ingest.formats.npy import Announced
from nabla.engine.data.ingest.formats.types import Types, shown
from nabla.engine.data.ingest.progress import Meter
from nabla.engine.data.ingest.tables import Part, store_table
from nabla.engine.data.ingest.type_inference import as_text
from nabla.engine.data.ingest_options import Content, Progress, Reading, Source
from nabla.engine.data.schema import name
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.literals import DataFormat

_FIELDS = ({"inputs", "targets"}, {"inputs", "labels"})


def read(sources: Sequence[Source], reading: Reading, folder: Path, progress: Callable[[Progress], None]) -> Content:
    """Read, check and store in the existing folder `folder`. Raises InvalidInput, TooLarge, StorageFailed.

    What was written is left there if it fails.
    """
    meter = Meter(sources, reading.largest, progress)
    with suppress(MemoryError):
        if {source.field for source in sources} == {"file"}:
            return _read_files(sources, reading, folder, meter)
        return store_arrays(_arrays(sources, reading, folder, meter), reading, folder, meter)
    # What took the memory is let go by now, and there is some to say so.
    raise TooLarge("file", "Reading this takes more memory than there is; hand in less at once.")


def _read_files(sources: Sequence[Source], reading: Reading, folder: Path, meter: Meter) -> Content:
    called = _called(sources)
    formats = []
    for source, which in zip(sources, called, strict=True):
        with _naming(which):
            formats.append(_format(source, reading, meter))
    if formats == ["npz"]:
        return store_arrays(_of_archive(sources[0], folder, meter), reading, folder, meter)
    if formats == ["json"]:
        found = _json(sources[0], meter)
        if isinstance(found, dict):
            return store_arrays({field: _in_memory(array) for field, array in found.items()}, reading, folder, meter)
    parts = [
        Part(source.field, partial(_batches_of, which, source, format, reading, folder, meter), _stays(source, format))
        for which, source, format in zip(called, sources, formats, strict=True)
    ]
    return store_table(parts, reading, folder, meter)


def _called(sources: Sequence[Source]) -> list[str]:
    """What sentences call each of several files; nothing, where there is one."""
    if len(sources) == 1:
        return [""]
    names = (f" ({shown(source.name)})" if source.name else "" for source in sources)
    return [f"File {number} of {len(sources)}{name}: " for number, name in enumerate(names, start=1)]


@contextmanager
def _naming(called: str) -> Iterator[None]:
    """Sentences about a file begin with what it is called."""
    try:
        yield
    except InvalidInput as problem:
        if not called:
            raise
        (field, text), *others = problem.problems
        raise type(problem)(field, called + text, *others) from problem


def _batches_of(
    called: str, source: Source, format: DataFormat, reading: Reading, folder: Path, meter: Meter, types: Types
) -> Iterator[pa.RecordBatch]:
    with _naming(called):
        yield from _batches(source, format, reading, folder, meter, types)


def _format(source: Source, reading: Reading, meter: Meter) -> DataFormat:
    with opened(source, meter) as stream:
        start = exactly(stream, START)
        found = reading.format or format_of(source, start)
        if not start:
            raise InvalidInput(source.field, "There is no data: the file is empty.")
        if found in ("parquet", "arrow", "npz") and not isinstance(stream, Pieces):
            raise InvalidInput(source.field, f"The file is packed once more; hand in the {found} file as it is.")
    return found


def _stays(source: Source, format: DataFormat) -> tuple[Path, pa.Schema] | None:
    """The file of a source, and its schema, where it need not be written anew."""
    path, *others = source.paths
    schema = arrow.staying(path, source.field) if format == "arrow" and not others else None
    return None if schema is None else (path, schema)


def _batches(
    source: Source, format: DataFormat, reading: Reading, folder: Path, meter: Meter, types: Types
) -> Iterator[pa.RecordBatch]:
    field, text = source.field, as_text(reading)
    match format:
        case "csv" | "tsv":
            with opened(source, meter) as stream:
                delimiter = "\t" if format == "tsv" else None
                yield from csv.batches(
                    stream, field, delimiter=delimiter, header=reading.header, types=types, text=text
                )
        case "parquet" | "arrow":
            read = arrow.read_parquet_batches if format == "parquet" else arrow.read_arrow_batches
            with whole(source, folder) as path:
                yield from read(path, field, meter)
        case "ndjson":
            with opened(source, meter) as stream:
                yield from json.read_ndjson_batches(stream, field, types, text)
        case "json":
            rows = _json(source, meter)
            if isinstance(rows, dict):
                raise InvalidInput(field, "Arrays come in one file, or each in a field of its own.")
            yield from json.read_ndjson_batches(rows, field, types, text)
        case "npz":
            raise InvalidInput(field, "An .npz file comes alone; tables may come in several files.")
        case "npy" | "idx":
            raise InvalidInput(
                field,
                "An array comes in a field of its own: inputs, and targets or labels, and weights if rows have them.",
            )


def _json(source: Source, meter: Meter) -> Readable | dict[str, Array | list[Any]]:
    with opened(source, meter) as stream:
        return json.read(stream, source.field)


def _arrays(sources: Sequence[Source], reading: Reading, folder: Path, meter: Meter) -> dict[str, Given]:
    """Files that are an array each, by their fields."""
    fields = [source.field for source in sources]
    accepted = (*_FIELDS, {"inputs"}) if reading.unlabeled else _FIELDS
    if len(set(fields)) != len(fields) or set(fields) - {"weights"} not in accepted:
        raise InvalidInput(
            "file",
            "Send tables in the field file, or one .npz file; or arrays (.npy, IDX) in inputs and targets or labels, "
            "and in weights if rows have them; or in inputs alone with unlabeled=true; "
            f"got {' and '.join(sorted(fields)) or 'no file'}.",
        )
    given: dict[str, Given] = {}
    for source in sources:
        format = _format(source, reading, meter)
        if format not in ("npy", "idx"):
            raise InvalidInput(
                source.field, f"Expected an array (.npy or IDX), got {format}; tables go in the field file."
            )
        read_header = npy.read_npy_header if format == "npy" else npy.read_idx_header
        array = _streamed(source.field, partial(opened, source, meter), read_header, folder, meter)
        given[source.field] = _as_it_is(source, array, meter) if format == "npy" else array
    return given


def _as_it_is(source: Source, array: Given, meter: Meter) -> Given:
    """Without a copy, where the file is as it would be stored."""
    path = source.paths[0]
    with path.open("rb") as file:
        if len(source.paths) > 1 or file.read(len(npy.MAGIC)) != npy.MAGIC:
            return array
        file.seek(0)
        npy.read_npy_header(file, source.field)
        if not npy.may_stay(path, array.announced, file.tell()):
            return array

    def blocks() -> Iterator[Array]:
        for block in npy.mapped(path, source.field):
            meter.bytes_read += block.nbytes
            yield block

    return Given(array.announced, blocks, path)


def _of_archive(source: Source, folder: Path, meter: Meter) -> dict[str, Given]:
    @contextmanager
    def member(field: str) -> Iterator[Readable]:
        with Pieces(source, meter) as pieces, npz.opened(pieces, field) as stream:
            yield stream

    with Pieces(source, meter) as pieces:
        fields = npz.fields(pieces)
    return {field: _streamed(field, partial(member, field), npy.read_npy_header, folder, meter) for field in fields}


def _streamed(
    field: str,
    open: Callable[[], AbstractContextManager[Readable]],
    read_header: Callable[[Readable, str], Announced],
    folder: Path,
    meter: Meter,
) -> Given:
    def blocks() -> Iterator[Array]:
        with open() as stream:
            yield from npy.rows(stream, read_header(stream, field), field, folder)
            stream.read(1)  # what is packed has its checksum at its end

    with open() as stream:
        announced = read_header(stream, field)
    meter.fits(announced.length, field)
    return Given(announced, blocks)


def _in_memory(array: Array | list[Any]) -> Given:
    if isinstance(array, list):
        labels = pa.array([name(label) for label in array])  # numbers may be larger than any that Arrow has
        return Given(Announced(len(array), None, np.dtype(object)), lambda: iter((labels,)))
    return Given(npy.check_shape(array.shape, array.dtype, "inputs"), lambda: iter((array,)))
