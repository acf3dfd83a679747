"""The roles of a table's columns, the schema in which the table is stored, and the conversion of batches to it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa
import pyarrow.compute
import pyarrow.types

from nabla.engine.data.ingest.column_names import list_columns
from nabla.engine.data.ingest.formats.types import (
    ColumnTypes,
    ColumnTypesChanged,
    common_type,
    is_date,
    is_number,
    is_text,
    storage_type,
)
from nabla.engine.data.ingest.number_columns import parse_numbers
from nabla.engine.data.ingest.validation import RowError, table_row_error
from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.schema import ColumnType, format_category
from nabla.engine.data.table_features import TICKS_PER_DAY
from nabla.engine.data.text_formats import (
    CENTURIES,
    DATE_PARTS,
    MISSING_SPELLINGS,
    PADDINGS,
    DateOrder,
    NumberFormat,
    parse_date,
)
from nabla.engine.errors import InvalidInput, quote

# Days since 1970-01-01 of the first day of year 1 and of year 10000.
_FIRST_DAY, _END_DAY = -719_162, 2_932_897
_TIME_ZONE = r":\d\d(\.\d+)?([Zz]|[+-]\d\d(:?\d\d)?)$"

NULL_TYPES: Mapping[ColumnType, pa.DataType] = {
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.timestamp("us"),
    "category": pa.string(),
}
"""Types of columns without any value, for which Arrow infers none."""

_Conversion = Callable[[pa.Array], pa.Array]
"""Raises ArrowInvalid if a value cannot be converted."""


@dataclass(frozen=True)
class ColumnRoles:
    """Names of columns by their roles.

    Attributes:
        types: Types that are requested for columns; the others keep the type of the data.
    """

    features: tuple[str, ...]
    targets: tuple[str, ...]
    label: str | None
    weight: str | None
    types: Mapping[str, ColumnType]

    @property
    def target_columns(self) -> tuple[str, ...]:
        """The columns to learn: targets or label."""
        return self.targets if self.label is None else (self.label,)

    @property
    def required(self) -> tuple[str, ...]:
        """The columns whose values must all be present: those to learn and the weight."""
        return (*self.target_columns, *(() if self.weight is None else (self.weight,)))

    @property
    def used(self) -> frozenset[str]:
        """All columns that have a role."""
        return frozenset((*self.features, *self.required))


def assign_roles(names: Sequence[str], options: IngestOptions) -> ColumnRoles:
    """Return the roles of the columns with these names. Raises InvalidInput, naming the option that does not fit."""
    if not options.unlabeled and bool(options.target) == (options.label is not None):
        raise InvalidInput(
            "target",
            "Name the columns to learn: target=COLUMN for numbers (several separated by commas) or label=COLUMN for "
            "classes; or set unlabeled=true for rows without targets, which can only be predicted. "
            f"{list_columns(names)}",
        )
    _check_names_in_options(names, options)
    roles = ColumnRoles((), options.target, options.label, options.weight, {})
    if options.weight in roles.target_columns:
        raise InvalidInput("weight", f"The column {quote(options.weight)} is a target or label; name another one.")
    required = set(roles.required)
    for name in options.features or ():
        if name in required:
            raise InvalidInput(
                "features", f"The column {quote(name)} is a target, the label or the weight, so it cannot be a feature."
            )
    for name in options.types:
        if name in required:
            raise InvalidInput(
                f"types.{name}", "Types are for features; this column is a target, the label or the weight."
            )
    features = tuple(name for name in names if name not in required) if options.features is None else options.features
    features = tuple(name for name in features if name not in options.exclude)
    if not features:
        raise InvalidInput(
            "features" if options.features is not None else "target", "No column is left for the features."
        )
    for name in options.types.keys() - set(features):
        raise InvalidInput(f"types.{name}", f"The column {quote(name)} is not a feature.")
    numeric = [*options.target, *(() if options.weight is None else (options.weight,))]
    types: dict[str, ColumnType] = {**options.types, **dict.fromkeys(numeric, "number")}
    return ColumnRoles(features, options.target, options.label, options.weight, types)


def _check_names_in_options(names: Sequence[str], options: IngestOptions) -> None:
    """Raise InvalidInput for an option that names an unknown column, or one column twice."""
    known = set(names)
    options_names: dict[str, tuple[str, ...]] = {
        "target": options.target,
        "label": () if options.label is None else (options.label,),
        "weight": () if options.weight is None else (options.weight,),
        "features": options.features or (),
        "types": tuple(options.types),
        "exclude": options.exclude,
        "imputation": tuple(options.imputation) if isinstance(options.imputation, dict) else (),
        "constants": tuple(options.constants),
    }
    for option, option_names in options_names.items():
        seen: set[str] = set()
        for name in option_names:
            if name not in known:
                raise InvalidInput(option, f"There is no column {quote(name)}. {list_columns(names)}")
            if name in seen:
                raise InvalidInput(option, f"The column {quote(name)} is named twice.")
            seen.add(name)


@dataclass(frozen=True)
class TextFormats:
    """How text columns are read that are not text: as numbers, dates or booleans.

    Attributes:
        numbers: Columns of numbers, each with their format.
        dates: Columns of dates, each with the order of their parts.
        times: Columns of dates that have a time of day.
        booleans: Columns of booleans.
        null_values: Texts of single columns that stand for a missing value.
    """

    numbers: Mapping[str, NumberFormat] = field(default_factory=dict)
    dates: Mapping[str, DateOrder] = field(default_factory=dict)
    times: frozenset[str] = frozenset()
    booleans: frozenset[str] = frozenset()
    null_values: Mapping[str, frozenset[str]] = field(default_factory=dict)

    def with_numbers(self, numbers: Mapping[str, NumberFormat]) -> "TextFormats":
        """Return the same with more columns of numbers."""
        return replace(self, numbers={**self.numbers, **numbers})

    def with_dates(self, name: str, order: DateOrder, *, has_time: bool) -> "TextFormats":
        """Return the same with another column of dates."""
        times = self.times | {name} if has_time else self.times
        return replace(self, dates={**self.dates, name: order}, times=times)

    def with_booleans(self, name: str) -> "TextFormats":
        """Return the same with another column of booleans."""
        return replace(self, booleans=self.booleans | {name})

    def with_null_values(self, name: str, texts: frozenset[str]) -> "TextFormats":
        """Return the same with texts of a column that stand for a missing value."""
        return replace(self, null_values={**self.null_values, name: texts})


class TableSchema:
    """The columns of a table as they are stored."""

    def __init__(
        self,
        source_schema: pa.Schema,
        field: str,
        roles: ColumnRoles,
        known_types: ColumnTypes,
        row_error: Callable[[str], RowError] = table_row_error,
        *,
        formats: TextFormats = TextFormats(),
        invalid_is_missing: bool = False,
        null_values: Sequence[str] = (),
    ) -> None:
        """Derive the schema from that of the first batch.

        Args:
            source_schema: The schema of the first batch.
            field: Field to name in errors about it.
            roles: Roles of the columns.
            known_types: Types that an earlier pass over the table has shown to be necessary.
            row_error: Creates the errors about a row of a column.
            formats: Text columns that are numbers, dates or booleans.
            invalid_is_missing: Whether texts that are not numbers or dates are missing where these are expected.
            null_values: Texts that stand for a missing value, in all columns.

        Raises:
            InvalidInput: A column that is used cannot be stored, or not with the type that the roles state.
        """
        self._roles, self._row_error = roles, row_error
        self._formats, self._invalid_is_missing = formats, invalid_is_missing
        self._null_values = frozenset(null_values)
        self._read_types: dict[str, pa.DataType] = {}
        fields = []
        for column in source_schema:
            name, type_ = column.name, storage_type(column.type)
            if type_ is None:
                if name in roles.used:
                    raise _unsupported_column(column, field)
                continue
            requested = roles.types.get(name)
            if pyarrow.types.is_null(column.type) and requested is not None:
                type_ = NULL_TYPES[requested]
            self._read_types[name] = common_type(known_types[name], type_) if name in known_types else type_
            _check_learnable(self._read_types[name], name, roles)
            fields.append(pa.field(name, self._stored_type(name)))
        self._names = frozenset(source_schema.names)
        self.schema = pa.schema(fields)

    def conform(self, batch: pa.RecordBatch, field: str, first_row: int) -> pa.RecordBatch:
        """Return the same rows in this schema.

        Raises:
            InvalidInput: A value cannot be converted; the error names row and column.
            ColumnTypesChanged: The table needs wider types.
        """
        if self._null_values or self._formats.null_values or not batch.schema.equals(self.schema):
            self._check_names(batch.schema.names, field)
            self._check_types(batch.schema, field)
            columns = []
            for column in self.schema:
                values = _widen(batch.column(column.name), self._read_types[column.name], field, column.name)
                null_values = self._null_values | self._formats.null_values.get(column.name, frozenset())
                if null_values and is_text(values.type):
                    values = replace_null_values(values, null_values)
                convert = self._select_conversion(values.type, column)
                columns.append(_convert(values, column.type, convert, first_row, self._row_error(column.name)))
            batch = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        self._check_dates(batch, first_row)
        return batch

    def _select_conversion(self, source: pa.DataType, column: pa.Field) -> _Conversion:
        target = column.type
        if is_date(target):
            order = self._formats.dates.get(column.name, "year_first")
            return lambda values: _to_dates(values, order, invalid_is_missing=self._invalid_is_missing).cast(target)
        if pyarrow.types.is_boolean(target) and is_number(source):
            return _to_booleans
        if pyarrow.types.is_boolean(target) and is_text(source):
            return _text_to_booleans
        if is_text(target) and pyarrow.types.is_floating(source):
            return _to_categories
        if is_text(source) and pyarrow.types.is_floating(target):
            format = self._formats.numbers.get(column.name, NumberFormat())
            return lambda values: parse_numbers(values, format, invalid_is_missing=self._invalid_is_missing)
        if is_text(source):
            return lambda values: pa.compute.cast(_blank_to_null(values), target)
        return lambda values: pa.compute.cast(values, target)

    def _stored_type(self, name: str) -> pa.DataType:
        """Return the type to store a column as. Raises InvalidInput if a requested type does not fit."""
        type_, requested = self._read_types[name], self._roles.types.get(name)
        if is_text(type_):
            if name in self._formats.numbers:
                return pa.float64()
            if name in self._formats.dates:
                return pa.timestamp("us") if name in self._formats.times else pa.date32()
            if name in self._formats.booleans:
                return pa.bool_()
            if requested in ("number", "date"):  # how they are written is found out first
                return type_
        return _requested_type(type_, requested, name)

    def _check_names(self, names: list[str], field: str) -> None:
        if frozenset(names) != self._names:
            name = min(self._names.symmetric_difference(names))
            raise InvalidInput(
                field,
                f"The column {quote(name)} is not in all files; all must have the same columns. {list_columns(names)}",
            )

    def _check_types(self, source_schema: pa.Schema, field: str) -> None:
        changed = {}
        for name, type_ in self._read_types.items():
            column = source_schema.field(name)
            other = storage_type(column.type)
            if other is None:
                raise _unsupported_column(column, field)
            if not pyarrow.types.is_null(column.type) and common_type(type_, other) != type_:
                changed[name] = common_type(type_, other)
        if changed:
            raise ColumnTypesChanged(changed)

    def _check_dates(self, batch: pa.RecordBatch, first_row: int) -> None:
        """Raise InvalidInput for a date, in a column with or without a role, that Python and ISO 8601 do not have."""
        for column in self.schema:
            if is_date(column.type):
                _check_years(batch.column(column.name), first_row, self._row_error(column.name))


def _unsupported_column(column: pa.Field, field: str) -> InvalidInput:
    return InvalidInput(
        field,
        f"The column {quote(column.name)} holds {column.type}, which is not supported; leave it out with features.",
    )


def _check_learnable(type_: pa.DataType, name: str, roles: ColumnRoles) -> None:
    if is_date(type_) and (name in roles.targets or name == roles.weight):
        field = "weight" if name == roles.weight else "target"
        raise InvalidInput(field, f"The column {quote(name)} holds dates; a column of numbers is expected.")


def _requested_type(type_: pa.DataType, requested: ColumnType | None, name: str) -> pa.DataType:
    """Return the type to store a column as. Raises InvalidInput if the requested type does not fit."""
    match requested:
        case "number" if pyarrow.types.is_boolean(type_):
            return pa.float64()
        case "boolean" if is_text(type_) or is_number(type_):
            return pa.bool_()
        case "category" if is_date(type_) or pyarrow.types.is_floating(type_):
            return pa.string()
        case "number" | "boolean" if is_date(type_):
            raise InvalidInput(f"types.{name}", f"The column {quote(name)} holds dates; accepted: date, category.")
        case "date" if not is_date(type_):
            raise InvalidInput(f"types.{name}", f"The column {quote(name)} holds {type_}, not dates.")
    return type_


def _widen(values: pa.Array, type_: pa.DataType, field: str, name: str) -> pa.Array:
    """Return values of a batch in the type that all batches share."""
    if values.type == type_:
        return values
    if is_text(type_) and not (is_text(values.type) or pyarrow.types.is_null(values.type)):
        raise InvalidInput(field, f"The column {quote(name)} holds text in some rows and {values.type} in others.")
    try:
        if pyarrow.types.is_timestamp(values.type) and values.type.unit == "ns" and pyarrow.types.is_timestamp(type_):
            return values.cast(type_, safe=False)  # truncates to microseconds
        return values.cast(type_)
    except pa.ArrowInvalid as error:
        raise InvalidInput(field, f"The column {quote(name)} holds values that are not {type_}: {error}.") from error


def _check_years(values: pa.Array, first_row: int, row_error: RowError) -> None:
    if pyarrow.types.is_date32(values.type):
        ticks, ticks_per_day = values.cast(pa.int32()).cast(pa.int64()), 1
    else:
        ticks, ticks_per_day = values.cast(pa.int64()), TICKS_PER_DAY[values.type.unit]
    is_valid = pa.compute.and_(
        pa.compute.greater_equal(ticks, _FIRST_DAY * ticks_per_day), pa.compute.less(ticks, _END_DAY * ticks_per_day)
    )
    row = pa.compute.index(is_valid, False).as_py()
    if row >= 0:
        raise row_error(first_row + row, "The date is outside the accepted years 1 to 9999.")


def _convert(
    values: pa.Array, type_: pa.DataType, convert: _Conversion, first_row: int, row_error: RowError
) -> pa.Array:
    if values.type == type_:
        return values
    try:
        return convert(values)
    except pa.ArrowInvalid:
        row = _find_first_invalid(values, convert)
        raise row_error(
            first_row + row, f"The value is {quote(values[row].as_py())}; {_describe_type(type_)} is expected."
        ) from None


def _describe_type(type_: pa.DataType) -> str:
    if pyarrow.types.is_boolean(type_):
        return "true or false"
    return "a date such as 2026-01-31" if is_date(type_) else "a number"


def replace_null_values(texts: pa.Array, null_values: Iterable[str]) -> pa.Array:
    """Return texts with the given ones, in any case and with any blanks around them, missing."""
    null_texts = pa.array([text.strip().lower() for text in null_values], pa.string())
    normalized = pa.compute.utf8_lower(pa.compute.utf8_trim_whitespace(texts))
    is_null = pa.compute.is_in(normalized, null_texts.cast(normalized.type))
    return pa.compute.if_else(is_null, pa.scalar(None, texts.type), texts)


def _blank_to_null(texts: pa.Array) -> pa.Array:
    """Return texts without surrounding white space, and missing where nothing is left."""
    trimmed = pa.compute.utf8_trim_whitespace(texts)
    return pa.compute.if_else(pa.compute.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)


def _to_dates(texts: pa.Array, order: DateOrder, *, invalid_is_missing: bool) -> pa.Array:
    """Return texts as times, those with a time zone in UTC, and others unchanged.

    Spellings of missing values are missing, and with `invalid_is_missing` all that is not a date, such as 2023-02-30.
    """
    texts = pa.compute.utf8_trim_whitespace(replace_null_values(texts, MISSING_SPELLINGS))
    for known_order in dict.fromkeys((order, "year_first")):
        texts = pa.compute.replace_substring_regex(texts, *DATE_PARTS[known_order])
    for pattern, replacement in CENTURIES:
        texts = pa.compute.replace_substring_regex(texts, pattern, replacement)
    for pattern, rest in PADDINGS:
        texts = pa.compute.replace_substring_regex(texts, pattern, rf"\10{rest}")
    try:
        return _iso_to_times(texts)
    except pa.ArrowInvalid:
        if not invalid_is_missing:
            raise
    dates = [None if text is None or parse_date(text) is None else text for text in texts.to_pylist()]
    return _iso_to_times(pa.array(dates, texts.type))


def _iso_to_times(texts: pa.Array) -> pa.Array:
    null = pa.scalar(None, texts.type)
    has_zone = pa.compute.match_substring_regex(texts, _TIME_ZONE)
    with_zone = pa.compute.if_else(has_zone, texts, null).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    return pa.compute.coalesce(with_zone, pa.compute.if_else(has_zone, null, texts).cast(pa.timestamp("us")))


def _to_categories(numbers: pa.Array) -> pa.Array:
    """Return floating-point numbers as names of categories; NaN is missing. float32 has its shortest decimal form."""
    encoded = numbers.dictionary_encode()
    names = [
        None if number != number else format_category(float(str(number))) for number in encoded.dictionary.to_numpy()
    ]
    return pa.array(names, pa.string()).take(encoded.indices)


def _to_booleans(numbers: pa.Array) -> pa.Array:
    is_valid = pa.compute.is_in(numbers, pa.array([0, 1], numbers.type))
    if not pa.compute.all(pa.compute.or_kleene(is_valid, numbers.is_null()), min_count=0).as_py():
        raise pa.ArrowInvalid("neither 0 nor 1")
    return numbers.cast(pa.bool_())


def _text_to_booleans(texts: pa.Array) -> pa.Array:
    digits = pa.compute.replace_substring_regex(_blank_to_null(texts), r"^([01])\.0*$", r"\1")
    return pa.compute.utf8_lower(digits).cast(pa.bool_())


def _find_first_invalid(values: pa.Array, convert: _Conversion) -> int:
    """Return the index of the first value that cannot be converted, by bisection."""
    start, length = 0, len(values)
    while length > 1:
        half = length // 2
        try:
            convert(values.slice(start, half))
        except pa.ArrowInvalid:
            length = half
        else:
            start, length = start + half, length - half
    return start
