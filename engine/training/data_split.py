"""Training and validation rows of a job: their selection, sample weights and metrics."""

from dataclasses import dataclass

import numpy as np

from nabla.engine.data.loading import OpenDataset
from nabla.engine.data.schema import Classes
from nabla.engine.data.splitting import partition_rows
from nabla.engine.errors import InvalidInput
from nabla.engine.nn import rng
from nabla.engine.nn.layout import BINARY_ACCURACY, CATEGORICAL_ACCURACY, CORRECT, COST, ERRORS, REGRESSION
from nabla.engine.nn.training_step import Examples
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.metrics import RegressionSums, total_sum_of_squares
from nabla.engine.training.state import SplitMetrics
from nabla.engine.typing import ClassCodes, Float64Array, RowIndices


@dataclass(frozen=True, eq=False)
class DataSplit:
    """Some rows of a dataset.

    Attributes:
        examples: All rows of the dataset.
        rows: The rows of the split, ascending.
        total_weight: Sum of their sample weights.
        total_squares: (outputs) Total sum of squares of the targets; empty unless the metric is REGRESSION.
        target_scale: (outputs) Size of one unit of y in the units of the targets.
    """

    examples: Examples
    rows: RowIndices
    total_weight: float
    total_squares: Float64Array
    target_scale: Float64Array

    @classmethod
    def from_rows(
        cls, examples: Examples, rows: RowIndices, metric: int, target_scale: Float64Array | None
    ) -> "DataSplit":
        """Return the split with these rows; a `target_scale` of None stands for unscaled targets."""
        total_weight = float(examples.weights[rows].sum()) if examples.weights.size else float(len(rows))
        total_squares = total_sum_of_squares(examples.y, rows) if metric == REGRESSION else np.zeros(0)
        scale = np.ones(examples.y.shape[1]) if target_scale is None else target_scale
        return cls(examples, rows, total_weight, total_squares, scale)

    def metrics(self, sums: Float64Array, metric: int) -> SplitMetrics:
        """Return the metrics of the split from the sums over its rows, in the layout of compiled code."""
        rows = len(self.rows)
        cost = float(sums[COST]) / self.total_weight
        if metric != REGRESSION:
            predictions = rows * (self.examples.y.shape[1] if metric == BINARY_ACCURACY else 1)
            return SplitMetrics(cost, accuracy=float(sums[CORRECT]) / predictions)
        absolute, squared = sums[ERRORS:].reshape(2, -1)
        mean = RegressionSums(rows, absolute, squared, self.total_squares, self.target_scale).mean()
        return SplitMetrics(cost, r2=mean.r2, mae=mean.mae, rmse=mean.rmse)


def choose_metric(cost: str, outputs: int, classes: Classes | None) -> int:
    """Return the metric that compiled code computes beside the cost.

    Returns:
        CATEGORICAL_ACCURACY for the accuracy of classes;
        BINARY_ACCURACY for the accuracy of binary labels, for which each output is compared with ½;
        REGRESSION for R², MAE and RMSE.
    """
    if cost == "binary_cross_entropy" and (classes is None or outputs == 1):
        return BINARY_ACCURACY
    if classes is not None:
        return BINARY_ACCURACY if outputs == 1 else CATEGORICAL_ACCURACY
    return CATEGORICAL_ACCURACY if cost == "categorical_cross_entropy" else REGRESSION


def split_data(
    dataset: OpenDataset,
    spec: TrainingSpec,
    classes: Classes | None,
    metric: int,
    validation: OpenDataset | None,
) -> tuple[DataSplit, DataSplit | None]:
    """Return the training split, and the validation split if there is one.

    Args:
        dataset: Dataset to train on.
        spec: Settings of the job; `validation_fraction` of the dataset are held out.
        classes: Classes of the dataset; None for numeric targets.
        metric: See `choose_metric`.
        validation: A dataset to use for validation instead.

    Raises:
        InvalidInput: A split has no row with a weight above 0, or the sum of the weights is not finite.
    """
    training_rows, held_out = split_rows(len(dataset.x), dataset.codes, spec)
    weights = _sample_weights(dataset, spec, classes, training_rows)
    examples = Examples(dataset.x, dataset.y, weights)
    training = DataSplit.from_rows(examples, training_rows, metric, dataset.target_scale)
    if validation is not None:
        held_out = np.arange(len(validation.x), dtype=np.int64)
        weights = _sample_weights(validation, spec, classes, held_out)
        examples = Examples(validation.x, validation.y, weights)
    if not len(held_out):
        return training, None
    # The preprocessor of the training data scales both datasets.
    validating = DataSplit.from_rows(examples, held_out, metric, dataset.target_scale)
    if not validating.total_weight > 0:
        raise InvalidInput(
            "validation", "All validation rows have the weight 0; at least one must have a weight above 0."
        )
    return training, validating


def split_rows(rows: int, codes: ClassCodes | None, spec: TrainingSpec) -> tuple[RowIndices, RowIndices]:
    """Return the training rows and the validation rows of a dataset, each ascending.

    They depend on the number of rows, the seed and, if stratified, the classes alone.

    Args:
        rows: Number of rows of the dataset.
        codes: (rows) Codes of the classes; None for numeric targets.
        spec: Settings of the job.

    Raises:
        InvalidInput: No row would be left to train on.
    """
    order = np.arange(rows, dtype=np.int64)
    held_out = spec.validation_rows(rows)
    if not held_out:
        return order, order[:0]
    rng.shuffle(order, spec.seed, rng.SPLIT, 0)
    validation, training = partition_rows(order, (held_out, rows), codes if spec.stratified else None)
    return training, validation


def _sample_weights(
    dataset: OpenDataset, spec: TrainingSpec, classes: Classes | None, training_rows: RowIndices
) -> Float64Array:
    """Return the product of sample weights and class weights (rows), or an empty array if all rows weigh the same.

    The weights are scaled to a mean of 1 over the training rows, so that a learning rate has the same effect with and
    without weights.
    """
    if dataset.weights is None and spec.class_weights is None:
        return np.zeros(0)
    weights = np.ones(len(dataset.x)) if dataset.weights is None else np.array(dataset.weights, np.float64)
    with np.errstate(over="ignore"):  # an infinite sum is reported below
        if spec.class_weights is not None and dataset.codes is not None and classes is not None:
            weights *= _class_weights(dataset.codes, spec, classes, training_rows)[dataset.codes]
        total = weights[training_rows].sum()
    if not 0 < total < np.inf:
        raise InvalidInput(
            "dataset_id", f"The weights of the training rows have the sum {total:g}; a finite sum above 0 is needed."
        )
    return np.asarray(weights * (len(training_rows) / total))


def _class_weights(codes: ClassCodes, spec: TrainingSpec, classes: Classes, training_rows: RowIndices) -> Float64Array:
    """Return the weight of each class; balanced: n / (K nₖ), with which all K classes have the same total weight."""
    if isinstance(spec.class_weights, dict):
        return np.array(spec.weights_by_class(classes))
    counts = np.bincount(codes[training_rows], minlength=len(classes))
    return len(training_rows) / (len(classes) * np.maximum(counts, 1.0))
