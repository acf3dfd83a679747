"""A network with what its data are prepared by: raw inputs in, answers in the units of the targets out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.cells import Cell, columns_of, named_columns_of, numbers_of
from engine.data.features import Raw
from engine.data.preparation import Field, Preparation
from engine.errors import InvalidInput
from engine.nn.network import Network

Answers = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Model:
    """What is published and predicts. Answers are (rows, outputs)."""

    network: Network
    preparation: Preparation

    def predict(self, raw: Raw, rows: int, field: str, field_of: Field) -> Answers:
        """The answers to so many raw rows, which came in `field`. Raises InvalidInput, with `field_of` the row and the
        column where one of them cannot be prepared."""
        prepared = self.preparation.prepare(raw, np.arange(rows), field_of)
        self._check_reach(prepared, field_of)
        try:
            outputs = self.network.predict(prepared)
        except InvalidInput as refused:
            raise InvalidInput(field, str(refused)) from refused
        answers = self.preparation.answers(outputs)
        if not np.isfinite(answers).all():
            raise InvalidInput(field, "For these inputs the outputs are not finite numbers; they are too large.")
        return answers

    def _check_reach(self, prepared: npt.NDArray[np.float64], field_of: Field) -> None:
        """Raises InvalidInput naming the first row and column with a number that the network's type has not."""
        dtype = self.network.architecture.dtype
        wrong = np.argwhere(~(np.abs(prepared) <= np.finfo(dtype).max))
        if len(wrong):
            row, place = map(int, wrong[0])
            ends = np.cumsum([column.inputs for column in self.preparation.columns or ()])
            column = place if self.preparation.columns is None else int(np.searchsorted(ends, place, "right"))
            raise InvalidInput(
                field_of(row, column), f"The number is too large for {dtype}, in which this network calculates."
            )

    def predict_rows(self, rows: Sequence[Sequence[Cell]], field: str) -> Answers:
        """To rows of plain numbers, or of values in the order of the columns, None where there is none. Raises
        InvalidInput naming the row and the place in it."""
        columns = self.preparation.columns
        raw: Raw
        if columns is None:
            raw = numbers_of(rows, self.network.architecture.inputs, field)
        else:
            raw = columns_of(rows, columns, field)
        return self.predict(raw, len(rows), field, lambda row, column: f"{field}.{row}.{column}")

    def predict_named(self, rows: Sequence[Mapping[str, Cell]], field: str) -> Answers:
        """To rows of values by the names of the columns. Raises InvalidInput naming the row and the column."""
        columns = self.preparation.columns
        if columns is None:
            raise InvalidInput(field, "The version was trained on plain numbers, which have no names; give inputs.")
        raw = named_columns_of(rows, columns, field)
        return self.predict(raw, len(rows), field, lambda row, column: f"{field}.{row}.{columns[column].name}")
