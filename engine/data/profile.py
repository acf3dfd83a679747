"""What is in a dataset, column by column: to be looked at before anything is trained."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from engine.data.dataset import Dataset
from engine.data.dates import days
from engine.data.different import DifferentNumbers, DifferentTexts
from engine.data.looking import viewed
from engine.data.profiles import MOST_COUNTED, MOST_COUNTED_IN_ALL, ColumnProfile, Kind, Named, Profile
from engine.data.reading.formats.schema import is_date, is_text
from engine.data.sources import Progress
from engine.data.spread import Spread
from engine.errors import InvalidInput

# Of values, of names in a sentence; and of columns of which there is a profile.
_MOST_SHOWN, _MOST_COLUMNS = 10, 100_000
# What is worth a word: a share of rows without a value, a class so much rarer than the most frequent one, numbers so
# far from 0.
_MANY_MISSING, _RARE, _FAR = 0.2, 100, 1_000.0


def profile(dataset: Dataset, folder: Path, advanced: Callable[[Progress], None]) -> Profile:
    """Look at all of it, twice. Raises InvalidInput if it is too wide, Damaged."""
    with viewed(dataset, folder) as view:
        width = len(view.columns)
        if width > _MOST_COLUMNS:
            raise InvalidInput(
                "dataset_id", f"The dataset has {width} columns; a profile is made of at most {_MOST_COLUMNS}."
            )
        most = min(MOST_COUNTED, MOST_COUNTED_IN_ALL // width)
        seen = [_Seen(column, most) for column in view.columns]

        def blocks(before: int) -> Iterator[tuple[_Seen, pa.Array]]:
            rows = 0
            for block in view.blocks(0, dataset.rows):
                rows += len(block[0])
                now = Progress(before + rows, 2 * dataset.rows, rows)
                for pair in zip(seen, block, strict=True):
                    yield pair
                    advanced(now)  # a block of many columns takes long

        for column, values in blocks(0):
            column.see(values)
        for column, values in blocks(dataset.rows):
            column.measure(values)
    columns = _marking_doubles([column.profile() for column in seen], [column.digest for column in seen])
    classes = _class_balance(dataset, folder)
    # Nothing is trained on rows without answers.
    warnings = () if dataset.unlabeled else tuple(_warnings(dataset, columns, classes))
    return Profile(dataset.rows, columns, classes, warnings)


class _Seen:
    """A column as its blocks go by. Different values are counted up to `most`."""

    def __init__(self, column: Named, most: int) -> None:
        self._column = column
        self._type: Kind = "number"
        self._missing = 0
        self._numbers, self._texts = DifferentNumbers(most), DifferentTexts(most)
        self._spread = Spread()
        self._hash = hashlib.blake2b()

    def see(self, values: pa.Array) -> None:
        self._type = _kind(values.type)
        if self._type == "text":
            self._missing += values.null_count
            _hash_texts(self._hash, values)
            self._texts.see(values.drop_null())
            return
        numbers = _as_numbers(values)
        self._missing += int(np.count_nonzero(np.isnan(numbers)))
        self._hash.update(numbers.data)
        if not self._numbers.are_too_many:
            self._numbers.see(_to_count(values))
        self._spread.see(numbers)

    def measure(self, values: pa.Array) -> None:
        """The second look."""
        if self._spread.is_known:
            self._spread.measure(_as_numbers(values))

    @property
    def digest(self) -> bytes:
        """The same for columns of the same values."""
        return self._hash.digest()

    def profile(self) -> ColumnProfile:
        found = ColumnProfile(self._column.name, self._column.role, self._type, self._missing, self._numbers.count)
        if self._type == "text":
            return replace(found, distinct=self._texts.count, frequent=self._texts.frequent(_MOST_SHOWN))
        if not self._spread.is_known:
            return found
        return replace(
            found,
            smallest=self._spread.smallest,
            largest=self._spread.largest,
            mean=self._spread.mean,
            deviation=self._spread.deviation,
            histogram=self._spread.histogram,
        )


def _kind(type_: pa.DataType) -> Kind:
    if is_text(type_):
        return "text"
    if is_date(type_):
        return "date"
    return "boolean" if pa.types.is_boolean(type_) else "number"


def _hash_texts(digest: "hashlib.blake2b", values: pa.Array) -> None:
    """Lengths, of which -1 says that there is no text; then the texts."""
    digest.update(pc.fill_null(pc.binary_length(values).cast(pa.int64()), -1).to_numpy(zero_copy_only=False))
    filled = values.fill_null("").cast(pa.large_string())
    places = np.frombuffer(filled.buffers()[1], np.int64)[filled.offset : filled.offset + len(filled) + 1]
    if places[-1] > places[0]:
        digest.update(memoryview(filled.buffers()[2])[places[0] : places[-1]])


def _to_count(values: pa.Array) -> npt.NDArray[np.generic]:
    """Those that there are, as exactly as they are stored."""
    present = values.drop_null()
    if is_date(present.type):
        present = present.cast(pa.int32() if pa.types.is_date32(present.type) else pa.int64())
    found: npt.NDArray[np.generic] = present.to_numpy(zero_copy_only=False)
    return found[~np.isnan(found)] if pa.types.is_floating(present.type) else found


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
    answers = {column.same_as for column in columns if column.role in ("target", "label")}
    told = [column.name for column in features if column.same_as is None and column.name in answers]
    if told:
        yield f"These columns are what is to be learned, under another name: {_listed(told)}."
    holes = [column.name for column in features if column.missing > _MANY_MISSING * dataset.rows]
    if holes:
        yield f"More than {_MANY_MISSING:.0%} of the rows have no value in {_listed(holes)}."
    far = [column.name for column in features if column.type != "boolean" and _reach(column) > _FAR]
    if far:
        yield f"Numbers beyond ±{_FAR:g} train badly as they are; prepare the inputs: {_listed(far)}."
    most = max((classes or {}).values(), default=0)
    rare = [name for name, count in (classes or {}).items() if count * _RARE < most]
    if rare:
        yield f"These classes are rare beside the most frequent one; give them weights: {_listed(rare)}."


def _reach(column: ColumnProfile) -> float:
    return max(abs(column.smallest or 0.0), abs(column.largest or 0.0))


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:_MOST_SHOWN])
    return shown if len(names) <= _MOST_SHOWN else f"{shown}, … ({len(names)} in all)"
