"""Ingest of tables: all sources are read in batches, measured, and stored as one Arrow file, with targets beside it.

The types of columns are inferred from the first rows. If later rows do not fit, or the texts turn out to be numbers or
dates (`text_inference`), the table is read again with what has been found.
"""

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.types

from nabla.engine import durable_files
from nabla.engine.data.arrow_io import write_arrow_file
from nabla.engine.data.ingest.column_names import (
    has_name_lists,
    list_code_columns,
    list_number_columns,
    list_text_columns,
    resolve_names,
)
from nabla.engine.data.ingest.column_stats import (
    MAX_CATEGORIES,
    MAX_REQUESTED_CATEGORIES,
    ColumnChunkStats,
    FeatureStats,
    MissingValues,
    find_missing_rows,
)
from nabla.engine.data.ingest.feature_columns import (
    build_columns,
    clean_batch,
    clean_columns,
    find_problems,
    find_repeated_names,
)
from nabla.engine.data.ingest.formats.types import (
    MAX_ATTEMPTS,
    ColumnTypesChanged,
    ReadHints,
    declared_categories,
    is_text,
    read_adaptively,
    storage_type,
    too_many_attempts,
)
from nabla.engine.data.ingest.prefetch import MAX_THREADS, map_ordered
from nabla.engine.data.ingest.table_schema import ColumnRoles, TableSchema, assign_roles
from nabla.engine.data.ingest.table_targets import read_labels, store_targets
from nabla.engine.data.ingest.task_detection import detect_task
from nabla.engine.data.ingest.text_inference import TableFindings, TextCounts, infer_from_texts
from nabla.engine.data.ingest.text_stats import TextStats, count_texts
from nabla.engine.data.ingest.validation import (
    LabelBlock,
    LabelEncoder,
    table_row_error,
)
from nabla.engine.data.ingest_options import DatasetContent, IngestOptions, ProgressTracker
from nabla.engine.data.schema import Column, ColumnType, format_category, format_names
from nabla.engine.data.text_formats import FALLBACK_ENCODING, NotUtf8, NumberFormat
from nabla.engine.errors import InvalidInput, quote, shorten
from nabla.engine.typing import RowIndices

# Rows that repeat the names of the columns, of which a table has as many as joined files.
_MAX_REPEATED_NAMES = 1000


@dataclass(frozen=True)
class RowSource:
    """A source of rows.

    Attributes:
        field: Field to name in errors.
        read_batches: Yields all rows; takes the hints that earlier passes gave.
        zero_copy_path: A file that can be linked instead of copied, and its schema, if no column is to be converted.
        has_typed_text: Whether text is known to be text; in a format without types, such as CSV, it may be a number.
        comma_separates_cells: Whether a comma separates the cells of a row, so that a number with one is quoted.
    """

    field: str
    read_batches: Callable[[ReadHints], Iterator[pa.RecordBatch]]
    zero_copy_path: tuple[Path, pa.Schema] | None = None
    has_typed_text: bool = True
    comma_separates_cells: bool = True


def store_table(
    sources: Sequence[RowSource],
    options: IngestOptions,
    directory: Path,
    tracker: ProgressTracker,
    notes: Sequence[str] = (),
) -> DatasetContent:
    """Store the rows of all sources in `directory`; `notes` go before those about the rows.

    Raises:
        InvalidInput: The rows, or the options for them, are not valid.
        TooLarge: The rows are beyond a limit.
        StorageFailed: The disk cannot be written.
    """
    if options.task == "regression" and options.label is not None:
        raise InvalidInput("task", "A label is learned as classes; name the column as target to learn numbers.")
    if has_name_lists(options):
        options = resolve_names(options, _read_names(sources, options))
    if options.task == "classification" and len(options.target) > 1:
        raise InvalidInput("task", f"Classes are learned from a single target; {len(options.target)} are named.")
    if options.task == "auto" and len(options.target) == 1:
        options, task_notes = detect_task(lambda hints: _read_batches(sources, hints), options)
        notes = (*notes, *task_notes)
    elif options.task == "classification" and options.target:
        options = replace(options, target=(), label=options.target[0])
    hints = ReadHints(
        text_columns=list_text_columns(options),
        number_columns=list_number_columns(options),
        code_columns=list_code_columns(options),
        decimal=options.decimal or ".",
    )
    findings = TableFindings(hints, notes=tuple(notes))
    for _ in range(MAX_ATTEMPTS):
        tracker.reset()
        try:
            return _IngestAttempt(sources, options, tracker, findings).store(directory)
        except ColumnTypesChanged as changed:
            hints = replace(findings.hints, types={**findings.hints.types, **changed.types})
            findings = replace(findings, hints=hints)
        except _FindingsChanged as changed:
            findings = changed.findings
        except NotUtf8:
            if options.cleaning == "none" or findings.hints.encoding is not None:
                raise
            hints = replace(findings.hints, encoding=FALLBACK_ENCODING)
            note = f"The file is not UTF-8 text; it is read as {FALLBACK_ENCODING}."
            findings = replace(findings, hints=hints).with_notes([note])
    raise too_many_attempts(findings.hints)


def _read_batches(sources: Sequence[RowSource], hints: ReadHints) -> Iterator[pa.RecordBatch]:
    return chain.from_iterable(source.read_batches(hints) for source in sources)


def _read_names(sources: Sequence[RowSource], options: IngestOptions) -> Sequence[str]:
    batch, _ = read_adaptively(
        lambda hints: next(sources[0].read_batches(hints), None),
        ReadHints(encoding=options.encoding),
        guesses_encoding=True,
    )
    return () if batch is None else tuple(batch.schema.names)


class _FindingsChanged(Exception):
    """A pass over the table has new findings, with which it has to be read again."""

    def __init__(self, findings: TableFindings) -> None:
        super().__init__(*findings.notes)
        self.findings = findings


@dataclass(frozen=True)
class _SourceBatch:
    """A batch as it was read."""

    batch: pa.RecordBatch
    field: str
    schema: TableSchema
    first_row: int


@dataclass(frozen=True)
class _MeasuredBatch:
    """A batch in the table's schema without the rows that are left out, and its statistics.

    Attributes:
        first_row: Number of its first row in the sources.
        last_row: Number of its last row in the sources, from 1.
        rows_without_target: How many rows are left out because they have no target or no weight.
        repeated_names: Numbers of its rows that repeat the names of the columns, from 1.
        infinite: How many infinite numbers of features became missing, by column.
    """

    batch: pa.RecordBatch
    first_row: int
    last_row: int
    features: Sequence[ColumnChunkStats]
    texts: Mapping[str, TextStats]
    missing_rows: Mapping[str, RowIndices]
    labels: LabelBlock | None
    rows_without_target: int
    infinite: Mapping[str, int]
    repeated_names: Sequence[int]


class _IngestAttempt:
    """One pass over all sources with the findings of the passes before."""

    def __init__(
        self, sources: Sequence[RowSource], options: IngestOptions, tracker: ProgressTracker, findings: TableFindings
    ) -> None:
        self._sources, self._options, self._tracker = sources, options, tracker
        self._findings = findings
        self._roles: ColumnRoles
        self._features: list[FeatureStats] = []
        self._texts: dict[str, TextStats] = {}
        self._missing: dict[str, MissingValues] = {}
        self._label_encoder: LabelEncoder | None = None
        self._rows = self._rows_without_target = 0
        self._repeated_names: list[int] = []
        self._infinite: dict[str, int] = {}
        self._last_row: tuple[int, pa.RecordBatch] | None = None
        self._unsupported_note: str | None = None

    @property
    def _cleans(self) -> bool:
        return self._options.cleaning == "auto"

    def store(self, directory: Path) -> DatasetContent:
        """Write the table, then its targets and weights.

        Raises as `store_table`, and ColumnTypesChanged and _FindingsChanged if the table has to be read again.
        """
        path = directory / "table.arrow"
        table = self._adopt_file(path) or durable_files.write_file(path, self._write)
        if not self._rows and not self._rows_without_target:
            raise InvalidInput("file", "There is no data: the table has no rows.")
        findings, problems = infer_from_texts(self._findings, self._count_texts(), self._roles, self._options)
        if not problems and replace(findings, notes=()) != replace(self._findings, notes=()):
            table.unlink()
            raise _FindingsChanged(findings)
        self._findings = findings
        problems += [
            ("file", f"{missing.describe()} Targets, labels and weights must not be missing.")
            for missing in self._missing.values()
            if missing.count and not self._cleans
        ]
        if not self._cleans:
            problems += find_problems(self._features, self._options)
        if not self._rows:
            problems.append(("file", "No row has a target."))
        if problems:
            (first_field, first), *others = problems
            raise InvalidInput(first_field, first, *others)
        features, notes = self._build_columns()
        targets = store_targets(table, self._rows, self._roles, self._label_encoder)
        if self._label_encoder is not None:
            notes += self._label_encoder.notes
        return DatasetContent(
            rows=self._rows,
            inputs=sum(column.inputs for column in features),
            bytes=sum(file.stat().st_size for file in directory.iterdir()),
            magnitude=max(targets.magnitude, *(feature.magnitude for feature in self._features)),
            weighted=self._roles.weight is not None,
            features=features,
            target_columns=self._roles.target_columns,
            weight=self._roles.weight,
            notes=tuple(notes),
            **vars(targets),
        )

    def _count_texts(self) -> TextCounts:
        last_row: tuple[int, dict[str, str]] = (0, {})
        if self._last_row is not None:
            number, batch = self._last_row
            texts = [
                (feature, batch.column(feature.name)[0].as_py())
                for feature in self._features
                if is_text(batch.schema.field(feature.name).type)
            ]
            last_row = (
                number,
                {
                    feature.name: text
                    for feature, text in texts
                    if text is not None and feature.counts.get(format_category(text)) == 1
                },
            )
        return TextCounts(
            self._texts,
            sum(feature.type == "number" for feature in self._features),
            self._repeated_names,
            last_row,
            comma_separates_cells=all(source.comma_separates_cells for source in self._sources),
        )

    def _build_columns(self) -> tuple[tuple[Column, ...], list[str]]:
        """Return the feature columns, and notes about how the data were read."""
        notes = [*self._findings.notes, *(() if self._unsupported_note is None else (self._unsupported_note,))]
        if self._rows_without_target:
            rows = self._rows_without_target
            lacking = "a target" if self._roles.weight is None else "a target or a weight"
            notes.append(
                f"{rows} {'row' if rows == 1 else 'rows'} without {lacking} {'is' if rows == 1 else 'are'} left out."
            )
        if self._infinite:
            listed = format_names([f"{quote(name)} ({count})" for name, count in self._infinite.items()])
            notes.append(f"Infinite numbers count as missing: {listed}.")
        cleaning_notes: list[str] = []
        if self._cleans:
            columns, cleaning_notes = clean_columns(self._features, self._rows, self._options)
        else:
            columns = build_columns(self._features, self._options)
        kept = {column.name for column in columns}
        spellings = [
            note for feature in self._features if feature.name in kept for note in feature.describe_spellings()
        ]
        return columns, [*notes, *spellings, *cleaning_notes]

    def _adopt_file(self, path: Path) -> Path | None:
        """Link the only file as `path` and return its final path; None if it must be copied."""
        source, *others = self._sources
        if source.zero_copy_path is None or others or self._options.drop_rows or self._cleans:
            return None
        file, schema = source.zero_copy_path
        if not self._begin(schema, source.field).schema.equals(schema):
            return None
        for _ in self._measured_batches():
            pass
        return durable_files.link_with_digest(file, path)

    def _write(self, sink: durable_files.Sink) -> None:
        with closing(self._measured_batches()) as batches:
            first = next(batches, None)
            if first is not None:
                write_arrow_file(sink, first.schema, chain((first,), batches))

    def _measured_batches(self) -> Generator[pa.RecordBatch]:
        """Yield the batches to store. Other threads read and measure ahead, so that writing does not wait for them."""
        with closing(map_ordered(self._measure, self._source_batches(), MAX_THREADS)) as measured_batches:
            for measured in measured_batches:
                self._add(measured)
                yield measured.batch

    def _source_batches(self) -> Iterator[_SourceBatch]:
        schema: TableSchema | None = None
        first_row, hints = 0, self._findings.hints
        for source in self._sources:
            for batch in source.read_batches(hints):
                if schema is None:
                    schema = self._begin(batch.schema, source.field)
                    # What is text in the first file is not a number in the next.
                    texts = {column.name: pa.string() for column in batch.schema if is_text(column.type)}
                    hints = replace(hints, types={**texts, **hints.types})
                yield _SourceBatch(batch, source.field, schema, first_row)
                first_row += len(batch)

    def _begin(self, source_schema: pa.Schema, field: str) -> TableSchema:
        options, findings = self._options, self._findings
        declared = declared_categories(source_schema)
        if self._cleans:
            options = self._exclude_unsupported(source_schema, options)
        roles = assign_roles(source_schema.names, options)
        categoricals: dict[str, ColumnType] = {name: "category" for name in declared if name in roles.features}
        self._options = options = replace(options, types={**categoricals, **options.types})
        found: dict[str, ColumnType] = dict.fromkeys(findings.formats.dates, "date")
        found |= dict.fromkeys(findings.formats.booleans, "boolean")
        self._roles = replace(roles, types={**categoricals, **found, **roles.types})
        table_schema = TableSchema(
            source_schema,
            field,
            self._roles,
            findings.hints.types,
            formats=findings.formats,
            # Rows to leave out may hold texts that are not numbers; those in other rows the first pass has reported.
            invalid_is_missing=self._cleans or bool(options.drop_rows),
            null_values=options.null_values,
        )
        stored = table_schema.schema
        self._features = [
            self._new_feature(stored.field(name), declared.get(name, ())) for name in self._roles.features
        ]
        examined = {feature.name for feature in self._features if feature.type == "category"}
        examined |= {*self._roles.required}
        self._texts = {
            name: TextStats()
            for name in sorted(examined)
            if is_text(stored.field(name).type) and options.types.get(name, "number") in ("number", "date")
        }
        self._missing = {
            name: MissingValues(name, findings.missing_texts.get(name, ())) for name in self._roles.required
        }
        if self._roles.label is not None:
            self._label_encoder = LabelEncoder(
                "label",
                options.classes or declared.get(self._roles.label) or None,
                table_row_error(self._roles.label),
                has_typed_text=all(source.has_typed_text for source in self._sources),
            )
        return table_schema

    def _exclude_unsupported(self, source_schema: pa.Schema, options: IngestOptions) -> IngestOptions:
        """Return the options with columns excluded that cannot be stored and are not named, and note these."""
        named = {*(options.features or ()), *options.target, options.label, options.weight, *options.exclude}
        unsupported = [
            column for column in source_schema if storage_type(column.type) is None and column.name not in named
        ]
        if unsupported:
            listed = format_names([f"{quote(column.name)} ({shorten(str(column.type))})" for column in unsupported])
            self._unsupported_note = f"These columns are left out, since their types are not supported: {listed}."
        return replace(options, exclude=(*options.exclude, *(column.name for column in unsupported)))

    def _new_feature(self, column: pa.Field, declared: tuple[str, ...]) -> FeatureStats:
        requested = self._options.types.get(column.name)
        formats = self._findings.formats
        if requested in ("number", "date") and is_text(column.type):  # only known after this pass
            requested = None
        if column.name in formats.dates:
            requested = "date"
        return FeatureStats(
            column,
            requested,
            self._findings.missing_texts.get(column.name, ()),
            declared,
            max_categories=MAX_REQUESTED_CATEGORIES if self._cleans else MAX_CATEGORIES,
            decimal=formats.numbers.get(column.name, NumberFormat()).decimal,
            date_order=formats.dates.get(column.name, "year_first"),
        )

    def _measure(self, source: _SourceBatch) -> _MeasuredBatch:
        """Convert and measure a batch, in any thread."""
        batch = source.schema.conform(source.batch, source.field, source.first_row)
        uncleaned = batch
        infinite: Mapping[str, int] = {}
        if self._cleans:
            batch, infinite = clean_batch(batch, self._roles)
        positions, without_target = self._select_rows(batch, source.first_row)
        if positions is not None:
            batch, uncleaned = (rows.take(pa.array(positions)) for rows in (batch, uncleaned))
        repeated_names = [
            source.first_row + row + 1
            for row in find_repeated_names(source.batch)
            if positions is None or row in positions
        ]

        def to_source_rows(rows: RowIndices) -> RowIndices:
            return rows if positions is None else positions[rows]

        features = []
        for feature in self._features:
            stats = feature.measure(batch.column(feature.name), source.first_row)
            features.append(replace(stats, missing_rows=to_source_rows(stats.missing_rows)))
        texts = {
            name: count_texts(uncleaned.column(name), source.first_row, positions)
            for name, stats in self._texts.items()
            if not stats.is_plain_text
        }
        missing_rows = {name: to_source_rows(find_missing_rows(batch.column(name))) for name in self._missing}
        labels = None
        if self._roles.label is not None and not any(map(len, missing_rows.values())):
            # Otherwise the missing value is reported, not the labels.
            labels = read_labels(batch.column(self._roles.label))
        last_row = source.first_row + (len(batch) if positions is None else int(positions[-1:].sum()) + 1)
        return _MeasuredBatch(
            batch,
            source.first_row,
            last_row,
            features,
            texts,
            missing_rows,
            labels,
            without_target,
            infinite,
            repeated_names,
        )

    def _select_rows(self, batch: pa.RecordBatch, first_row: int) -> tuple[RowIndices | None, int]:
        """Return the positions of the rows to keep, None for all; and how many have no target and are left out."""
        options = self._options
        is_kept = np.ones(len(batch), np.bool_)
        if left_out := options.drop_rows | self._findings.left_out_rows:
            dropped = np.array(sorted(left_out), np.int64) - 1 - first_row
            is_kept[dropped[(dropped >= 0) & (dropped < len(batch))]] = False
        without_target = 0
        if self._cleans and not options.unlabeled:
            for name in self._roles.required:
                missing = find_missing_rows(batch.column(name))
                without_target += int(is_kept[missing].sum())
                is_kept[missing] = False
        return (None if is_kept.all() else np.flatnonzero(is_kept)), without_target

    def _add(self, measured: _MeasuredBatch) -> None:
        """Add the statistics of a batch, in the order of the rows."""
        for feature, stats in zip(self._features, measured.features, strict=True):
            feature.add(stats, measured.first_row)
        for name, chunk in measured.texts.items():
            self._texts[name].add(chunk)
        for column, rows in measured.missing_rows.items():
            self._missing[column].add(rows, measured.first_row)
        if self._label_encoder is not None and measured.labels is not None:
            self._label_encoder.add(measured.labels)
        if len(measured.batch):
            self._last_row = measured.last_row, measured.batch.slice(len(measured.batch) - 1)
        self._rows += len(measured.batch)
        self._rows_without_target += measured.rows_without_target
        self._repeated_names += measured.repeated_names[: _MAX_REPEATED_NAMES - len(self._repeated_names)]
        for name, count in measured.infinite.items():
            self._infinite[name] = self._infinite.get(name, 0) + count
        self._tracker.add_rows(len(measured.batch))
