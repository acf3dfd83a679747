"""Preprocessing of raw inputs and targets: the same in training, prediction and evaluation.

A network has a `PreprocessingConfig`; each job fits a `Preprocessor` for it on its training rows alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from nabla.engine.data.features import MISSING_CODE, UNKNOWN_CODE, Features, RawInputs
from nabla.engine.data.imputation import fit_imputation
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.scaling import Scaling, compress_outliers, fit_scaling
from nabla.engine.data.schema import PERIOD_DAYS, Classes, Column, describe_column_mismatch, format_names
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import OutlierHandling, ScalingName
from nabla.engine.typing import AnyArray, Float64Array, FloatArray, RowIndices

CellField = Callable[[int, int], str]
"""Returns the field for an error in a cell, from its row (within the block) and its column."""

# These costs measure distances. All others expect probabilities or counts, which scaled targets are not.
_COSTS_FOR_SCALED_TARGETS = ("quadratic", "mean_absolute", "huber")


def dataset_field(row: int, column: int) -> str:
    """Return the field for an error in a cell of a stored dataset: its request only names the dataset."""
    return "dataset_id"


@dataclass(frozen=True)
class PreprocessingConfig:
    """Configuration of the preprocessing, which a network is created with.

    Attributes:
        inputs: Scaling of the inputs.
        targets: Scaling of the targets.
        handle_unknown: What to do with a category that did not occur in training: "error" rejects the row, "ignore"
            sets all inputs of the column to 0.
        outliers: What to do with scaled inputs beyond ±3: "compress" limits them smoothly to ±6.
    """

    inputs: ScalingName = "none"
    targets: ScalingName = "none"
    handle_unknown: Literal["error", "ignore"] = "error"
    outliers: OutlierHandling = "keep"

    @property
    def has_scaling(self) -> bool:
        """Whether inputs or targets are scaled."""
        return (self.inputs, self.targets) != ("none", "none")

    def check_cost(self, cost: str) -> None:
        """Raise InvalidInput if targets are scaled and the cost does not allow it."""
        if self.targets != "none" and cost not in _COSTS_FOR_SCALED_TARGETS:
            accepted = ", ".join(_COSTS_FOR_SCALED_TARGETS)
            raise InvalidInput(
                "preprocessing.targets",
                f"The cost {cost} expects probabilities or counts, which scaled targets are not. Accepted: none, or "
                f"one of the costs {accepted}.",
            )

    def check_classes(self, classes: Classes | None, field: str = "preprocessing.targets") -> None:
        """Raise InvalidInput if targets are scaled and the dataset has classes instead of numbers."""
        if self.targets != "none" and classes is not None:
            raise InvalidInput(
                field,
                f"The network scales its targets ({self.targets}), and the dataset has classes. Use a dataset with "
                "numbers as targets, or a network whose preprocessing.targets is none.",
            )


@dataclass(frozen=True, eq=False)
class Preprocessor:
    """Fitted preprocessing.

    Attributes:
        config: The configuration that it was fitted for.
        columns: Columns of the table that it was fitted on; None for a numeric matrix.
        imputation_values: (columns) A number, or the code of a category, in place of a missing value; NaN rejects
            rows with a missing value.
        input_scaling: Scaling of the encoded inputs; None if they are not scaled.
        target_scaling: Scaling of the targets; None if they are not scaled.
    """

    config: PreprocessingConfig
    columns: tuple[Column, ...] | None
    imputation_values: Float64Array
    input_scaling: Scaling | None
    target_scaling: Scaling | None

    @classmethod
    def identity(cls, config: PreprocessingConfig | None = None) -> "Preprocessor":
        """Return a preprocessor that leaves a numeric matrix and its targets unchanged."""
        return cls(config or PreprocessingConfig(), None, np.zeros(0), None, None)

    @cached_property
    def leaves_inputs_unchanged(self) -> bool:
        """Whether `transform` returns its argument unchanged."""
        return self.columns is None and self.input_scaling is None

    def check_columns(self, columns: tuple[Column, ...] | None, *, for_training: bool = False) -> None:
        """Check that a dataset with these columns can be transformed.

        Args:
            columns: The columns; None for a plain numeric matrix.
            for_training: Whether additional columns, and types that could be converted, are rejected.

        Raises:
            InvalidInput: A column differs in name or type (field `dataset_id`).
        """
        mismatch = describe_column_mismatch(self.columns, columns, for_training=for_training)
        if mismatch is not None:
            raise InvalidInput(
                "dataset_id", f"The dataset does not have the columns that the network was trained on: {mismatch}."
            )

    def list_unused(self, columns: tuple[Column, ...] | None) -> list[str]:
        """Return the names of the columns that this preprocessor was not fitted on."""
        known = {column.name for column in self.columns or ()}
        return [column.name for column in columns or () if column.name not in known]

    @cached_property
    def _usual_range(self) -> tuple[Float64Array, Float64Array] | None:
        """Bounds (inputs) of numbers that are not far outside those of the training rows; None if they are unknown."""
        if self.input_scaling is None or self.input_scaling.ranges is None:
            return None
        smallest, largest = self.input_scaling.ranges
        with np.errstate(over="ignore"):
            width = largest - smallest
            return smallest - width, largest + width

    def transform(
        self, raw: RawInputs, rows: RowIndices, field: CellField, warnings: InputWarnings | None = None
    ) -> Float64Array:
        """Impute, encode and scale raw inputs.

        Args:
            raw: A matrix (rows, inputs), or one array (rows) per column of the table.
            rows: Numbers of these rows in the dataset or request, from 0; error messages count from 1.
            field: Field for errors.
            warnings: Collects what is unusual about the rows.

        Returns:
            (rows, inputs) The inputs of the network.

        Raises:
            InvalidInput: A row has a missing value without an imputation, or an unknown category.
        """
        x = self._encode(raw, rows, field, warnings)
        if self.input_scaling is None:
            return x
        if warnings is not None:
            self._warn_of_outside(x, rows, warnings)
        z = self.input_scaling.transform(x)
        return compress_outliers(z) if self.config.outliers == "compress" else z

    def transform_targets(self, targets: FloatArray) -> Float64Array:
        """Scale targets (rows, outputs)."""
        y = np.asarray(targets, np.float64)
        return y if self.target_scaling is None else self.target_scaling.transform(y)

    def inverse_transform_targets(self, outputs: FloatArray) -> FloatArray:
        """Return outputs (rows, outputs) of the network in the units of the targets."""
        return outputs if self.target_scaling is None else self.target_scaling.inverse_transform(outputs)

    def _warn_of_outside(self, x: Float64Array, rows: RowIndices, warnings: InputWarnings) -> None:
        if self._usual_range is None:
            return
        low, high = self._usual_range
        outside = (x < low) | (x > high)
        if not outside.any():
            return
        assert self.input_scaling is not None
        assert self.input_scaling.ranges is not None
        for index in np.flatnonzero(outside.any(axis=0)):
            found = np.flatnonzero(outside[:, index])
            smallest, largest = self.input_scaling.ranges[:, index]
            column = int(index) if self.columns is None else self._column_of(int(index))
            warnings.add_outside(column, rows[found], x[found, index], float(smallest), float(largest))

    def _column_of(self, index: int) -> Column:
        """Return the column that becomes an input of the network."""
        assert self.columns is not None
        ends = np.cumsum([column.inputs for column in self.columns])
        return self.columns[int(np.searchsorted(ends, index, "right"))]

    def _encode(
        self, raw: RawInputs, rows: RowIndices, field: CellField, warnings: InputWarnings | None
    ) -> Float64Array:
        if self.columns is None:
            assert not isinstance(raw, tuple)
            return np.asarray(raw, np.float64, order="C")
        assert isinstance(raw, tuple)
        x = np.zeros((len(rows), sum(column.inputs for column in self.columns)))
        offset = 0
        for index, (column, values) in enumerate(zip(self.columns, raw, strict=True)):
            imputed = self._impute(index, column, values, rows, field)
            if column.other is not None:
                imputed = np.where(imputed == UNKNOWN_CODE, column.categories.index(column.other), imputed)
            if column.type == "category":
                self._check_known(index, column, imputed, rows, field)
                known = np.flatnonzero(imputed != UNKNOWN_CODE)
                if warnings is not None and len(known) < len(imputed):
                    warnings.add_unknown(column, rows[imputed == UNKNOWN_CODE])
                x[known, offset + imputed[known]] = 1
            else:
                x[:, offset] = imputed
                for number, period in enumerate(column.periods):
                    angle = imputed * (2 * np.pi / PERIOD_DAYS[period])
                    x[:, offset + 1 + 2 * number], x[:, offset + 2 + 2 * number] = np.sin(angle), np.cos(angle)
            offset += column.inputs
        return x

    def _impute(self, index: int, column: Column, values: AnyArray, rows: RowIndices, field: CellField) -> AnyArray:
        missing = values == MISSING_CODE if column.type == "category" else np.isnan(values)
        if not missing.any():
            return values
        imputation_value = self.imputation_values[index]
        if np.isnan(imputation_value):
            row = int(missing.argmax())
            raise InvalidInput(
                field(row, index),
                f"Row {rows[row] + 1} has no value in the column {column.name!r}, which has no imputation.",
            )
        return np.where(missing, imputation_value, values).astype(values.dtype)

    def _check_known(self, index: int, column: Column, codes: AnyArray, rows: RowIndices, field: CellField) -> None:
        unknown = codes == UNKNOWN_CODE
        if self.config.handle_unknown == "error" and unknown.any():
            row = int(unknown.argmax())
            raise InvalidInput(
                field(row, index),
                f"Row {rows[row] + 1} has an unknown value in the column {column.name!r}; the categories learned are "
                f"{format_names(column.categories)}.",
            )


def fit_preprocessor(
    config: PreprocessingConfig, features: Features, targets: AnyArray | None, rows: RowIndices
) -> Preprocessor:
    """Fit a preprocessor on the training rows of a dataset.

    Args:
        config: Preprocessing of the network.
        features: Raw inputs of the dataset.
        targets: (rows, outputs) Targets of the dataset; None for classes.
        rows: Training rows, ascending.

    Raises:
        InvalidInput: A row has a missing value without an imputation, an imputation does not suit its column, or the
            scale of a column is not finite (field `dataset_id`).
    """
    values = np.zeros(0) if features.columns is None else fit_imputation(features, rows)
    input_scaling = target_scaling = None
    if config.inputs != "none":
        imputing = Preprocessor(config, features.columns, values, None, None)
        input_scaling = _fit_input_scaling(config.inputs, imputing, features, rows)
    if targets is not None and config.targets != "none":
        width = targets.shape[1]
        target_scaling = fit_scaling(config.targets, lambda block: np.asarray(targets[block], np.float64), rows, width)
        _check_finite(target_scaling, "targets", [str(column) for column in range(width)])
    return Preprocessor(config, features.columns, values, input_scaling, target_scaling)


def _fit_input_scaling(method: ScalingName, imputing: Preprocessor, features: Features, rows: RowIndices) -> Scaling:
    """Fit the scaling of imputed inputs.

    A matrix is fitted as a whole, a table column by column: its numbers and dates. Booleans and one-hot categories keep
    the offset 0 and the scale 1.
    """
    if features.columns is None:
        scaling = fit_scaling(
            method, lambda block: imputing.transform(features.read(block), block, dataset_field), rows, features.inputs
        )
        _check_finite(scaling, "inputs", [str(column) for column in range(features.inputs)])
        return scaling
    offsets, scales = np.zeros(features.inputs), np.ones(features.inputs)
    ranges = np.array([[0.0], [1.0]]).repeat(features.inputs, axis=1)
    position = 0
    for index, column in enumerate(features.columns):
        if column.type in ("number", "date"):
            column_features = features.select_column(index)
            column_imputing = Preprocessor(
                imputing.config, (column,), imputing.imputation_values[index : index + 1], None, None
            )

            def read(
                block: RowIndices, features: Features = column_features, imputing: Preprocessor = column_imputing
            ) -> Float64Array:
                return imputing.transform(features.read(block), block, dataset_field)[:, :1]

            scaling = fit_scaling(method, read, rows, 1)
            _check_finite(scaling, "inputs", [column.name])
            offsets[position], scales[position] = scaling.offsets[0], scaling.scales[0]
            if scaling.ranges is not None:
                ranges[:, position] = scaling.ranges[:, 0]
        position += column.inputs
    return Scaling(offsets, scales, ranges)


def _check_finite(scaling: Scaling, noun: str, names: list[str]) -> None:
    invalid = np.flatnonzero(~(np.isfinite(scaling.offsets) & np.isfinite(scaling.scales)))
    if invalid.size:
        raise InvalidInput(
            "dataset_id",
            f"The range of the column {names[int(invalid[0])]} of the {noun} is too large for scaling; divide its "
            "values by a constant first.",
        )
