"""Ingest of tables from files: CSV, TSV, Parquet, Arrow, NDJSON and JSON."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pyarrow as pa

from nabla.engine.data.ingest.column_names import (
    list_named_columns,
    normalize_columns,
)
from nabla.engine.data.ingest.formats import arrow, csv, json, ndjson
from nabla.engine.data.ingest.formats.byte_stream import as_single_file
from nabla.engine.data.ingest.formats.csv_dialect import detect_delimiter, detect_skipped_lines
from nabla.engine.data.ingest.formats.decompression import open_source
from nabla.engine.data.ingest.formats.detection import (
    DetectedFormat,
    known_encoding,
    label_errors,
    label_sources,
)
from nabla.engine.data.ingest.formats.types import ReadHints
from nabla.engine.data.ingest.tables import RowSource, store_table
from nabla.engine.data.ingest_options import (
    CsvFormat,
    DatasetContent,
    IngestOptions,
    ProgressTracker,
    SourceFile,
)
from nabla.engine.data.schema import normalize_name
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DataFormat


def store_table_files(
    sources: Sequence[SourceFile],
    detected: Sequence[DetectedFormat],
    options: IngestOptions,
    directory: Path,
    tracker: ProgressTracker,
) -> DatasetContent:
    """Store the tables of all sources as one in `directory`. Raises InvalidInput, TooLarge, StorageFailed."""
    row_sources, options, notes = open_tables(sources, detected, options, directory, tracker)
    return store_table(row_sources, options, directory, tracker, notes)


def open_tables(
    sources: Sequence[SourceFile],
    detected: Sequence[DetectedFormat],
    options: IngestOptions,
    directory: Path,
    tracker: ProgressTracker,
) -> tuple[list[RowSource], IngestOptions, list[str]]:
    """Return the sources of rows, the options with the lines to skip, and sentences about these."""
    labels, notes = label_sources(sources), []
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
        with label_errors(label):
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
    hints = replace(hints, encoding=known_encoding(source, options) or hints.encoding)
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
                yield from normalize_columns(ndjson.read_ndjson_batches(stream, field, hints), field)
        case "json":
            rows = json.read_json(source, tracker, hints.encoding)
            if isinstance(rows, dict):
                raise InvalidInput(field, "Send arrays in one file, or each in a field of its own.")
            batches = ndjson.read_ndjson_batches(rows, field, replace(hints, encoding=None))
            yield from normalize_columns(batches, field)
