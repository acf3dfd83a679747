"""The values of a column in a block of rows, whether the dataset is a table or arrays."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

from nabla.engine.data.schema import StoredType
from nabla.engine.typing import AnyArray, Float64Array


class ColumnValues(ABC):
    """The values of a column in a block of rows.

    Attributes:
        type: Their type.
    """

    type: StoredType

    @abstractmethod
    def __len__(self) -> int:
        """Return the number of rows."""

    @abstractmethod
    def to_list(self) -> list[Any]:
        """Return the values as Python objects; None for missing ones."""

    @abstractmethod
    def to_float64(self) -> Float64Array:
        """Return numbers, booleans or dates (as days since 1970-01-01), with NaN for missing values."""

    @abstractmethod
    def present_numbers(self) -> AnyArray:
        """Return the numbers, booleans or dates that are not missing, in the precision in which they are stored."""

    @abstractmethod
    def count_texts(self) -> Iterable[tuple[str, int]]:
        """Return the distinct texts with their numbers of rows."""

    @abstractmethod
    def count_missing_texts(self) -> int:
        """Return the number of rows without a text."""

    @abstractmethod
    def text_buffers(self) -> Iterable[bytes | memoryview]:
        """Return buffers that are equal for equal texts and only for these."""

    @abstractmethod
    def distinct_pairs(self, others: "ColumnValues") -> Iterable[tuple[Any, Any]]:
        """Return the distinct pairs of these values with those of another column of the same kind of dataset."""
