"""Evaluation of a network on a dataset: its cost, and metrics of classification or regression.

The rows are processed in blocks, so that memory does not grow with the dataset.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import OpenDataset
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import MAX_CONFUSION_CLASSES
from nabla.engine.nn.network import Network
from nabla.engine.training.metrics import (
    RegressionMetrics,
    RegressionSums,
    predicted_codes,
    total_sum_of_squares,
)
from nabla.engine.typing import ClassCodes, Float64Array, FloatArray

_Counts = npt.NDArray[np.int64]

# Maximum rows of a block, and maximum inputs or outputs.
_BLOCK_ROWS = 4096
_BLOCK_NUMBERS = 2**22


@dataclass(frozen=True)
class ClassMetrics:
    """Precision, recall and F1 of a class, each from 0 to 1; 0 if the denominator is 0."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, eq=False)
class ClassificationReport:
    """Metrics on a dataset of classes.

    Attributes:
        classes: Metrics of each class, in the order of the classes of the dataset.
        support: Number of rows of each class.
        macro: Means over the classes that occur, as true or as predicted class.
        confusion: (true class, predicted class) Numbers of rows; None for more than MAX_CONFUSION_CLASSES classes,
            since its size is their square.
    """

    classes: tuple[ClassMetrics, ...]
    support: tuple[int, ...]
    macro: ClassMetrics
    confusion: _Counts | None


@dataclass(frozen=True)
class RegressionReport:
    """Metrics of each target column, and their means over the columns; that of R² is over those that have one."""

    columns: tuple[RegressionMetrics, ...]
    mean: RegressionMetrics


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Cost and metrics of a network on a dataset.

    Attributes:
        rows: Number of rows.
        cost: Mean cost (loss) of the rows, weighted by their sample weights, on preprocessed targets. All other metrics
            count each row once.
        accuracy: Share of correct predictions; None for numeric targets unless the cost is a cross-entropy.
        classification: Set for a dataset of classes.
        regression: Set for a dataset of numeric targets.
    """

    rows: int
    cost: float
    accuracy: float | None
    classification: ClassificationReport | None
    regression: RegressionReport | None


def evaluate(network: Network, data: OpenDataset) -> Evaluation:
    """Compute the cost and the metrics of a network on a dataset.

    Args:
        network: The network.
        data: Dataset that fits the network, in its dtype.

    Raises:
        InvalidInput: Outputs or errors are not finite (field `dataset_id`).
    """
    rows = len(data.x)
    total_weight = rows if data.weights is None else data.weights.sum()
    cost = 0.0
    with np.errstate(over="ignore"):  # overflows are reported by _check_finite
        accumulator: _RegressionAccumulator | _ClassificationAccumulator
        if data.codes is None:
            accumulator = _RegressionAccumulator(data, network.architecture.cost)
        else:
            accumulator = _ClassificationAccumulator(data.codes, data.y.shape[1])
        for block in _iter_blocks(rows, max(data.x.shape[1], data.y.shape[1])):
            outputs = network.predict(data.x[block])
            _check_finite(outputs)
            # Divided before they are summed: weights may be up to the largest float64.
            weights = None if data.weights is None else data.weights[block] / total_weight
            cost += network.sum_costs(outputs, data.y[block], weights)
            accumulator.add(outputs, block)
    evaluation = accumulator.build_evaluation(rows, cost / rows if data.weights is None else cost)
    _check_finite(np.array([evaluation.cost]))
    if evaluation.regression is not None:
        _check_finite(np.array([evaluation.regression.mean.mae, evaluation.regression.mean.rmse]))
    return evaluation


def _iter_blocks(rows: int, width: int) -> Iterator[slice]:
    block_rows = max(1, min(_BLOCK_ROWS, _BLOCK_NUMBERS // width))
    for first in range(0, rows, block_rows):
        yield slice(first, first + block_rows)


def _check_finite(numbers: FloatArray) -> None:
    if not np.isfinite(numbers).all():
        raise InvalidInput(
            "dataset_id",
            "On this dataset the outputs of the network, or their errors, are not finite numbers; scale the data, or "
            "use another version.",
        )


class _ClassificationAccumulator:
    """Counts rows by true and predicted class."""

    def __init__(self, codes: ClassCodes, outputs: int) -> None:
        self._codes = codes
        self._classes = max(2, outputs)  # a single output separates two classes
        self._actual, self._predicted, self._correct = np.zeros((3, self._classes), np.int64)
        self._confusion: _Counts | None = None
        if self._classes <= MAX_CONFUSION_CLASSES:
            self._confusion = np.zeros((self._classes, self._classes), np.int64)

    def add(self, outputs: FloatArray, block: slice) -> None:
        actual, predicted = self._codes[block], predicted_codes(outputs)
        self._actual += np.bincount(actual, minlength=self._classes)
        self._predicted += np.bincount(predicted, minlength=self._classes)
        self._correct += np.bincount(actual[actual == predicted], minlength=self._classes)
        if self._confusion is not None:
            np.add.at(self._confusion, (actual, predicted), 1)

    def build_evaluation(self, rows: int, cost: float) -> Evaluation:
        metrics = np.array(
            [
                _divide(self._correct, self._predicted),
                _divide(self._correct, self._actual),
                _divide(2 * self._correct, self._actual + self._predicted),
            ]
        )
        occurs = (self._actual + self._predicted) > 0
        report = ClassificationReport(
            classes=tuple(ClassMetrics(*column) for column in metrics.T.tolist()),
            support=tuple(self._actual.tolist()),
            macro=ClassMetrics(*metrics[:, occurs].mean(axis=1).tolist()),
            confusion=self._confusion,
        )
        return Evaluation(rows, cost, int(self._correct.sum()) / rows, report, None)


def _divide(counts: _Counts, denominators: _Counts) -> Float64Array:
    """Return the quotients, 0 where the denominator is 0."""
    return np.divide(counts, denominators, out=np.zeros(len(counts)), where=denominators != 0)


class _RegressionAccumulator:
    """Sums errors of each target column."""

    def __init__(self, data: OpenDataset, cost: str) -> None:
        self._y = data.y
        self._cost = cost
        self._columns: int = data.y.shape[1]
        self._target_scale = np.ones(self._columns) if data.target_scale is None else data.target_scale
        self._correct = 0
        self._absolute_errors, self._squared_errors = np.zeros((2, self._columns))
        self._total_squares = total_sum_of_squares(data.y, np.arange(len(data.y)))

    def add(self, outputs: FloatArray, block: slice) -> None:
        a, y = outputs.astype(np.float64), self._y[block].astype(np.float64)
        self._absolute_errors += np.abs(a - y).sum(axis=0)
        self._squared_errors += np.square(a - y).sum(axis=0)
        if self._cost == "binary_cross_entropy":
            self._correct += int(((a >= 0.5) == (y >= 0.5)).sum())
        elif self._cost == "categorical_cross_entropy":
            self._correct += int((a.argmax(axis=1) == y.argmax(axis=1)).sum())

    def build_evaluation(self, rows: int, cost: float) -> Evaluation:
        sums = RegressionSums(
            rows, self._absolute_errors, self._squared_errors, self._total_squares, self._target_scale
        )
        report = RegressionReport(sums.per_column(), sums.mean())
        return Evaluation(rows, cost, self._accuracy(rows), None, report)

    def _accuracy(self, rows: int) -> float | None:
        """Return the share of correct labels: one per output if they are independent, one per row if exclusive."""
        if self._cost == "binary_cross_entropy":
            return self._correct / (rows * self._columns)
        return self._correct / rows if self._cost == "categorical_cross_entropy" else None
