"""The history of a job: its epochs, for people, notebooks and data frames."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, overload

from app.client.curve import Curve
from app.client.figures import page
from app.schemas.histories import EpochView

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class History(Sequence[EpochView]):
    """Epochs, oldest first. What makes a table of them needs the library that it is of, and nothing else does."""

    def __init__(self, epochs: Iterable[EpochView]) -> None:
        self._epochs = tuple(epochs)

    @overload
    def __getitem__(self, place: int) -> EpochView: ...

    @overload
    def __getitem__(self, place: slice) -> "History": ...

    def __getitem__(self, place: int | slice) -> "EpochView | History":
        return History(self._epochs[place]) if isinstance(place, slice) else self._epochs[place]

    def __len__(self) -> int:
        return len(self._epochs)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, History) and self._epochs == other._epochs

    def __hash__(self) -> int:
        return hash(len(self._epochs))

    def columns(self) -> dict[str, list[Any]]:
        """Each figure of all epochs; those that no epoch has are left out."""
        named = {name: [getattr(epoch, name) for epoch in self._epochs] for name in EpochView.model_fields}
        return {name: values for name, values in named.items() if any(value is not None for value in values)}

    def column(self, name: str) -> list[Any]:
        """One figure of all epochs: `column("validation_cost")`."""
        return [getattr(epoch, name) for epoch in self._epochs]

    def to_numpy(self, name: str = "cost") -> "npt.NDArray[np.float64]":
        """One figure of all epochs; NaN where an epoch has none."""
        import numpy as np

        return np.array(self.column(name), np.float64)

    def to_pandas(self) -> Any:
        """A DataFrame with the epochs as its index."""
        import pandas as pd

        return pd.DataFrame(self.columns(), columns=list(self.columns()) or ["epoch"]).set_index("epoch")

    def to_polars(self) -> Any:
        import polars as pl

        return pl.DataFrame(self.columns())

    def to_arrow(self) -> Any:
        import pyarrow as pa

        return pa.table(self.columns())

    def __repr__(self) -> str:
        if not self._epochs:
            return "<History: no epochs>"
        return f"<History: {len(self._epochs):,} epochs, cost {self._epochs[0].cost:.4g} → {self._epochs[-1].cost:.4g}>"

    def _repr_html_(self) -> str:
        curve = Curve()
        for epoch in self._epochs:
            curve.add(epoch.epoch, epoch.cost, epoch.validation_cost)
        return page("History", [], curve.points)
