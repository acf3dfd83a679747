"""What is in a dataset, column by column: to be looked at before anything is trained."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.data.dataset import Dataset
from engine.data.dates import days
from engine.data.looking import viewed
from engine.data.profiles import BINS, MOST_COUNTED, ColumnProfile, Kind, Named, Profile
from engine.data.reading.formats.schema import is_date, is_text
from engine.data.sources import Progress

_MOST_SHOWN = 10
# What is worth a word: a share of rows without a value, a class so much rarer than the most frequent one, numbers so
# far from 0.
_MANY_MISSING, _RARE, _FAR = 0.2, 100, 1_000.0


def profile(dataset: Dataset, folder: Path, advanced: Callable[[Progress], None]) -> Profile:
    """Look at all of it, twice. Raises Damaged."""
    with viewed(dataset, folder) as view:

        def blocks(before: int) -> Iterator[list[pa.Array]]:
            rows = 0
            for block in view.blocks(0, dataset.rows):
                yield block
                rows += len(block[0])
                advanced(Progress(before + rows, 2 * dataset.rows, rows))

        seen = [_Seen(column) for column in view.columns]
        for block in blocks(0):
            for column, values in zip(seen, block, strict=True):
                column.see(values)
        for block in blocks(dataset.rows):
            for column, values in zip(seen, block, strict=True):
                column.count(values)
    columns = _marking_doubles([column.profile() for column in seen], [column.digest for column in seen])
    classes = _class_balance(dataset, folder)
    return Profile(dataset.rows, columns, classes, tuple(_warnings(dataset, columns, classes)))


class _Seen:
    """A column as its blocks go by."""

    def __init__(self, column: Named) -> None:
        self._column = column
        self._type: Kind = "number"
        self._missing = self._rows = 0
        self._smallest, self._largest = np.inf, -np.inf
        self._mean = self._squares = 0.0
        self._values: Counter[object] | None = Counter()
        self._histogram = np.zeros(BINS, np.int64)
        self._hash = hashlib.blake2b()

    def see(self, values: pa.Array) -> None:
        self._type = _kind(values.type)
        present = values.filter(pc.invert(pc.is_null(values, nan_is_null=True)))
        self._missing += len(values) - len(present)
        self._hash.update(_as_bytes(values))
        self._see_distinct(present)
        if self._type != "text" and len(present):
            self._see_range(_as_numbers(present))

    def _see_distinct(self, present: pa.Array) -> None:
        if self._values is None:
            return
        counted = pc.value_counts(present)
        for value, count in zip(counted.field("values").to_pylist(), counted.field("counts").to_pylist(), strict=True):
            self._values[value] += count
        if len(self._values) > MOST_COUNTED:
            self._values = None

    def _see_range(self, numbers: npt.NDArray[np.float64]) -> None:
        """Mean and squares of deviations of both parts together: Chan, Golub and LeVeque, 1979."""
        rows, mean = len(numbers), float(numbers.mean())
        squares = float(np.square(numbers - mean).sum())
        apart, total = mean - self._mean, self._rows + rows
        self._squares += squares + apart * apart * self._rows * rows / total
        self._mean += apart * rows / total
        self._rows = total
        self._smallest = min(self._smallest, float(numbers.min()))
        self._largest = max(self._largest, float(numbers.max()))

    def count(self, values: pa.Array) -> None:
        """The second look."""
        if self._type == "text" or self._smallest == np.inf:
            return
        numbers = _as_numbers(values.filter(pc.invert(pc.is_null(values, nan_is_null=True))))
        self._histogram += np.histogram(numbers, BINS, (self._smallest, self._largest))[0]

    @property
    def digest(self) -> bytes:
        """The same for columns of the same values."""
        return self._hash.digest()

    def profile(self) -> ColumnProfile:
        values = self._values
        found = ColumnProfile(
            self._column.name, self._column.role, self._type, self._missing, None if values is None else len(values)
        )
        if self._type == "text":
            frequent = None if values is None else tuple((str(text), n) for text, n in values.most_common(_MOST_SHOWN))
            return replace(found, frequent=frequent)
        if not self._rows:
            return found
        return replace(
            found,
            smallest=self._smallest,
            largest=self._largest,
            mean=self._mean,
            deviation=float(np.sqrt(self._squares / self._rows)),
            histogram=tuple(self._histogram.tolist()),
        )


def _kind(type_: pa.DataType) -> Kind:
    if is_text(type_):
        return "text"
    if is_date(type_):
        return "date"
    return "boolean" if pa.types.is_boolean(type_) else "number"


def _as_bytes(values: pa.Array) -> bytes:
    """The same for the same values."""
    if is_text(values.type):
        return "\0".join("\1" if text is None else text for text in values.to_pylist()).encode()
    return _as_numbers(values).tobytes()


def _as_numbers(values: pa.Array) -> npt.NDArray[np.float64]:
    """NaN where there is none."""
    numbers = days(values) if is_date(values.type) else values.cast(pa.float64(), safe=False)
    return np.asarray(numbers.to_numpy(zero_copy_only=False))


def _marking_doubles(columns: Sequence[ColumnProfile], digests: Sequence[bytes]) -> tuple[ColumnProfile, ...]:
    first: dict[tuple[bytes, str], str] = {}
    found = []
    for column, digest in zip(columns, digests, strict=True):
        earlier = first.setdefault((digest, column.type), column.name)
        found.append(replace(column, same_as=None if earlier == column.name else earlier))
    return tuple(found)


def _class_balance(dataset: Dataset, folder: Path) -> dict[str, int] | None:
    if dataset.classes is None:
        return None
    codes = np.load(next(folder.glob("codes.*.npy")), mmap_mode="r")
    counts = np.bincount(codes, minlength=len(dataset.classes))
    return dict(zip(dataset.classes, counts.tolist(), strict=True))


def _warnings(dataset: Dataset, columns: Sequence[ColumnProfile], classes: dict[str, int] | None) -> Iterator[str]:
    features = [column for column in columns if column.role == "feature"]
    constant = [column.name for column in features if column.distinct == 1 and not column.missing]
    if constant:
        yield f"The same value in every row teaches nothing: {_listed(constant)}."
    doubles = [f"{column.name} (as {column.same_as})" for column in features if column.same_as is not None]
    doubles = [double for double in doubles if double.split(" (")[0] not in constant]
    if doubles:
        yield f"These columns have the values of another one: {_listed(doubles)}."
    told = [column.name for column in features if column.same_as is None and _tells(column, columns)]
    if told:
        yield f"These columns are what is to be learned, under another name: {_listed(told)}."
    holes = [column.name for column in features if column.missing > _MANY_MISSING * dataset.rows]
    if holes:
        yield f"More than {_MANY_MISSING:.0%} of the rows have no value in {_listed(holes)}."
    far = [column.name for column in features if column.type != "boolean" and _reach(column) > _FAR]
    if far:
        yield f"Numbers beyond ±{_FAR:g} train badly as they are; prepare the inputs: {_listed(far)}."
    rare = [name for name, count in (classes or {}).items() if count * _RARE < max((classes or {}).values())]
    if rare:
        yield f"These classes are rare beside the most frequent one; give them weights: {_listed(rare)}."


def _tells(column: ColumnProfile, columns: Sequence[ColumnProfile]) -> bool:
    return any(other.same_as == column.name and other.role in ("target", "label") for other in columns)


def _reach(column: ColumnProfile) -> float:
    return max(abs(column.smallest or 0.0), abs(column.largest or 0.0))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    return shown if len(names) <= _MOST_SHOWN else f"{shown}, … ({len(names)} in all)"
