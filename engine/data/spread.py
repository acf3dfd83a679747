"""How numbers are spread: their range, mean, deviation and histogram, in two passes over blocks of them."""

import math

import numpy as np
import numpy.typing as npt

from engine.data.profiles import BINS

Reals = npt.NDArray[np.float64]


class Spread:
    """What is not finite is passed over. All blocks are first given to `see`, then all of them to `measure`.

    Numbers are measured in units of a power of two beyond the largest of them, which changes no digit: no sum or square
    of numbers that float64 holds leaves it. And they are measured from the smallest on, so that those side by side, far
    from 0, keep what is between them.
    """

    def __init__(self) -> None:
        self.smallest, self.largest = math.inf, -math.inf
        self._unit, self._first = 0, 0.0
        self._edges: Reals | None = None
        self._rows, self._mean, self._squares = 0, 0.0, 0.0
        self._histogram = np.zeros(BINS, np.int64)

    @property
    def is_known(self) -> bool:
        """Whether there was any number."""
        return self.smallest <= self.largest

    @property
    def mean(self) -> float:
        return min(max(_scaled(self._first + self._mean, self._unit), self.smallest), self.largest)

    @property
    def deviation(self) -> float:
        """That of all, not of a sample."""
        return _scaled(math.sqrt(self._squares / self._rows), self._unit)

    @property
    def histogram(self) -> tuple[int, ...]:
        """How many there are in each of BINS equal parts of the range; all in the middle if it is a single number."""
        return tuple(self._histogram.tolist())

    def see(self, numbers: Reals) -> None:
        numbers = _finite(numbers)
        if len(numbers):
            self.smallest = min(self.smallest, float(numbers.min()))
            self.largest = max(self.largest, float(numbers.max()))

    def measure(self, numbers: Reals) -> None:
        """Mean and squares of deviations of both parts together: Chan, Golub and LeVeque, 1979."""
        if self._edges is None:
            self._unit = math.frexp(max(abs(self.smallest), abs(self.largest)))[1]
            self._first, last = (_scaled(end, -self._unit) for end in (self.smallest, self.largest))
            # Of numbers side by side several edges fall onto the smallest, which is in the first part all the same.
            self._edges = np.maximum(np.linspace(self._first, last, BINS + 1)[1:-1], math.nextafter(self._first, 2))
        numbers = np.ldexp(_finite(numbers), -self._unit)
        rows = len(numbers)
        if not rows:
            return
        if self.smallest == self.largest:
            self._histogram[BINS // 2] += rows
        else:
            self._histogram += np.bincount(np.searchsorted(self._edges, numbers, "right"), minlength=BINS)
        numbers -= self._first
        mean = float(numbers.mean())
        apart, total = mean - self._mean, self._rows + rows
        self._squares += float(np.square(numbers - mean).sum()) + apart * apart * self._rows * rows / total
        self._mean += apart * rows / total
        self._rows = total


def _finite(numbers: Reals) -> Reals:
    if not len(numbers) or (np.isfinite(numbers.min()) and np.isfinite(numbers.max())):
        return numbers
    return numbers[np.isfinite(numbers)]


def _scaled(number: float, power: int) -> float:
    """Times two to that power; where rounding has made it too large, the largest number that there is."""
    try:
        return math.ldexp(number, power)
    except OverflowError:
        return math.copysign(np.finfo(np.float64).max, number)
