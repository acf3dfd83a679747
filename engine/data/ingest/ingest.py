"""Ingest of uploaded files, which are read, validated and stored as the content of a dataset.

Memory holds only a few blocks of a file at a time. Nothing is ever unpickled, and every size that a file states is
checked before memory is allocated for it.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from nabla.engine.data.encodings import is_text_encoding
from nabla.engine.data.ingest.arrays import ArraySource, store_arrays
from nabla.engine.data.ingest.column_names import (
    list_named_columns,
    normalize_columns,
    normalize_options,
)
from nabla.engine.data.ingest.formats import arrow, csv, json, npy, npz
from nabla.engine.data.ingest.formats.byte_stream import ByteStream, as_single_file, read_exactly
from nabla.engine.data.ingest.formats.csv_dialect import detect_delimiter, detect_skipped_lines
from nabla.engine.data.ingest.formats.decompression import ChunkedFile, open_source
from nabla.engine.data.ingest.formats.detection import SNIFF_BYTES, detect_format
from nabla.engine.data.ingest.formats.npy import ArrayHeader
from nabla.engine.data.ingest.formats.types import ReadHints
from nabla.engine.data.ingest.tables import RowSource, store_table
from nabla.engine.data.ingest_options import (
    CsvFormat,
    DatasetContent,
    IngestOptions,
    Progress,
    ProgressTracker,
    SourceFile,
)
from nabla.engine.data.schema import format_category, normalize_name
from nabla.engine.errors import InvalidInput, TooLarge, quote
from nabla.engine.literals import DataFormat
from nabla.engine.typing import AnyArray

_CHARSET = re.compile(r"charset=\"?([A-Za-z0-9._:-]+)", re.IGNORECASE)
_ARRAY_FIELDS = ({"inputs", "targets"}, {"inputs", "labels"})


def ingest_files(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, on_progress: Callable[[Progress], None]
) -> DatasetContent:
    """Read files and store their content in `directory`, which exists and is empty.

    On failure, files that were written are left there.

    Raises:
        InvalidInput: The files, or the options for them, are not valid.
        TooLarge: The files are beyond a limit, or beyond the memory of this process.
        StorageFailed: The disk cannot be written.
    """
    options = normalize_options(options)
    tracker = ProgressTracker(sources, options.largest, on_progress)
    with suppress(MemoryError):
        if {source.field for source in sources} == {"file"}:
            return _ingest_files(sources, options, directory, tracker)
        return store_arrays(_open_array_fields(sources, options, directory, tracker), options, directory, tracker)
    # Outside the block, where the failed allocations are released: the error itself takes memory.
    raise TooLarge("file", "Reading this takes more memory than is available; send less at once.")


def _ingest_files(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> DatasetContent:
    """Ingest files of the field `file`: tables, one archive of arrays, or one JSON object of arrays."""
    detected = detect_formats(sources, options, tracker)
    formats = [format for format, _ in detected]
    if formats == ["npz"]:
        return store_arrays(_open_archive(sources[0], directory, tracker), options, directory, tracker)
    if formats == ["json"]:
        content = _read_json(sources[0], tracker, _known_encoding(sources[0], options))
        if isinstance(content, dict):
            arrays = {field: _array_in_memory(array) for field, array in content.items()}
            return store_arrays(arrays, options, directory, tracker)
    row_sources, options, notes = open_tables(sources, detected, options, directory, tracker)
    return store_table(row_sources, options, directory, tracker, notes)


def holds_json_arrays(source: SourceFile, options: IngestOptions, tracker: ProgressTracker) -> bool:
    """Return whether a JSON file is one object of arrays, and no table. Raises InvalidInput."""
    return isinstance(_read_json(source, tracker, _known_encoding(source, options)), dict)


def detect_formats(
    sources: Sequence[SourceFile], options: IngestOptions, tracker: ProgressTracker
) -> list[tuple[DataFormat, bytes]]:
    """Return the format of each source, and its first bytes, decompressed. Raises InvalidInput."""
    detected = []
    for source, label in zip(sources, _label_sources(sources), strict=True):
        with _label_errors(label):
            detected.append(_detect_format(source, options, tracker))
    return detected


def open_tables(
    sources: Sequence[SourceFile],
    detected: Sequence[tuple[DataFormat, bytes]],
    options: IngestOptions,
    directory: Path,
    tracker: ProgressTracker,
) -> tuple[list[RowSource], IngestOptions, list[str]]:
    """Return the sources of rows, the options with the lines to skip, and sentences about these."""
    labels, notes = _label_sources(sources), []
    format, start = detected[0]
    if options.skip_rows is None and options.cleaning == "auto" and format in ("csv", "tsv"):
        options = replace(options, skip_rows=detect_skipped_lines(start))
        if options.skip_rows:
            lines, are = (f"{options.skip_rows} lines", "are") if options.skip_rows > 1 else ("line", "is")
            notes.append(
                f"The first {lines} of the file {are} left out: the table begins on line {options.skip_rows + 1}."
            )
    row_sources = [
        RowSource(
            source.field,
            _label_batches(label, partial(_read_batches, source, format, options, directory, tracker)),
            _zero_copy_path(source, format),
            has_typed_text=format not in ("csv", "tsv"),
            comma_separates_cells=format != "tsv"
            and not (format == "csv" and (options.delimiter or detect_delimiter(start)) != ","),
        )
        for label, source, (format, start) in zip(labels, sources, detected, strict=True)
    ]
    return row_sources, options, notes


def describe_csv(
    source: SourceFile, format: DataFormat, options: IngestOptions, hints: ReadHints, tracker: ProgressTracker
) -> CsvFormat:
    """Return how the text of a CSV or TSV file is divided into cells. Raises InvalidInput."""
    with open_source(source, tracker) as stream:
        return csv.detect_csv_format(
            stream,
            source.field,
            format=_csv_format(format, options),
            hints=hints,
            named_columns=list_named_columns(options),
        )


def _csv_format(format: DataFormat, options: IngestOptions) -> CsvFormat:
    delimiter = "\t" if format == "tsv" else options.delimiter
    return CsvFormat(delimiter, options.header, options.skip_rows or 0, options.comment)


def _label_sources(sources: Sequence[SourceFile]) -> list[str]:
    """Return the prefix of errors about each file; an empty one for a single file."""
    if len(sources) == 1:
        return [""]
    names = (f" ({quote(source.name)})" if source.name else "" for source in sources)
    return [f"File {number} of {len(sources)}{name}: " for number, name in enumerate(names, start=1)]


@contextmanager
def _label_errors(label: str) -> Iterator[None]:
    """Prepend the label of a file to the messages of errors about it."""
    try:
        yield
    except InvalidInput as error:
        if not label:
            raise
        (field, message), *others = error.problems
        raise type(error)(field, label + message, *others) from error


def _detect_format(source: SourceFile, options: IngestOptions, tracker: ProgressTracker) -> tuple[DataFormat, bytes]:
    """Return the format of a source, and its first bytes, decompressed."""
    with open_source(source, tracker) as stream:
        start = read_exactly(stream, SNIFF_BYTES)
        encoding = _known_encoding(source, options)
        if encoding is not None:
            with suppress(UnicodeError):  # reported when the file is read
                start = start.decode(encoding, "replace").encode()
        format = options.format or detect_format(source, start)
        if not start:
            raise InvalidInput(source.field, "There is no data: the file is empty.")
        if format in ("parquet", "arrow", "npz") and not isinstance(stream, ChunkedFile):
            raise InvalidInput(source.field, f"The {format} file is compressed as a whole; send it as it is.")
    return format, start


def _zero_copy_path(source: SourceFile, format: DataFormat) -> tuple[Path, pa.Schema] | None:
    """Return the file of a source and its schema, if it can be linked instead of copied."""
    path, *others = source.paths
    schema = arrow.read_adoptable_schema(path, source.field) if format == "arrow" and not others else None
    has_normal_names = schema is not None and all(name == normalize_name(name) for name in schema.names)
    return (path, schema) if has_normal_names else None


def _label_batches(
    label: str, read_batches: Callable[[ReadHints], Iterator[pa.RecordBatch]]
) -> Callable[[ReadHints], Iterator[pa.RecordBatch]]:
    """Return a reader of the same batches whose errors have the label of the file."""

    def read_labeled(hints: ReadHints) -> Iterator[pa.RecordBatch]:
        with _label_errors(label):
            yield from read_batches(hints)

    return read_labeled


def _read_batches(
    source: SourceFile,
    format: DataFormat,
    options: IngestOptions,
    directory: Path,
    tracker: ProgressTracker,
    hints: ReadHints,
) -> Iterator[pa.RecordBatch]:
    field = source.field
    hints = replace(hints, encoding=_known_encoding(source, options) or hints.encoding)
    match format:
        case "csv" | "tsv":
            with open_source(source, tracker) as stream:
                yield from csv.read_csv_batches(
                    stream,
                    field,
                    format=_csv_format(format, options),
                    hints=hints,
                    named_columns=list_named_columns(options),
                )
        case "parquet" | "arrow":
            read = arrow.read_parquet_batches if format == "parquet" else arrow.read_arrow_batches
            with as_single_file(source, directory) as path:
                yield from normalize_columns(read(path, field, tracker), field)
        case "ndjson":
            with open_source(source, tracker) as stream:
                yield from normalize_columns(json.read_ndjson_batches(stream, field, hints), field)
        case "json":
            rows = _read_json(source, tracker, hints.encoding)
            if isinstance(rows, dict):
                raise InvalidInput(field, "Send arrays in one file, or each in a field of its own.")
            batches = json.read_ndjson_batches(rows, field, replace(hints, encoding=None))
            yield from normalize_columns(batches, field)
        case "npz":
            raise InvalidInput(field, "An .npz file must be the only file; tables may be sent in several files.")
        case "npy" | "idx":
            raise InvalidInput(
                field, "Send each array in a field of its own: inputs, targets or labels, and weights if there are any."
            )


def _read_json(
    source: SourceFile, tracker: ProgressTracker, encoding: str | None
) -> ByteStream | dict[str, AnyArray | list[Any]]:
    with open_source(source, tracker) as stream:
        return json.read_json(stream, source.field, encoding)


def _known_encoding(source: SourceFile, options: IngestOptions) -> str | None:
    """Return the encoding that is requested, or that the media type of the source states."""
    match = _CHARSET.search(source.content_type)
    return options.encoding or (match[1] if match and is_text_encoding(match[1]) else None)


def _open_array_fields(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> dict[str, ArraySource]:
    """Return the arrays of files in fields of their own."""
    fields = [source.field for source in sources]
    accepted = (*_ARRAY_FIELDS, {"inputs"}) if options.unlabeled else _ARRAY_FIELDS
    if len(set(fields)) != len(fields) or set(fields) - {"weights"} not in accepted:
        raise InvalidInput(
            "file",
            "Send tables or one .npz file in the field file; or arrays (.npy, IDX) in inputs and targets or labels, "
            "and optionally weights; or in inputs alone with unlabeled=true; "
            f"got {' and '.join(sorted(fields)) or 'no file'}.",
        )
    arrays: dict[str, ArraySource] = {}
    for source in sources:
        format, _ = _detect_format(source, options, tracker)
        if format not in ("npy", "idx"):
            raise InvalidInput(
                source.field, f"Expected an array (.npy or IDX), got {format}; tables go in the field file."
            )
        read_header = npy.read_npy_header if format == "npy" else npy.read_idx_header
        array = _open_array(source.field, partial(open_source, source, tracker), read_header, directory, tracker)
        arrays[source.field] = _adopt_array(source, array, tracker) if format == "npy" else array
    return arrays


def _open_array(
    field: str,
    open_stream: Callable[[], AbstractContextManager[ByteStream]],
    read_header: Callable[[ByteStream, str], ArrayHeader],
    directory: Path,
    tracker: ProgressTracker,
) -> ArraySource:
    """Return an array whose header is validated and whose blocks are read each time they are needed."""

    def read_blocks() -> Iterator[AnyArray]:
        with open_stream() as stream:
            yield from npy.read_blocks(stream, read_header(stream, field), field, directory)
            stream.read(1)  # verifies the checksum at the end of compressed data

    with open_stream() as stream:
        header = read_header(stream, field)
    tracker.check_array_size(header.nbytes, field)
    return ArraySource(header, read_blocks)


def _adopt_array(source: SourceFile, array: ArraySource, tracker: ProgressTracker) -> ArraySource:
    """Return an array that is linked instead of copied, if its file is as it would be stored; else `array`."""
    path = source.paths[0]
    with path.open("rb") as file:
        if len(source.paths) > 1 or file.read(len(npy.MAGIC)) != npy.MAGIC:
            return array
        file.seek(0)
        npy.read_npy_header(file, source.field)
        if not npy.can_adopt(path, array.header, file.tell()):
            return array

    def read_blocks() -> Iterator[AnyArray]:
        for block in npy.map_blocks(path, source.field):
            tracker.bytes_read += block.nbytes
            yield block

    return ArraySource(array.header, read_blocks, path)


def _open_archive(source: SourceFile, directory: Path, tracker: ProgressTracker) -> dict[str, ArraySource]:
    """Return the arrays of an .npz file."""

    @contextmanager
    def open_field(field: str) -> Iterator[ByteStream]:
        with ChunkedFile(source, tracker) as file, npz.open_field(file, field) as stream:
            yield stream

    with ChunkedFile(source, tracker) as file:
        fields = npz.list_fields(file)
    return {
        field: _open_array(field, partial(open_field, field), npy.read_npy_header, directory, tracker)
        for field in fields
    }


def _array_in_memory(array: AnyArray | list[Any]) -> ArraySource:
    if isinstance(array, list):
        labels = pa.array([format_category(label) for label in array])  # integers may be too large for Arrow's types
        has_texts = all(isinstance(label, str) for label in array)
        header = ArrayHeader(len(array), None, np.dtype(object))
        return ArraySource(header, lambda: iter((labels,)), has_typed_text=has_texts)
    return ArraySource(npy.validate_header(array.shape, array.dtype, "inputs"), lambda: iter((array,)))
