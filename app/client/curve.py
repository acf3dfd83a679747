"""The cost of a job over its epochs, in bounded memory, however long it trains."""

import math
from collections.abc import Sequence
from typing import NamedTuple

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
