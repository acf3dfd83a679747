"""How good a network is on a dataset: its cost, and the measures that people compare. Pure: knows no process, no HTTP.

Works through the rows in blocks: memory does not grow with the dataset.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import MOST_CLASSES_CONFUSED
from nabla.engine.nn.array_views import Matrix
from nabla.engine.nn.network import Network
from nabla.engine.nn.training_step import cost_of_rows
from nabla.engine.training.metrics import mean_r2, r2_of, spread_of

Reals = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Codes = npt.NDArray[np.integer]

# A confusion matrix has the square of this many numbers; with more classes there is none.
# A block has at most so many rows, and fewer where they are wide.
_ROWS_AT_ONCE = 4096
_NUMBERS_AT_ONCE = 2**22


@dataclass(frozen=True)
class Scores:
    """How well a class is told from the others, each from 0 to 1; 0 where there is nothing to divide by."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True)
class Classification:
    """`classes` and their `support` (rows of the class) in the order of the dataset's classes; `macro`: the mean over
    them. `confusion` (true class, predicted class) counts rows; None above MOST_CLASSES_CONFUSED."""

    classes: tuple[Scores, ...]
    support: tuple[int, ...]
    macro: Scores
    confusion: Counts | None


@dataclass(frozen=True)
class Deviations:
    """How far outputs are from targets, in the units of these. `r2` is None where all targets are the same, or nearly
    so."""

    r2: float | None
    mae: float
    rmse: float


@dataclass(frozen=True)
class Regression:
    """The deviations of each target column, and their means over the columns; r2 over those that have one."""

    columns: tuple[Deviations, ...]
    mean: Deviations


@dataclass(frozen=True)
class Evaluation:
    """`cost` is the mean over the rows, weighted if they have weights, and that of the targets as they are prepared for
    the network; all else counts each row once.

    A dataset of classes has a `classification`, one of targets a `regression`. `accuracy` is None for targets unless
    the cost is a cross-entropy.
    """

    rows: int
    cost: float
    accuracy: float | None
    classification: Classification | None
    regression: Regression | None


def evaluate(network: Network, data: OpenDataset) -> Evaluation:
    """Measure a network on a dataset that fits it.

    Raises InvalidInput (field `dataset_id`) where outputs, or their deviations, leave the finite numbers.
    """
    rows = len(data.x)
    plan = network.architecture.plan()
    total_weight = rows if data.weights is None else data.weights.sum()
    cost = 0.0
    with np.errstate(over="ignore"):  # seen at the end
        measure = _Columns(data, network.architecture.cost) if data.codes is None else _Classes(data)
        for block in _blocks(rows, max(data.x.shape[1], data.y.shape[1])):
            outputs = network.predict(data.x[block])
            _check_finite(outputs)
            # Divided before they are summed: weights may be as large as numbers are.
            weights = np.empty(0) if data.weights is None else data.weights[block] / total_weight
            cost += cost_of_rows(plan, outputs, data.y[block], weights)
            measure.add(outputs, block)
    found = measure.evaluation(rows, cost / rows if data.weights is None else cost)
    _check_finite(np.array([found.cost]))
    if found.regression is not None:
        _check_finite(np.array([found.regression.mean.mae, found.regression.mean.rmse]))
    return found


def _blocks(rows: int, widest: int) -> Iterator[slice]:
    """All rows, as many at once as may be where a row has up to `widest` numbers."""
    at_once = max(1, min(_ROWS_AT_ONCE, _NUMBERS_AT_ONCE // widest))
    for first in range(0, rows, at_once):
        yield slice(first, first + at_once)


def _check_finite(numbers: Matrix) -> None:
    if not np.isfinite(numbers).all():
        raise InvalidInput(
            "dataset_id",
            "For this dataset the network's outputs, or their deviations from the targets, are beyond the finite "
            "numbers; scale the data, or take another version.",
        )


class _Classes:
    """Counts rows by true and predicted class."""

    def __init__(self, data: OpenDataset) -> None:
        assert data.codes is not None
        self._codes = data.codes
        # A single output tells two classes apart.
        self._classes = max(2, data.y.shape[1])
        self._true, self._predicted, self._hits = np.zeros((3, self._classes), np.int64)
        self._confusion: Counts | None = None
        if self._classes <= MOST_CLASSES_CONFUSED:
            self._confusion = np.zeros((self._classes, self._classes), np.int64)

    def add(self, outputs: Matrix, block: slice) -> None:
        true, predicted = self._codes[block], predicted_codes(outputs)
        self._true += np.bincount(true, minlength=self._classes)
        self._predicted += np.bincount(predicted, minlength=self._classes)
        self._hits += np.bincount(true[true == predicted], minlength=self._classes)
        if self._confusion is not None:
            np.add.at(self._confusion, (true, predicted), 1)

    def evaluation(self, rows: int, cost: float) -> Evaluation:
        scores = np.array(
            [
                _divided(self._hits, self._predicted),
                _divided(self._hits, self._true),
                _divided(2 * self._hits, self._true + self._predicted),
            ]
        )
        classification = Classification(
            classes=tuple(Scores(*column) for column in scores.T.tolist()),
            support=tuple(self._true.tolist()),
            macro=Scores(*scores.mean(axis=1).tolist()),
            confusion=self._confusion,
        )
        return Evaluation(rows, cost, int(self._hits.sum()) / rows, classification, None)


def _divided(counts: Counts, by: Counts) -> Reals:
    """counts / by, and 0 where there is nothing to divide by."""
    return np.divide(counts, by, out=np.zeros(len(counts)), where=by != 0)


def predicted_codes(outputs: Matrix) -> Codes:
    """The class of each row: the largest output, or for a single output the side of ½."""
    codes: Codes = (outputs[:, 0] >= 0.5).astype(np.intp) if outputs.shape[1] == 1 else outputs.argmax(axis=1)
    return codes


class _Columns:
    """Sums deviations from targets, column by column."""

    def __init__(self, data: OpenDataset, cost: str) -> None:
        y = data.y
        self._y = y
        self._cost = cost
        self._columns: int = y.shape[1]
        self._units: Reals = np.ones(self._columns) if data.units is None else data.units
        self._correct = 0
        self._absolute, self._squared = np.zeros((2, self._columns))
        self._spread = spread_of(y, np.arange(len(y)))

    def add(self, outputs: Matrix, block: slice) -> None:
        a, y = outputs.astype(np.float64), self._y[block].astype(np.float64)
        self._absolute += np.abs(a - y).sum(axis=0)
        self._squared += np.square(a - y).sum(axis=0)
        if self._cost == "binary_cross_entropy":
            self._correct += int(((a >= 0.5) == (y >= 0.5)).sum())
        elif self._cost == "categorical_cross_entropy":
            self._correct += int((a.argmax(axis=1) == y.argmax(axis=1)).sum())

    def evaluation(self, rows: int, cost: float) -> Evaluation:
        mae, rmse = self._absolute / rows * self._units, np.sqrt(self._squared / rows) * self._units
        r2 = r2_of(self._squared, self._spread)
        regression = Regression(
            columns=tuple(map(Deviations, r2, mae.tolist(), rmse.tolist())),
            mean=Deviations(mean_r2(self._squared, self._spread), float(mae.mean()), float(rmse.mean())),
        )
        return Evaluation(rows, cost, self._accuracy(rows), None, regression)

    def _accuracy(self, rows: int) -> float | None:
        """Labels that are not exclusive are right or wrong one by one, exclusive ones row by row."""
        if self._cost == "binary_cross_entropy":
            return self._correct / (rows * self._columns)
        return self._correct / rows if self._cost == "categorical_cross_entropy" else None
