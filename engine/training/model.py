"""A model: a network with the preprocessor that was fitted for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from nabla.engine.data.features import RawInputs
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.preprocessing import CellField, Preprocessor
from nabla.engine.data.request_rows import parse_matrix, parse_records, parse_rows
from nabla.engine.data.schema import Cell
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.network import Network
from nabla.engine.typing import FloatArray

Predictions = FloatArray
"""(rows, outputs), in the units of the targets."""


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its preprocessor: it maps raw inputs to predictions in the units of the targets."""

    network: Network
    preprocessor: Preprocessor

    def predict(self, inputs: FloatArray, field: str) -> Predictions:
        """Return the predictions for preprocessed inputs.

        Args:
            inputs: (rows, inputs) Result of one of the `preprocess` methods.
            field: Field of the request for errors.

        Raises:
            InvalidInput: A prediction is not finite.
        """
        return self.rescale_outputs(self.network.outputs(inputs), field)

    def rescale_outputs(self, outputs: FloatArray, field: str) -> Predictions:
        """Return outputs of the network (rows, outputs) in the units of the targets.

        Args:
            outputs: (rows, outputs) Outputs of the network.
            field: Field of the request for errors.

        Raises:
            InvalidInput: A prediction is not finite.
        """
        predictions: Predictions = outputs
        if self.preprocessor.target_scaling is not None:
            predictions = self.preprocessor.inverse_transform_targets(outputs)
        if not np.isfinite(predictions).all():
            raise InvalidInput(field, "The outputs for these inputs are not finite numbers; the inputs are too large.")
        return predictions

    def preprocess_rows(
        self, rows: Sequence[Sequence[Cell]], field: str, warnings: InputWarnings | None = None
    ) -> FloatArray:
        """Preprocess rows of cells in the order of the columns.

        Args:
            rows: Rows of numbers, or for a model of a table rows of cells, None for a missing value.
            field: Field of the request for errors.
            warnings: Collects what is unusual about the rows.

        Returns:
            (rows, inputs) in the dtype of the network.

        Raises:
            InvalidInput: A row or cell is not accepted; the field names the row and the position.
        """
        columns = self.preprocessor.columns
        raw: RawInputs
        if columns is None:
            raw = parse_matrix(rows, self.network.architecture.inputs, field)
        else:
            raw = parse_rows(rows, columns, field)
        return self.preprocess(raw, len(rows), lambda row, column: f"{field}.{row}.{column}", warnings=warnings)

    def preprocess_records(
        self, rows: Sequence[Mapping[str, Cell]], field: str, warnings: InputWarnings | None = None
    ) -> FloatArray:
        """Preprocess rows of cells keyed by column name.

        Args:
            rows: Rows of cells, None for a missing value.
            field: Field of the request for errors.
            warnings: Collects what is unusual about the rows.

        Returns:
            (rows, inputs) in the dtype of the network.

        Raises:
            InvalidInput: A row or cell is not accepted; the field names the row and the column.
        """
        columns = self.preprocessor.columns
        if columns is None:
            raise InvalidInput(
                field, "These weights were trained on plain numbers without column names; send inputs instead."
            )
        raw = parse_records(rows, columns, field, warnings)
        return self.preprocess(
            raw, len(rows), lambda row, column: f"{field}.{row}.{columns[column].name}", warnings=warnings
        )

    def preprocess(
        self,
        raw: RawInputs,
        rows: int,
        field_of: CellField,
        first: int = 0,
        warnings: InputWarnings | None = None,
    ) -> FloatArray:
        """Preprocess raw inputs.

        Args:
            raw: A matrix (rows, inputs), or one array (rows) per column of the table.
            rows: Number of rows.
            field_of: Field for errors in a cell.
            first: Number of rows before these, counted in the row numbers of error messages and warnings.
            warnings: Collects what is unusual about the rows.

        Returns:
            (rows, inputs) C-contiguous, in the dtype of the network.

        Raises:
            InvalidInput: A value is missing, unknown, or not finite in the dtype of the network.
        """
        numbers: FloatArray
        if self.preprocessor.leaves_inputs_unchanged and isinstance(raw, np.ndarray) and raw.dtype.kind == "f":
            numbers = raw
        else:
            numbers = self.preprocessor.transform(raw, np.arange(first, first + rows), field_of, warnings)
        dtype = self.network.architecture.dtype
        if numbers.dtype == dtype and numbers.flags.c_contiguous:
            inputs = numbers
        else:
            with np.errstate(over="ignore"):  # an overflow is reported below
                inputs = np.ascontiguousarray(numbers, dtype)
        if not np.isfinite(inputs).all():
            raise self._not_finite(raw, inputs, field_of)
        return inputs

    def _not_finite(self, raw: RawInputs, inputs: FloatArray, field_of: CellField) -> InvalidInput:
        """Return the error for the first input that is not finite."""
        row, position = map(int, np.argwhere(~np.isfinite(inputs))[0])
        if self.preprocessor.columns is None:
            column = position
        else:
            ends = np.cumsum([column.inputs for column in self.preprocessor.columns])
            column = int(np.searchsorted(ends, position, "right"))
        if isinstance(raw, tuple) or np.isfinite(raw[row, position]):
            message = f"The number is too large for {inputs.dtype}, the precision of this network."
        else:
            message = "Only finite numbers are accepted, no NaN or infinity."
        return InvalidInput(field_of(row, column), message)
