"""The rows that are trained on and those that validate: which they are, what they weigh, and what they measure."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.loading import OpenDataset
from nabla.engine.data.stratify import spread_classes
from nabla.engine.errors import InvalidInput
from nabla.engine.nn import rng
from nabla.engine.nn.compiled_layout import CLASSES, CORRECT, COST, ERRORS, NUMBERS, SIDES, Rows
from nabla.engine.nn.training_step import Examples
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.metrics import mean_r2, spread_of
from nabla.engine.training.state import Measures

Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """Some rows of a dataset. `weight`: their weights together; `spread`: Σ (y − mean of y)² of each output, empty
    where no numbers are to be met; `units`: what 1 of each output is in the units of the targets."""

    examples: Examples
    rows: Rows
    weight: float
    spread: Vector
    units: Vector

    @classmethod
    def of(cls, examples: Examples, rows: Rows, measure: int, units: Vector | None = None) -> "Part":
        weight = float(examples.weights[rows].sum()) if examples.weights.size else float(len(rows))
        spread = spread_of(examples.y, rows) if measure == NUMBERS else np.zeros(0)
        return cls(examples, rows, weight, spread, np.ones(examples.y.shape[1]) if units is None else units)

    def measures(self, totals: Vector, measure: int) -> Measures:
        """From sums over all rows of the part."""
        count = len(self.rows)
        cost = float(totals[COST]) / self.weight
        if measure != NUMBERS:
            answers = self.examples.y.shape[1] if measure == SIDES else 1
            return Measures(cost, float(totals[CORRECT]) / (count * answers), None, None, None)
        absolute, squared = totals[ERRORS:].reshape(2, -1)
        mae, rmse = absolute / count * self.units, np.sqrt(squared / count) * self.units
        return Measures(cost, None, mean_r2(squared, self.spread), float(mae.mean()), float(rmse.mean()))


def measure_for(cost: str, outputs: int, classes: tuple[str, ...] | None) -> int:
    """What to count beside the cost: right classes, labels on the right side of ½, or errors of numbers."""
    if cost == "binary_cross_entropy" and (classes is None or outputs == 1):
        return SIDES
    if classes is not None:
        return SIDES if outputs == 1 else CLASSES
    return CLASSES if cost == "categorical_cross_entropy" else NUMBERS


def parts_of(
    dataset: OpenDataset,
    spec: TrainingSpec,
    classes: tuple[str, ...] | None,
    measure: int,
    validation: OpenDataset | None,
) -> tuple[Part, Part | None]:
    """The part to train on, and the one that validates: all rows of `validation`, or a fraction of the dataset's.

    Raises InvalidInput where no row is left, or none that counts.
    """
    training, held_back = divide(len(dataset.x), dataset.codes, spec)
    weights = weights_of(dataset, spec, classes, training)
    examples = Examples(dataset.x, dataset.y, weights)
    if validation is not None:
        held_back = np.arange(len(validation.x), dtype=np.int64)
        other = Examples(validation.x, validation.y, weights_of(validation, spec, classes, held_back))
    else:
        other = examples
    if not len(held_back):
        return Part.of(examples, training, measure, dataset.units), None
    validating = Part.of(other, held_back, measure, dataset.units)
    if not validating.weight > 0:
        raise InvalidInput("validation", "All rows for validation have the weight 0; at least one must count.")
    return Part.of(examples, training, measure, dataset.units), validating


def divide(count: int, codes: npt.NDArray[np.int32] | None, spec: TrainingSpec) -> tuple[Rows, Rows]:
    """(training rows, validation rows) of so many, each in the order of the dataset; `codes`: of their classes. Raises
    InvalidInput if no row is left."""
    rows = np.arange(count, dtype=np.int64)
    wanted = spec.validation_rows(count)
    if not wanted:
        return rows, rows[:0]
    rng.shuffle(rows, spec.seed, rng.SPLIT, 0)
    if spec.stratified and codes is not None:
        rows = spread_classes(rows, codes)
    return np.sort(rows[wanted:]), np.sort(rows[:wanted])


def weights_of(dataset: OpenDataset, spec: TrainingSpec, classes: tuple[str, ...] | None, training: Rows) -> Vector:
    """How much each row counts, from the dataset's weights and those of its class; empty where all count alike.

    They are scaled so that the training rows weigh 1 on average: the learning rate then means what it means without
    weights. Raises InvalidInput if no training row counts, or the sum is not finite.
    """
    weights = np.ones(len(dataset.x)) if dataset.weights is None else np.array(dataset.weights, np.float64)
    if dataset.weights is None and spec.class_weights is None:
        return np.zeros(0)
    with np.errstate(over="ignore"):  # seen below
        if spec.class_weights is not None and dataset.codes is not None and classes is not None:
            weights *= _of_classes(dataset, spec, classes, training)[dataset.codes]
        total = weights[training].sum()
    if not 0 < total < np.inf:
        raise InvalidInput(
            "dataset_id", f"The weights of the training rows have the sum {total:g}; a finite sum above 0 is needed."
        )
    return np.asarray(weights * (len(training) / total))


def _of_classes(dataset: OpenDataset, spec: TrainingSpec, classes: tuple[str, ...], training: Rows) -> Vector:
    """The weight of each class; balanced: n / (K nₖ), so that every class weighs the same in all."""
    assert dataset.codes is not None
    if isinstance(spec.class_weights, dict):
        return np.array([spec.class_weights.get(label, 1.0) for label in classes])
    counts = np.bincount(dataset.codes[training], minlength=len(classes))
    return len(training) / (len(classes) * np.maximum(counts, 1.0))
