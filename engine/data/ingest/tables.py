"""Ingest of tables: all sources are read in batches, measured, and stored as one Arrow file, with targets beside it.

The types of columns are inferred from the first rows. If later rows do not fit, reading starts again with wider types.
"""

import math
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import date
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from nabla.engine import durable_files
from nabla.engine.data.arrow_io import write_arrow_file
from nabla.engine.data.dataset import write_npy
from nabla.engine.data.ingest.column_stats import ColumnChunkStats, FeatureStats, MissingValues, find_missing_rows
from nabla.engine.data.ingest.formats.arrow import iter_mapped_batches
from nabla.engine.data.ingest.formats.types import ColumnTypes, ColumnTypesChanged, to_numpy
from nabla.engine.data.ingest.prefetch import MAX_THREADS, map_ordered
from nabla.engine.data.ingest.table_schema import ColumnRoles, TableSchema, assign_roles
from nabla.engine.data.ingest.validation import (
    DistributionDetector,
    LabelEncoder,
    NumberValidator,
    WeightValidator,
    table_row_error,
)
from nabla.engine.data.ingest_options import NO_TARGETS, DatasetContent, IngestOptions, ProgressTracker, TargetSummary
from nabla.engine.data.schema import (
    Column,
    ColumnType,
    ImputationStrategy,
    format_category,
    format_names,
    sort_categories,
)
from nabla.engine.errors import InvalidInput, quote, shorten
from nabla.engine.typing import AnyArray, Float64Array, RowIndices

# Maximum passes over a table, each of which may find wider types.
_MAX_ATTEMPTS = 10
_MAX_COLUMNS_REPORTED = 20
_NUMERIC_TYPES: tuple[ColumnType, ...] = ("number", "date")

_IterBatches = Callable[[], Iterator[tuple[int, pa.RecordBatch]]]
"""Yields batches, each with the number of its first row; may be called several times."""


@dataclass(frozen=True)
class RowSource:
    """A source of rows.

    Attributes:
        field: Field to name in errors.
        read_batches: Yields all rows; takes the known types of columns.
        zero_copy_path: A file that can be linked instead of copied, and its schema, if no column is to be converted.
        has_typed_text: Whether text is known to be text, and no number of a format without types, such as CSV.
    """

    field: str
    read_batches: Callable[[ColumnTypes], Iterator[pa.RecordBatch]]
    zero_copy_path: tuple[Path, pa.Schema] | None = None
    has_typed_text: bool = True


def store_table(
    sources: Sequence[RowSource], options: IngestOptions, directory: Path, tracker: ProgressTracker
) -> DatasetContent:
    """Store the rows of all sources in `directory`. Raises InvalidInput, TooLarge, StorageFailed."""
    known_types: dict[str, pa.DataType] = {}
    for _ in range(_MAX_ATTEMPTS):
        tracker.reset()
        try:
            return _IngestAttempt(sources, options, tracker, known_types).store(directory)
        except ColumnTypesChanged as changed:
            known_types |= changed.types
    columns = format_names([shorten(name) for name in known_types])
    raise InvalidInput("file", f"The types of the columns {columns} change too often; state them with types.")


@dataclass(frozen=True)
class _SourceBatch:
    """A batch as it was read."""

    batch: pa.RecordBatch
    field: str
    schema: TableSchema
    first_row: int


@dataclass(frozen=True)
class _MeasuredBatch:
    """A batch in the table's schema, with the statistics of its columns and its distinct labels."""

    batch: pa.RecordBatch
    features: Sequence[ColumnChunkStats]
    missing_rows: Mapping[str, RowIndices]
    labels: pa.Array | None


class _IngestAttempt:
    """One pass over all sources with the types of columns that are known so far."""

    def __init__(
        self,
        sources: Sequence[RowSource],
        options: IngestOptions,
        tracker: ProgressTracker,
        known_types: ColumnTypes,
    ) -> None:
        self._sources, self._options, self._tracker = sources, options, tracker
        self._known_types = known_types
        self._roles: ColumnRoles
        self._features: list[FeatureStats] = []
        self._missing: dict[str, MissingValues] = {}
        self._label_encoder: LabelEncoder | None = None
        self._rows = 0

    def store(self, directory: Path) -> DatasetContent:
        """Write the table, then its targets and weights. Raises as `store_table`, and ColumnTypesChanged."""
        path = directory / "table.arrow"
        table = self._adopt_file(path) or durable_files.write_file(path, self._write)
        if not self._rows:
            raise InvalidInput("file", "There is no data: the table has no rows.")
        for missing in self._missing.values():
            if missing.count:
                raise InvalidInput("file", f"{missing.describe()} Targets, labels and weights must not be missing.")
        features = _build_columns(self._features, self._options)
        targets = self._store_targets(table)
        return DatasetContent(
            rows=self._rows,
            inputs=sum(column.inputs for column in features),
            bytes=sum(file.stat().st_size for file in directory.iterdir()),
            magnitude=max(targets.magnitude, *(feature.magnitude for feature in self._features)),
            weighted=self._roles.weight is not None,
            features=features,
            target_columns=self._roles.target_columns,
            weight=self._roles.weight,
            **vars(targets),
        )

    def _adopt_file(self, path: Path) -> Path | None:
        """Link the only file as `path` and return its final path; None if it must be copied."""
        source, *others = self._sources
        if source.zero_copy_path is None or others:
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
        first_row = 0
        for source in self._sources:
            for batch in source.read_batches(self._known_types):
                schema = schema or self._begin(batch.schema, source.field)
                yield _SourceBatch(batch, source.field, schema, first_row)
                first_row += len(batch)

    def _begin(self, source_schema: pa.Schema, field: str) -> TableSchema:
        self._roles = assign_roles(source_schema.names, self._options)
        table_schema = TableSchema(source_schema, field, self._roles, self._known_types)
        requested = self._options.types
        self._features = [
            FeatureStats(table_schema.schema.field(name), requested.get(name)) for name in self._roles.features
        ]
        self._missing = {name: MissingValues(name) for name in self._roles.required}
        if self._roles.label is not None:
            self._label_encoder = LabelEncoder(
                "label",
                self._options.classes,
                table_row_error(self._roles.label),
                has_typed_text=all(source.has_typed_text for source in self._sources),
            )
        return table_schema

    def _measure(self, source: _SourceBatch) -> _MeasuredBatch:
        """Convert and measure a batch, in any thread."""
        batch = source.schema.conform(source.batch, source.field, source.first_row)
        features = [feature.measure(batch.column(feature.name), source.first_row) for feature in self._features]
        missing_rows = {name: find_missing_rows(batch.column(name)) for name in self._missing}
        labels = None
        if self._label_encoder is not None and not any(map(len, missing_rows.values())):
            # Otherwise the missing value is reported, not the labels.
            labels = self._label_encoder.distinct_labels(batch.column(self._roles.label))
        return _MeasuredBatch(batch, features, missing_rows, labels)

    def _add(self, measured: _MeasuredBatch) -> None:
        """Add the statistics of a batch, in the order of the rows."""
        for feature, stats in zip(self._features, measured.features, strict=True):
            feature.add(stats, self._rows)
        for column, rows in measured.missing_rows.items():
            self._missing[column].add(rows, self._rows)
        if self._label_encoder is not None and measured.labels is not None:
            self._label_encoder.add(measured.labels)
        self._rows += len(measured.batch)
        self._tracker.add_rows(len(measured.batch))

    def _store_targets(self, table: Path) -> TargetSummary:
        """Write targets or labels, and weights, beside the table. Raises InvalidInput, StorageFailed."""
        directory, roles = table.parent, self._roles
        with pa.OSFile(str(table)) as file:
            names = pa.ipc.open_file(file).schema.names
        required = set(roles.required)
        columns = [index for index, name in enumerate(names) if name in required]
        iter_batches = partial(_iter_numbered_batches, table, columns)
        if roles.weight is not None:
            _store_weights(directory, self._rows, roles.weight, iter_batches)
        if self._options.unlabeled:
            return NO_TARGETS
        if roles.label is not None:
            assert self._label_encoder is not None
            return _store_codes(directory, self._rows, roles.label, self._label_encoder, iter_batches)
        return _store_target_numbers(directory, self._rows, roles.targets, iter_batches)


def _iter_numbered_batches(table: Path, columns: Sequence[int]) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Yield some columns of a stored table, each batch with the number of its first row."""
    first_row = 0
    for batch in iter_mapped_batches(table, columns):
        yield first_row, batch
        first_row += len(batch)


def _store_target_numbers(
    directory: Path, rows: int, names: tuple[str, ...], iter_batches: _IterBatches
) -> TargetSummary:
    numbers = NumberValidator(lambda row, column, message: table_row_error(names[column])(row, message))
    detector = DistributionDetector()

    def iter_blocks() -> Iterator[AnyArray]:
        for first_row, batch in iter_batches():
            block = np.column_stack([_column_to_float64(batch, name) for name in names])
            numbers.add(block, first_row)
            detector.add(block)
            yield block

    write_npy(directory / "targets.npy", np.dtype(np.float64), (rows, len(names)), iter_blocks())
    return TargetSummary(len(names), None, numbers.smallest, numbers.largest, detector.all_distributions)


def _store_codes(
    directory: Path, rows: int, name: str, encoder: LabelEncoder, iter_batches: _IterBatches
) -> TargetSummary:
    encoder.finish()
    codes = (encoder.encode(batch.column(name), first_row) for first_row, batch in iter_batches())
    write_npy(directory / "codes.npy", np.dtype(np.int32), (rows,), codes)
    return TargetSummary.from_classes(encoder.classes)


def _store_weights(directory: Path, rows: int, name: str, iter_batches: _IterBatches) -> None:
    validator = WeightValidator("weight", table_row_error(name))

    def iter_blocks() -> Iterator[AnyArray]:
        for first_row, batch in iter_batches():
            block = _column_to_float64(batch, name)
            validator.add(block, first_row)
            yield block
        validator.finish()

    write_npy(directory / "weights.npy", np.dtype(np.float64), (rows,), iter_blocks())


def _column_to_float64(batch: pa.RecordBatch, name: str) -> Float64Array:
    numbers: Float64Array = to_numpy(batch.column(name)).astype(np.float64, copy=False)
    return numbers


def _build_columns(features: Sequence[FeatureStats], options: IngestOptions) -> tuple[Column, ...]:
    """Return the feature columns.

    Raises InvalidInput if an imputation or constant does not fit a column, or a column has missing values and no
    imputation. Only unlabeled rows need none: the network that predicts them imputes them.
    """
    strategies = {feature.name: _select_imputation(feature, options) for feature in features}
    rejected = [feature for feature in features if feature.missing.count and strategies[feature.name] is None]
    if rejected and not options.unlabeled:
        first, *others = [("file", feature.missing.describe()) for feature in rejected[:_MAX_COLUMNS_REPORTED]]
        hint = "Set imputation for it (mean, median, most_frequent or constant), or leave the column out."
        raise InvalidInput(first[0], f"{first[1]} {hint}", *others)
    for name in options.constants:
        if strategies.get(name) != "constant":
            raise InvalidInput(
                f"constants.{name}", f"A constant needs the imputation constant; {quote(name)} has another or none."
            )
    return tuple(_build_column(feature, strategies[feature.name], options) for feature in features)


def _select_imputation(feature: FeatureStats, options: IngestOptions) -> ImputationStrategy | None:
    """Return how a column is imputed; a strategy for all columns is adapted to the type of this one."""
    is_numeric = feature.type in _NUMERIC_TYPES
    if isinstance(options.imputation, dict):
        strategy = options.imputation.get(feature.name)
        if strategy in ("mean", "median") and not is_numeric:
            raise InvalidInput(
                f"imputation.{feature.name}",
                f"The column {quote(feature.name)} is a {feature.type} and has no {strategy}; accepted: "
                "most_frequent, constant.",
            )
        return strategy
    if options.imputation is None:
        return None
    if options.imputation == "constant":
        if feature.name in options.constants:
            return "constant"
        return None if is_numeric else "most_frequent"
    if not is_numeric:
        return "constant" if feature.name in options.constants else "most_frequent"
    return options.imputation


def _build_column(feature: FeatureStats, strategy: ImputationStrategy | None, options: IngestOptions) -> Column:
    constant = _validate_constant(feature, options) if strategy == "constant" else None
    categories = feature.categories
    if feature.type == "category":
        if isinstance(constant, str) and constant not in categories:
            categories = sort_categories((*categories, constant))
        if not categories and not options.unlabeled:
            raise InvalidInput("file", f"The column {quote(feature.name)} has no value in any row; leave it out.")
    return Column(feature.name, feature.type, categories, feature.missing.count, strategy, constant)


def _validate_constant(feature: FeatureStats, options: IngestOptions) -> float | str:
    """Return the constant of a column in the form that is stored. Raises InvalidInput if it does not fit the type."""
    field = f"constants.{feature.name}"
    if feature.name not in options.constants:
        raise InvalidInput(field, f"State the constant for the missing values of {quote(feature.name)}.")
    value = options.constants[feature.name]
    match feature.type:
        case "number" if isinstance(value, str) or not math.isfinite(value):
            raise InvalidInput(
                field, f"The column {quote(feature.name)} holds numbers; the constant is {quote(value)}."
            )
        case "number":
            return float(value)
        case "boolean" if format_category(value) not in ("true", "false"):
            raise InvalidInput(
                field, f"The column {quote(feature.name)} holds true and false; the constant is {quote(value)}."
            )
        case "date":
            try:
                return date.fromisoformat(str(value)).isoformat()
            except ValueError:
                raise InvalidInput(field, f"Expected a date such as 2026-01-31, got {quote(value)}.") from None
    return format_category(value)
