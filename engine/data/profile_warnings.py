"""Warnings about data that may impair training, from the profile of a dataset."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from nabla.engine.data.dataset import ColumnValues, Dataset
from nabla.engine.data.schema import (
    MIN_IDENTIFIER_SHARE,
    MIN_ROWS_OF_IDENTIFIERS,
    ColumnProfile,
    format_names,
    is_identifier_name,
)
from nabla.engine.typing import Float64Array

_MAX_LISTED = 10
# Share of rows without a value, and ratio of the most frequent class to a rare one.
_MISSING_SHARE, _CLASS_RATIO = 0.2, 100
# Any two points lie on a line.
_MIN_ROWS_OF_CORRELATIONS = 3
# Squared correlation from which on a column is a linear function of the target.
_MIN_SQUARED_CORRELATION = 1 - 1e-9


class LeakageDetector:
    """Finds features that leak the target: a linear function of it, or another name for each class."""

    def __init__(self, columns: Sequence[ColumnProfile]) -> None:
        """Start with no rows.

        Args:
            columns: The columns in the order in which they are added, with their ranges and distinct values.
        """
        targets = [column for column in columns if column.role in ("target", "label")]
        self._columns = {column.name: column for column in columns}
        self._target = targets[0] if len(targets) == 1 else None
        self._features: dict[str, _Correlation | _ClassMapping] = {}
        self._block: dict[str, ColumnValues] = {}
        if self._target is None:
            return
        for column in columns:
            if column.role != "feature":
                continue
            if self._target.role == "label":
                if column.distinct is not None and 1 < column.distinct == self._target.distinct:
                    self._features[column.name] = _ClassMapping()
            elif column.type != "text" and self._target.type != "text" and not column.missing:
                self._features[column.name] = _Correlation()

    @property
    def names(self) -> list[str]:
        """The features that determine the target in all rows."""
        return [name for name, relation in self._features.items() if relation.holds]

    def add(self, name: str, values: ColumnValues) -> None:
        """Add the values of a column in a block; all columns of a block are added before those of the next one."""
        if not self._features:
            return
        self._block[name] = values
        if len(self._block) < len(self._columns):
            return
        block, self._block = self._block, {}
        assert self._target is not None
        targets = block[self._target.name]
        scaled_targets = None
        for feature, relation in self._features.items():
            if isinstance(relation, _ClassMapping):
                relation.add(block[feature], targets)
            else:
                scaled_targets = _scale(targets, self._target) if scaled_targets is None else scaled_targets
                relation.add(_scale(block[feature], self._columns[feature]), scaled_targets)


class _Correlation:
    """Correlation of two columns, each in the range 0 to 1, from sums over the rows."""

    def __init__(self) -> None:
        self._sums = np.zeros(6)

    @property
    def holds(self) -> bool:
        """Whether one column is a linear function of the other."""
        rows, x, y, xx, yy, xy = self._sums.tolist()
        if rows < _MIN_ROWS_OF_CORRELATIONS:
            return False
        variances = (xx - x * x / rows) * (yy - y * y / rows)
        return bool(variances > 0 and (xy - x * y / rows) ** 2 >= _MIN_SQUARED_CORRELATION * variances)

    def add(self, x: Float64Array, y: Float64Array) -> None:
        self._sums += np.array([len(x), x.sum(), y.sum(), x @ x, y @ y, x @ y])


class _ClassMapping:
    """The class of each value of a feature, as long as each value has only one."""

    def __init__(self) -> None:
        self._class_of: dict[object, object] = {}
        self._is_consistent = True

    @property
    def holds(self) -> bool:
        """Whether values and classes correspond one to one."""
        return self._is_consistent and len(set(self._class_of.values())) == len(self._class_of)

    def add(self, values: ColumnValues, classes: ColumnValues) -> None:
        if not self._is_consistent:
            return
        for value, label in values.distinct_pairs(classes):
            if value is None or self._class_of.setdefault(value, label) != label:
                self._is_consistent = False


def iter_warnings(
    dataset: Dataset, columns: Sequence[ColumnProfile], classes: Mapping[str, int] | None, leaks: Sequence[str]
) -> Iterator[str]:
    """Yield sentences about the data: the notes of the ingest, and what may impair training.

    Args:
        dataset: The dataset.
        columns: Its columns.
        classes: Number of rows of each class.
        leaks: Features that leak the target; see `LeakageDetector`.
    """
    yield from dataset.notes
    features = [column for column in columns if column.role == "feature"]
    constant = [column.name for column in features if column.distinct == 1 and not column.missing]
    if constant:
        yield f"These columns have the same value in every row and do not help: {_format(constant)}."
    duplicates = [
        f"{column.name} (as {column.same_as})"
        for column in features
        if column.same_as is not None and column.name not in constant
    ]
    if duplicates:
        yield f"These columns duplicate another one: {_format(duplicates)}."
    equal = {column.same_as for column in columns if column.role in ("target", "label")}
    leaking = [column.name for column in features if column.same_as is None and column.name in {*equal, *leaks}]
    if leaking:
        yield (
            "These features leak the target: they equal it, perhaps in another unit or with other class names. Exclude "
            f"them: {_format(leaking)}."
        )
    identifiers = [
        column.name for column in features if _is_identifier(column, dataset.rows) and column.name not in leaking
    ]
    if identifiers:
        yield f"These columns identify rows, so nothing can be learned from them; exclude them: {_format(identifiers)}."
    sparse = [column.name for column in features if column.missing > _MISSING_SHARE * dataset.rows]
    if sparse:
        yield f"More than {_MISSING_SHARE:.0%} of the rows have no value in {_format(sparse)}."
    max_count = max((classes or {}).values(), default=0)
    absent = [name for name, count in (classes or {}).items() if not count]
    if absent:
        yield f"These classes have no row: {_format(absent)}."
    rare = [name for name, count in (classes or {}).items() if 0 < count * _CLASS_RATIO < max_count]
    if rare:
        yield (
            f"These classes are more than {_CLASS_RATIO} times rarer than the most frequent one; use class_weights: "
            f"{_format(rare)}."
        )


def _is_identifier(column: ColumnProfile, rows: int) -> bool:
    """Return whether a column numbers or names the rows."""
    present = rows - column.missing
    if present < MIN_ROWS_OF_IDENTIFIERS:
        return False
    if column.type == "text":
        return column.distinct is not None and column.distinct >= MIN_IDENTIFIER_SHARE * present
    if column.type != "number" or column.smallest is None or column.largest is None:
        return False
    is_different = column.distinct in (None, present)
    spread = column.largest - column.smallest + 1
    return is_different and is_identifier_name(column.name) and column.smallest % 1 == 0 and spread >= present


def _scale(values: ColumnValues, column: ColumnProfile) -> Float64Array:
    """Return numbers, booleans or dates of a column in the range 0 to 1."""
    numbers = values.to_float64()
    smallest, largest = column.smallest or 0.0, column.largest or 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        return (numbers / 2 - smallest / 2) / ((largest / 2 - smallest / 2) or 1.0)


def _format(names: Sequence[str]) -> str:
    return format_names(names, _MAX_LISTED)
