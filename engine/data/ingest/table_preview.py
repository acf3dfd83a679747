"""Preview of a table: how it would be read, what would be learned from which columns, and its first rows."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pyarrow as pa

from nabla.engine.data.dataset_reader import to_cell
from nabla.engine.data.ingest.column_names import has_name_lists, normalize_options, resolve_names
from nabla.engine.data.ingest.formats import json
from nabla.engine.data.ingest.formats.detection import detect_formats, known_encoding
from nabla.engine.data.ingest.formats.types import ReadHints, read_adaptively
from nabla.engine.data.ingest.table_files import describe_csv, open_tables
from nabla.engine.data.ingest.tables import store_table
from nabla.engine.data.ingest_options import IngestOptions, Progress, ProgressTracker, SourceFile, TablePreview
from nabla.engine.data.schema import Cell
from nabla.engine.errors import InvalidInput

_MAX_ROWS = 10
_TABLE_FORMATS = ("csv", "tsv", "parquet", "arrow", "ndjson", "json")
_TARGET_NAMES = re.compile(r"label|class|target|species|category|outcome|y|digit", re.IGNORECASE)


def preview_table(
    sources: Sequence[SourceFile], options: IngestOptions, directory: Path, on_progress: Callable[[Progress], None]
) -> TablePreview:
    """Read a table, or its beginning, as a dataset would be read.

    Args:
        sources: A single file.
        options: How to read it. Without a target, the likely one is used; unless a task is set, its values decide it.
        directory: An empty directory for temporary files.
        on_progress: Called with the progress.

    Raises:
        InvalidInput: There are several files, or the file cannot be read at all.
        TooLarge: It is beyond a limit.
        StorageFailed: The disk cannot be written.
    """
    if len(sources) != 1:
        raise InvalidInput("file", "Send a single file to preview.")
    options = normalize_options(options)
    tracker = ProgressTracker(sources, options.largest, on_progress)
    detected = detect_formats(sources, options, tracker)
    format, _ = detected[0]
    if format not in _TABLE_FORMATS:
        return TablePreview(format)
    if format == "json" and isinstance(json.read_json(sources[0], tracker, known_encoding(sources[0], options)), dict):
        return TablePreview(format)  # arrays
    tables, options, notes = open_tables(sources, detected, options, directory, tracker)
    hints = ReadHints(encoding=options.encoding, text_columns=frozenset(options.target))
    first, hints = read_adaptively(
        lambda hints: next(tables[0].read_batches(hints), None), hints, guesses_encoding=True
    )
    options = replace(options, encoding=hints.encoding)
    if first is None:
        raise InvalidInput("file", "There is no data: the table has no rows.")
    names = tuple(first.schema.names)
    if has_name_lists(options):
        options = resolve_names(options, names)
    if not options.unlabeled and not options.target and options.label is None:
        options = replace(options, target=(_guess_target(names, options),), task=options.task or "auto")
    preview = TablePreview(
        format,
        csv=describe_csv(sources[0], format, options, hints, tracker) if format in ("csv", "tsv") else None,
        encoding=hints.encoding,
        names=names,
        rows=_read_rows(first),
        target=next(chain(options.target, () if options.label is None else (options.label,)), None),
    )
    try:
        return replace(preview, content=store_table(tables, options, directory, tracker, notes))
    except InvalidInput as error:
        return replace(preview, problems=error.problems)


def _guess_target(names: Sequence[str], options: IngestOptions) -> str:
    """Return the first column that is named like a target, else the last one, among those without another role."""
    others = {options.weight, *options.exclude, *(options.features or ())}
    free = [name for name in names if name not in others] or names
    return next((name for name in free if _TARGET_NAMES.fullmatch(name)), free[-1])


def _read_rows(batch: pa.RecordBatch) -> tuple[tuple[Cell, ...], ...]:
    columns = ([to_cell(value) for value in column.slice(0, _MAX_ROWS).to_pylist()] for column in batch.columns)
    return tuple(zip(*columns, strict=True))
