"""Batches brought into the one shape that a table is stored in."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from nabla.engine.data.ingest.formats.types import (
    Types,
    TypesChanged,
    common,
    is_date,
    is_number,
    is_text,
    listed,
    shown,
    stored,
)
from nabla.engine.data.ingest.validation import Refusal, in_column
from nabla.engine.data.ingest_options import Reading
from nabla.engine.data.schema import ColumnType
from nabla.engine.data.schema import name as name_of
from nabla.engine.data.table_features import PER_DAY
from nabla.engine.errors import InvalidInput


@dataclass(frozen=True)
class Roles:
    """Names of columns. `types`: what those are to be that cannot be left to what they look like."""

    features: tuple[str, ...]
    targets: tuple[str, ...]
    label: str | None
    weight: str | None
    types: Mapping[str, ColumnType]

    @property
    def used(self) -> frozenset[str]:
        return frozenset((*self.features, *self.targets, *(each for each in (self.label, self.weight) if each)))


def as_text(reading: Reading) -> frozenset[str]:
    """Columns whose values are names even if they look like numbers: 007 is not 7."""
    return frozenset(
        (
            *(name for name, type in reading.types.items() if type == "category"),
            *(() if reading.label is None else (reading.label,)),
        )
    )


def roles(names: Sequence[str], reading: Reading) -> Roles:
    """Raises InvalidInput naming the option that does not fit the columns."""
    if not reading.unlabeled and bool(reading.target) == (reading.label is not None):
        raise InvalidInput(
            "target",
            "Name what to learn: target=COLUMN for numbers (several with commas), or label=COLUMN for classes; or say "
            f"unlabeled=true: then the rows have no answers, and can only be predicted. {listed(names)}",
        )
    known = set(names)
    for field, asked in _asked(reading):
        seen: set[str] = set()
        for name in asked:
            if name not in known:
                raise InvalidInput(field, f"There is no column called {shown(name)}. {listed(names)}")
            if name in seen:
                raise InvalidInput(field, f"The column {shown(name)} is named twice.")
            seen.add(name)
    answers = reading.target or (() if reading.label is None else (reading.label,))
    if reading.weight in answers:
        raise InvalidInput(
            "weight", f"The column {shown(reading.weight)} is to be learned; weights are in another one."
        )
    others = {*answers, *(() if reading.weight is None else (reading.weight,))}
    for name in reading.features or ():
        if name in others:
            raise InvalidInput(
                "features", f"The column {shown(name)} is to be learned, or is the weight; it is no input."
            )
    for name in others & reading.types.keys():
        raise InvalidInput(f"types.{name}", "Types are for inputs; this column is to be learned, or is the weight.")
    features = tuple(name for name in names if name not in others) if reading.features is None else reading.features
    if not features:
        raise InvalidInput(
            "features" if reading.features is not None else "target", "No column is left for the inputs."
        )
    for name in reading.types.keys() - set(features):
        raise InvalidInput(f"types.{name}", f"The column {shown(name)} is not among the inputs.")
    numbers = [*reading.target, *(() if reading.weight is None else (reading.weight,))]
    types: dict[str, ColumnType] = {**reading.types, **dict.fromkeys(numbers, "number")}
    return Roles(features, reading.target, reading.label, reading.weight, types)


def _asked(reading: Reading) -> list[tuple[str, tuple[str, ...]]]:
    fillings = tuple(reading.imputation) if isinstance(reading.imputation, dict) else ()
    return [
        ("target", reading.target),
        ("label", () if reading.label is None else (reading.label,)),
        ("weight", () if reading.weight is None else (reading.weight,)),
        ("features", reading.features or ()),
        ("types", tuple(reading.types)),
        ("imputation", fillings),
        ("constants", tuple(reading.constants)),
    ]


# Since 1970-01-01: the first day of year 1, and of year 10000.
_DAYS = -719_162, 2_932_897
_ZONE = r":\d\d(\.\d+)?([Zz]|[+-]\d\d(:?\d\d)?)$"


class Shape:
    """The columns of a table as they are stored. `known`: types that an earlier attempt has found; `refusal`: what says
    where in a column something is wrong."""

    def __init__(
        self,
        first: pa.Schema,
        field: str,
        roles: Roles,
        known: Types,
        refusal: Callable[[str], Refusal] = in_column,
    ) -> None:
        self._roles, self._refusal = roles, refusal
        self._read: dict[str, pa.DataType] = {}
        fields = []
        for column in first:
            type = stored(column.type)
            if type is None:
                if column.name in roles.used:
                    raise _not_stored(column, field)
                continue
            self._read[column.name] = common(known[column.name], type) if column.name in known else type
            _check_learned(self._read[column.name], column.name, roles)
            as_asked = _as_asked(self._read[column.name], roles.types.get(column.name), column.name)
            fields.append(pa.field(column.name, as_asked))
        self._names = frozenset(first.names)
        self.schema = pa.schema(fields)

    def conform(self, batch: pa.RecordBatch, field: str, first_row: int) -> pa.RecordBatch:
        """The same rows in this shape. Raises InvalidInput naming a row and a column; TypesChanged."""
        if batch.schema.equals(self.schema):
            self.check_dates(batch, first_row)
            return batch
        names = batch.schema.names
        if frozenset(names) != self._names:
            odd = next(iter(self._names.symmetric_difference(names)))
            raise InvalidInput(
                field, f"The column {shown(odd)} is not in all of the files; they must have the same. {listed(names)}"
            )
        self._check_types(batch.schema, field)
        columns = []
        for column in self.schema:
            values = batch.column(column.name)
            read = self._read[column.name]
            widened = _widened(values, read, field, column.name)
            columns.append(_converted(widened, column, first_row, self._refusal(column.name)))
        shaped = pa.RecordBatch.from_arrays(columns, schema=self.schema)
        self.check_dates(shaped, first_row)
        return shaped

    def check_dates(self, batch: pa.RecordBatch, first_row: int) -> None:
        """Raises InvalidInput naming a row and a column, used or not, whose date no calendar has."""
        for column in self.schema:
            if is_date(column.type):
                _check_years(batch.column(column.name), first_row, self._refusal(column.name))

    def _check_types(self, found: pa.Schema, field: str) -> None:
        changed = {}
        for name, type in self._read.items():
            column = found.field(name)
            other = stored(column.type)
            if other is None:
                raise _not_stored(column, field)
            if not kinds.is_null(column.type) and common(type, other) != type:
                changed[name] = common(type, other)
        if changed:
            raise TypesChanged(changed)


def _not_stored(column: pa.Field, field: str) -> InvalidInput:
    return InvalidInput(
        field,
        f"The column {shown(column.name)} holds {column.type}, which cannot be learned; leave it out with features.",
    )


def _check_learned(read: pa.DataType, name: str, roles: Roles) -> None:
    if is_date(read) and (name in roles.targets or name == roles.weight):
        field = "weight" if name == roles.weight else "target"
        raise InvalidInput(field, f"The column {shown(name)} holds dates; a column of numbers is expected.")


def _as_asked(read: pa.DataType, asked: ColumnType | None, name: str) -> pa.DataType:
    match asked:
        case "number" if is_text(read) or kinds.is_boolean(read):
            return pa.float64()
        case "boolean" if is_text(read) or is_number(read):
            return pa.bool_()
        case "date" if is_text(read):
            return pa.timestamp("us")
        case "category" if is_date(read) or kinds.is_floating(read):
            return pa.string()
        case "number" | "boolean" if is_date(read):
            raise InvalidInput(
                f"types.{name}", f"The column {shown(name)} holds dates; it can be a date, or a category."
            )
        case "date" if not is_date(read):
            raise InvalidInput(f"types.{name}", f"The column {shown(name)} holds {read}, and no dates.")
    return read


def _widened(values: pa.Array, read: pa.DataType, field: str, name: str) -> pa.Array:
    if values.type == read:
        return values
    if is_text(read) and not (is_text(values.type) or kinds.is_null(values.type)):
        raise InvalidInput(field, f"The column {shown(name)} holds text in one place and {values.type} in another.")
    try:
        if kinds.is_timestamp(values.type) and values.type.unit == "ns" and kinds.is_timestamp(read):
            return values.cast(read, safe=False)  # what is finer than microseconds is left out
        return values.cast(read)
    except pa.ArrowInvalid as problem:
        raise InvalidInput(field, f"The column {shown(name)} holds values that are not {read}: {problem}.") from problem


def _check_years(values: pa.Array, first_row: int, refuse: Refusal) -> None:
    """Python has dates of the years 1 to 9999, and so has ISO 8601."""
    numbers = values.cast(pa.int32()).cast(pa.int64()) if kinds.is_date32(values.type) else values.cast(pa.int64())
    first, last = (day * (1 if kinds.is_date32(values.type) else PER_DAY[values.type.unit]) for day in _DAYS)
    inside = pa.compute.and_(pa.compute.greater_equal(numbers, first), pa.compute.less(numbers, last))
    row = pa.compute.index(inside, False).as_py()
    if row >= 0:
        raise refuse(first_row + row, "The date is beyond the years 1 to 9999, which are accepted.")


def _converted(values: pa.Array, column: pa.Field, first_row: int, refuse: Refusal) -> pa.Array:
    if values.type == column.type:
        return values
    convert = _conversion(values.type, column.type)
    try:
        return convert(values)
    except pa.ArrowInvalid:
        row = _first_refused(values, convert)
        value = values[row].as_py()
        raise refuse(first_row + row, f"It holds {shown(value)}; {_expected(column.type)} is expected.") from None


def _expected(type: pa.DataType) -> str:
    if kinds.is_boolean(type):
        return "true or false"
    return "a date such as 2026-01-31" if is_date(type) else "a number"


def _conversion(found: pa.DataType, wanted: pa.DataType) -> Callable[[pa.Array], pa.Array]:
    if is_date(wanted):
        return _as_dates
    if kinds.is_boolean(wanted) and is_number(found):
        return _as_truth
    if is_text(wanted) and kinds.is_floating(found):
        return _as_names
    if is_text(found):
        return lambda values: pa.compute.cast(_without_empty(values), wanted)
    return lambda values: pa.compute.cast(values, wanted)


def _without_empty(values: pa.Array) -> pa.Array:
    """Text that is to be something else; where there is none the value is missing."""
    trimmed = pa.compute.utf8_trim_whitespace(values)
    return pa.compute.if_else(pa.compute.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)


def _as_dates(values: pa.Array) -> pa.Array:
    """Times without a zone are taken as they are, others at Greenwich."""
    text = _without_empty(values)
    nothing = pa.scalar(None, text.type)
    has_zone = pa.compute.match_substring_regex(text, _ZONE)
    with_zone = pa.compute.if_else(has_zone, text, nothing).cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))
    return pa.compute.coalesce(with_zone, pa.compute.if_else(has_zone, nothing, text).cast(pa.timestamp("us")))


def _as_names(values: pa.Array) -> pa.Array:
    """Numbers that are categories; what is no number has no name. Those of float32 as short as they can be told."""
    packed = values.dictionary_encode()
    names = [None if number != number else name_of(float(str(number))) for number in packed.dictionary.to_numpy()]
    return pa.array(names, pa.string()).take(packed.indices)


def _as_truth(values: pa.Array) -> pa.Array:
    allowed = pa.compute.is_in(values, pa.array([0, 1], values.type))
    if not pa.compute.all(pa.compute.or_kleene(allowed, values.is_null()), min_count=0).as_py():
        raise pa.ArrowInvalid("neither 0 nor 1")
    return values.cast(pa.bool_())


def _first_refused(values: pa.Array, convert: Callable[[pa.Array], pa.Array]) -> int:
    """By halves."""
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
