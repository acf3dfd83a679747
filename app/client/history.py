"""Training history of a job: epochs as a sequence or a table, and the cost curve for notebooks and terminals."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from nabla.app.schemas.jobs import EpochView

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


class History(Sequence[EpochView]):
    """Epochs of a job, oldest first.

    A sequence of epochs that converts to a table of a data library, which must be installed. Notebooks show the cost
    (loss) as a curve.

    Example:
        ```python
        history = job.history()
        history[-1].cost
        history.to_pandas()[["cost", "validation_cost"]].plot()
        ```
    """

    def __init__(self, epochs: Iterable[EpochView]) -> None:
        self._epochs = tuple(epochs)

    @overload
    def __getitem__(self, index: int) -> EpochView: ...

    @overload
    def __getitem__(self, index: slice) -> "History": ...

    def __getitem__(self, index: int | slice) -> "EpochView | History":
        """Return the epoch at a position, or the history of a slice."""
        return History(self._epochs[index]) if isinstance(index, slice) else self._epochs[index]

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self._epochs)

    def __eq__(self, other: object) -> bool:
        """Compare all metrics of all epochs."""
        return isinstance(other, History) and self._epochs == other._epochs

    def __hash__(self) -> int:
        """Return a hash that agrees with equality."""
        return hash(len(self._epochs))

    def columns(self) -> dict[str, list[Any]]:
        """Return all metrics by name, each as a list with a value per epoch; metrics without any value are left out."""
        metrics = {name: self.column(name) for name in EpochView.model_fields}
        return {name: values for name, values in metrics.items() if any(value is not None for value in values)}

    def column(self, name: str) -> list[Any]:
        """Return one metric of all epochs.

        Args:
            name: A field of an epoch, such as `"validation_cost"`.
        """
        return [getattr(epoch, name) for epoch in self._epochs]

    def to_numpy(self, name: str = "cost") -> "npt.NDArray[np.float64]":
        """Return one metric of all epochs as an array of shape (epochs,), with NaN for missing values.

        Args:
            name: A field of an epoch, such as `"validation_cost"`.
        """
        import numpy as np

        return np.array(self.column(name), np.float64)

    def to_pandas(self) -> Any:
        """Return a pandas DataFrame of all metrics, indexed by epoch."""
        import pandas as pd

        return pd.DataFrame(self.columns(), columns=list(self.columns()) or ["epoch"]).set_index("epoch")

    def to_polars(self) -> Any:
        """Return a Polars DataFrame of all metrics."""
        import polars as pl

        return pl.DataFrame(self.columns())

    def to_arrow(self) -> Any:
        """Return a PyArrow Table of all metrics."""
        import pyarrow as pa

        return pa.table(self.columns())

    def __repr__(self) -> str:
        """Return the number of epochs, and the first and the last cost."""
        if not self._epochs:
            return "<History: no epochs>"
        return f"<History: {len(self._epochs):,} epochs, cost {self._epochs[0].cost:.4g} → {self._epochs[-1].cost:.4g}>"

    def _repr_html_(self) -> str:
        curve = CostCurve()
        for epoch in self._epochs:
            curve.add(epoch.epoch, epoch.cost, epoch.validation_cost)
        return render_html("History", [], curve.points)


class CostPoint(NamedTuple):
    """Cost of one epoch."""

    epoch: int
    cost: float
    validation_cost: float | None


class CostCurve:
    """Cost by epoch, downsampled to a bounded number of points while epochs arrive.

    It holds every n-th epoch and the last one; n doubles whenever there would be more than `MAX_POINTS`.
    """

    MAX_POINTS = 1024

    def __init__(self) -> None:
        self._points: list[CostPoint] = []
        self._last: CostPoint | None = None
        self._stride = 1

    def add(self, epoch: int, cost: float, validation_cost: float | None) -> None:
        """Add an epoch. Later epochs are dropped: a job that restarts from a checkpoint repeats them."""
        while self._points and self._points[-1].epoch >= epoch:
            self._points.pop()
        self._last = CostPoint(epoch, cost, validation_cost)
        if epoch % self._stride == 0 or not self._points:
            self._points.append(self._last)
        if len(self._points) > self.MAX_POINTS:
            self._stride *= 2
            self._points = self._points[::2]

    @property
    def points(self) -> list[CostPoint]:
        """The points in the order of their epochs, the last epoch included."""
        last = [self._last] if self._last and (not self._points or self._points[-1] != self._last) else []
        return self._points + last


class CostScale:
    """Maps costs to heights from 0 to 1, logarithmically if they span more than a factor of 20."""

    def __init__(self, costs: Sequence[float]) -> None:
        """Fit the scale to finite costs, of which there must be at least one."""
        self.low, self.high = min(costs), max(costs)
        self.is_logarithmic = self.low > 0 and self.high > 20 * self.low
        self._transform = math.log if self.is_logarithmic else float

    def height(self, cost: float) -> float:
        """Return 0 for the lowest cost and 1 for the highest."""
        low, high = self._transform(self.low), self._transform(self.high)
        return (self._transform(cost) - low) / ((high - low) or 1.0)


_SVG_WIDTH, _SVG_HEIGHT, _LEFT_MARGIN, _BOTTOM_MARGIN, _TOP_MARGIN = 480, 160, 56, 20, 6
_COLORS = {"cost": "#1a6fb5", "validation cost": "#c8501e"}


def render_html(title: str, properties: Sequence[tuple[str, str]], points: Sequence[CostPoint]) -> str:
    """Return the notebook view of a job: a title, a table of properties (names and values), and the cost curve."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>"
        for name, value in properties
    )
    return f"<div><strong>{escape(title)}</strong><table>{rows}</table>{_render_svg(points)}</div>"


def _render_svg(points: Sequence[CostPoint]) -> str:
    """Return the cost curve as an inline SVG, or an empty string if there are fewer than two finite costs."""
    lines: dict[str, list[tuple[int, float | None]]] = {
        "cost": [(point.epoch, point.cost) for point in points],
        "validation cost": [(point.epoch, point.validation_cost) for point in points],
    }
    finite = {
        name: [(epoch, cost) for epoch, cost in line if cost is not None and math.isfinite(cost)]
        for name, line in lines.items()
    }
    costs = [cost for line in finite.values() for _, cost in line]
    if len(costs) < 2:
        return ""
    scale = CostScale(costs)
    first, last = points[0].epoch, points[-1].epoch

    def coordinates(epoch: int, cost: float) -> str:
        x = _LEFT_MARGIN + (epoch - first) / ((last - first) or 1) * (_SVG_WIDTH - _LEFT_MARGIN)
        y = _TOP_MARGIN + (1 - scale.height(cost)) * _SVG_HEIGHT
        return f"{x:.1f},{y:.1f}"

    polylines = "".join(
        f"<polyline fill='none' stroke='{_COLORS[name]}' stroke-width='1.5' "
        f"points='{' '.join(coordinates(*point) for point in line)}'><title>{name}</title></polyline>"
        for name, line in finite.items()
        if line
    )
    labels = [
        _svg_text(_LEFT_MARGIN - 4, 12, f"{scale.high:.3g}", "end"),
        _svg_text(_LEFT_MARGIN - 4, _SVG_HEIGHT + _TOP_MARGIN, f"{scale.low:.3g}", "end"),
        _svg_text(_LEFT_MARGIN, _SVG_HEIGHT + _BOTTOM_MARGIN, f"epoch {first}"),
        _svg_text(_SVG_WIDTH, _SVG_HEIGHT + _BOTTOM_MARGIN, str(last), "end"),
    ]
    height = _TOP_MARGIN + _SVG_HEIGHT + _BOTTOM_MARGIN
    box = f"viewBox='0 0 {_SVG_WIDTH} {height}' width='{_SVG_WIDTH}'"
    return f"<svg {box} role='img' aria-label='cost by epoch'>{polylines}{''.join(labels)}</svg>"


def _svg_text(x: int, y: int, text: str, anchor: str = "start") -> str:
    return f"<text x='{x}' y='{y}' font-size='11' fill='currentColor' text-anchor='{anchor}'>{text}</text>"
