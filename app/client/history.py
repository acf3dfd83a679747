"""The history of a job: its epochs, for people, notebooks and data frames."""

import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from nabla.app.schemas.jobs import EpochView

_MOST_POINTS = 1024
_BARS = "▁▂▃▄▅▆▇█"


class Point(NamedTuple):
    epoch: int
    cost: float
    validation_cost: float | None


class Curve:
    """Every n-th epoch and the last one; n doubles when there are too many."""

    def __init__(self) -> None:
        self._points: list[Point] = []
        self._last: Point | None = None
        self._stride = 1

    def add(self, epoch: int, cost: float, validation_cost: float | None) -> None:
        """Epochs that come again, because a job went on from a checkpoint, replace what was said of them."""
        while self._points and self._points[-1].epoch >= epoch:
            self._points.pop()
        self._last = Point(epoch, cost, validation_cost)
        if epoch % self._stride == 0 or not self._points:
            self._points.append(self._last)
        if len(self._points) > _MOST_POINTS:
            self._stride *= 2
            self._points = self._points[::2]

    @property
    def points(self) -> list[Point]:
        last = [self._last] if self._last and (not self._points or self._points[-1] != self._last) else []
        return self._points + last


def sparkline(values: Sequence[float], width: int) -> str:
    """The values as so many bars at most, the last value last; each bar is the mean of its part. Logarithmic where they
    span more than a factor of 20, as costs do."""
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return ""
    if min(finite) > 0 and max(finite) > 20 * min(finite):
        finite = [math.log(value) for value in finite]
    bars = min(width, len(finite))
    parts = [finite[place * len(finite) // bars : (place + 1) * len(finite) // bars] for place in range(bars)]
    means = [sum(part) / len(part) for part in parts]
    low, span = min(means), (max(means) - min(means)) or 1.0
    return "".join(_BARS[int((mean - low) / span * (len(_BARS) - 1))] for mean in means)


_WIDTH, _HEIGHT, _LEFT, _BELOW = 480, 160, 56, 20
_COLORS = {"cost": "#1a6fb5", "validation cost": "#c8501e"}
Points = Sequence[tuple[int, float, float | None]]


def page(title: str, figures: Sequence[tuple[str, str]], points: Points) -> str:
    """`figures`: names and values; `points`: epoch, cost, validation cost."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in figures
    )
    return f"<div><strong>{escape(title)}</strong><table>{cells}</table>{curve(points)}</div>"


def curve(points: Points) -> str:
    """An inline SVG; nothing, where there is nothing to be seen yet. Logarithmic, as costs are looked at, if it can."""
    lines = {
        "cost": [(epoch, cost) for epoch, cost, _ in points if math.isfinite(cost)],
        "validation cost": [(epoch, cost) for epoch, _, cost in points if cost is not None and math.isfinite(cost)],
    }
    costs = [cost for line in lines.values() for _, cost in line]
    if len(costs) < 2:
        return ""
    is_logarithmic = min(costs) > 0 and max(costs) > 20 * min(costs)
    scaled = math.log if is_logarithmic else float
    low, high = scaled(min(costs)), scaled(max(costs))
    first, last = points[0][0], points[-1][0]

    def place(epoch: int, cost: float) -> str:
        x = _LEFT + (epoch - first) / ((last - first) or 1) * (_WIDTH - _LEFT)
        y = (high - scaled(cost)) / ((high - low) or 1) * _HEIGHT
        return f"{x:.1f},{y + 6:.1f}"

    drawn = "".join(
        f"<polyline fill='none' stroke='{_COLORS[name]}' stroke-width='1.5' "
        f"points='{' '.join(place(*point) for point in line)}'><title>{name}</title></polyline>"
        for name, line in lines.items()
        if line
    )
    named = [
        _text(_LEFT - 4, 12, f"{max(costs):.3g}", "end"),
        _text(_LEFT - 4, _HEIGHT + 6, f"{min(costs):.3g}", "end"),
    ]
    named += [_text(_LEFT, _HEIGHT + _BELOW, f"epoch {first}"), _text(_WIDTH, _HEIGHT + _BELOW, str(last), "end")]
    box = f"viewBox='0 0 {_WIDTH} {_HEIGHT + _BELOW + 6}' width='{_WIDTH}'"
    return f"<svg {box} role='img' aria-label='cost by epoch'>{drawn}{''.join(named)}</svg>"


def _text(x: int, y: int, text: str, anchor: str = "start") -> str:
    return f"<text x='{x}' y='{y}' font-size='11' fill='currentColor' text-anchor='{anchor}'>{text}</text>"


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
