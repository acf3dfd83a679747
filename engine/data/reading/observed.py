"""What is seen of numbers, of weights and of classes as their blocks go by."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute
import pyarrow.types as kinds

from engine.data.categories import LONGEST, in_order, name
from engine.data.examples import Array, Label
from engine.data.reading.formats.schema import MOST_SHOWN, shown
from engine.data.reading.numbers import as_numpy
from engine.data.reading.places import Refusal
from engine.errors import InvalidInput

MOST_CLASSES = 100_000
# Rows that are looked at first.
_FEW = 1000
_WHOLE = "Expected one label per row, whole numbers or text; numbers to be met as they are go into targets."


class Numbers:
    """Finite numbers, and their range. `refuse`: of row, column and a sentence."""

    def __init__(self, refuse: Callable[[int, int, str], InvalidInput]) -> None:
        self._refuse = refuse
        self.smallest, self.largest = np.inf, -np.inf

    @property
    def magnitude(self) -> float:
        return max(abs(self.smallest), abs(self.largest))

    def see(self, block: Array, first_row: int) -> None:
        """Of shape (rows, columns). Raises InvalidInput naming row and column."""
        low, high = float(block.min()), float(block.max())  # what is not a number comes through
        if not (np.isfinite(low) and np.isfinite(high)):
            row, column = np.argwhere(~np.isfinite(block))[0]
            what = "not a number" if np.isnan(block[row, column]) else "infinite"
            raise self._refuse(
                first_row + int(row), int(column), f"The value is {what}; only finite numbers are accepted."
            )
        self.smallest, self.largest = min(self.smallest, low), max(self.largest, high)


class Distributions:
    """Whether all rows are at least 0 and sum to 1."""

    def __init__(self) -> None:
        self.are = True

    def see(self, block: Array) -> None:
        if self.are:  # where they are not, the first of them tell as a rule
            self.are = _are_distributions(block[:_FEW]) and _are_distributions(block)


def _are_distributions(rows: Array) -> bool:
    return bool(rows.min() >= 0 and np.allclose(rows.sum(axis=1, dtype=np.float64), 1, rtol=0, atol=1e-5))


class Weights:
    """One number for each row: finite, at least 0, with a finite sum above 0."""

    def __init__(self, field: str, refuse: Refusal) -> None:
        self._field, self._refuse = field, refuse
        self._total = 0.0

    def see(self, block: npt.NDArray[np.float64], first_row: int) -> None:
        wrong = np.flatnonzero(~(np.isfinite(block) & (block >= 0)))
        if wrong.size:
            row = int(wrong[0])
            raise self._refuse(
                first_row + row, f"The weight is {block[row]:g}; a weight is a finite number of at least 0."
            )
        with np.errstate(over="ignore"):  # seen at the end
            self._total += float(block.sum())

    def end(self) -> None:
        if self._total == 0:
            raise InvalidInput(self._field, "All weights are 0; at least 1 row must count.")
        if not np.isfinite(self._total):
            raise InvalidInput(self._field, "The sum of the weights is beyond the finite numbers; give smaller ones.")


class Classes:
    """The classes among labels, found in a first pass over them, and their codes in a second."""

    def __init__(self, field: str, given: Sequence[Label] | None, refuse: Refusal) -> None:
        self._field, self._refuse = field, refuse
        self._given = None if given is None else tuple(name(each) for each in given)
        self._found: dict[object, str] = {}
        self._values: pa.Array | None = None
        self._codes: npt.NDArray[np.int32] = np.zeros(0, np.int32)
        self.names: tuple[str, ...] = ()
        if self._given is not None and len(set(self._given)) != len(self._given):
            raise InvalidInput("classes", "Every class is listed once.")
        if self._given is not None and max(map(len, self._given), default=0) > LONGEST:
            raise InvalidInput("classes", f"Classes have at most {LONGEST} characters.")

    def look(self, labels: pa.Array) -> pa.Array:
        """The different ones among some of the labels, by whichever thread. Raises InvalidInput if their type is not
        one of classes."""
        type = labels.type
        if not (
            kinds.is_string(type)
            or kinds.is_large_string(type)
            or kinds.is_boolean(type)
            or kinds.is_integer(type)
            or kinds.is_floating(type)
        ):
            raise InvalidInput(self._field, f"{_WHOLE[:-1]}, got {type}.")
        return pa.compute.unique(_comparable(labels))

    def add(self, new: pa.Array) -> None:
        """Raises InvalidInput if these cannot be classes."""
        self._values = new if self._values is None else pa.compute.unique(pa.concat_arrays((self._values, new)))
        for value in new.to_pylist():
            if isinstance(value, float) and not (value.is_integer() and abs(value) < 2**53):
                raise InvalidInput(self._field, f"{_WHOLE} {value:g} is among the labels.")
            self._found.setdefault(value, name(value).strip() if isinstance(value, str) else name(value))
            if len(self._found[value]) > LONGEST:
                raise InvalidInput(
                    self._field,
                    f"There is a label of {len(self._found[value])} characters; classes have at most {LONGEST}.",
                )
        if len(self._found) > MOST_CLASSES:
            raise InvalidInput(self._field, f"There are more than {MOST_CLASSES} classes; numbers go into targets.")

    def settle(self) -> None:
        """All labels were seen."""
        self.names = in_order(self._found.values()) if self._given is None else self._given
        if len(self.names) < 2:
            raise InvalidInput(self._field, "There is only one class; a classifier needs at least 2.")
        places = {each: code for code, each in enumerate(self.names)}
        found = [] if self._values is None else self._values.to_pylist()
        self._codes = np.array([places.get(self._found[value], -1) for value in found], np.int32)

    def codes(self, labels: pa.Array, first_row: int) -> npt.NDArray[np.int32]:
        """Raises InvalidInput naming the first row whose label is not among the classes."""
        labels = _comparable(labels)
        found = pa.compute.index_in(labels, value_set=self._values)
        codes: npt.NDArray[np.int32] = self._codes[as_numpy(found)]
        wrong = np.flatnonzero(codes < 0)
        if wrong.size:
            row = int(wrong[0])
            more = "" if len(self.names) <= MOST_SHOWN else f", … ({len(self.names)} in all)"
            raise self._refuse(
                first_row + row,
                f"The label {shown(self._found[labels[row].as_py()])} is not one of the classes "
                f"{', '.join(self.names[:MOST_SHOWN])}{more}.",
            )
        return codes


def _comparable(labels: pa.Array) -> pa.Array:
    """Arrow tells 0 from -0."""
    return pa.compute.add(labels, pa.scalar(0, labels.type)) if kinds.is_floating(labels.type) else labels
