"""A network with what its data are prepared by: raw inputs in, answers in the units of the targets out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from nabla.engine.data.features import Raw
from nabla.engine.data.preprocessing import Field, Preprocessor
from nabla.engine.data.request_rows import Cell, columns_of, named_columns_of, numbers_of
from nabla.engine.errors import InvalidInput
from nabla.engine.nn.array_views import Matrix
from nabla.engine.nn.network import Network

Answers = npt.NDArray[np.floating]


@dataclass(frozen=True, eq=False)
class Model:
    """What is published and predicts. Answers are (rows, outputs)."""

    network: Network
    preprocessor: Preprocessor

    def predict(self, inputs: Matrix, field: str) -> Answers:
        """The answers to prepared inputs. Raises InvalidInput, for the `field` that the rows came in."""
        return self.answers(self.network.outputs(inputs), field)

    def prepared(self, raw: Raw, rows: int, field_of: Field, first: int = 0) -> Matrix:
        """So many raw rows as the network takes them (rows, inputs). `first`: how many came before, for the sentences.
        Raises InvalidInput naming row and column."""
        if self.preprocessor.keeps_inputs and isinstance(raw, np.ndarray) and raw.dtype.kind == "f":
            reals: Answers = raw
        else:
            reals = self.preprocessor.prepare(raw, np.arange(first, first + rows), field_of)
        dtype = self.network.architecture.dtype
        if reals.dtype == dtype and reals.flags.c_contiguous:
            inputs = reals
        else:
            with np.errstate(over="ignore"):  # seen below
                inputs = np.ascontiguousarray(reals, dtype)
        if not np.isfinite(inputs).all():
            row, place = map(int, np.argwhere(~np.isfinite(inputs))[0])
            ends = np.cumsum([column.inputs for column in self.preprocessor.columns or ()])
            column = place if self.preprocessor.columns is None else int(np.searchsorted(ends, place, "right"))
            if isinstance(raw, tuple) or np.isfinite(raw[row, place]):
                wrong = f"The number is too large for {dtype}, in which this network calculates."
            else:
                wrong = "Only finite numbers are accepted, no NaN or infinity."
            raise InvalidInput(field_of(row, column), wrong)
        return inputs

    def answers(self, outputs: Matrix, field: str) -> Answers:
        """Outputs in the units of the targets. Raises InvalidInput, for the `field` that the rows came in, where they
        are beyond the finite numbers."""
        answers = self.preprocessor.answers(outputs)
        if not np.isfinite(answers).all():
            raise InvalidInput(field, "For these inputs the outputs are not finite numbers; they are too large.")
        return answers

    def prepared_rows(self, rows: Sequence[Sequence[Cell]], field: str) -> Matrix:
        """Rows of plain numbers, or of values in the order of the columns, None where there is none. Raises
        InvalidInput naming the row and the place in it."""
        columns = self.preprocessor.columns
        raw: Raw
        if columns is None:
            raw = numbers_of(rows, self.network.architecture.inputs, field)
        else:
            raw = columns_of(rows, columns, field)
        return self.prepared(raw, len(rows), lambda row, column: f"{field}.{row}.{column}")

    def prepared_named(self, rows: Sequence[Mapping[str, Cell]], field: str) -> Matrix:
        """Rows of values by the names of the columns. Raises InvalidInput naming the row and the column."""
        columns = self.preprocessor.columns
        if columns is None:
            raise InvalidInput(field, "These weights were trained on plain numbers, which have no names; give inputs.")
        raw = named_columns_of(rows, columns, field)
        return self.prepared(raw, len(rows), lambda row, column: f"{field}.{row}.{columns[column].name}")
