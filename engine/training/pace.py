"""How many steps are made at once, before it is seen whether anything else is wanted of the worker."""

import time

# Compiled code is left about this often.
_SECONDS_AT_ONCE = 0.05


class Pace:
    """Of mini-batches of `rows_at_once` rows, as it was seen last."""

    def __init__(self, rows_at_once: int) -> None:
        self._rows_at_once = rows_at_once
        self._seconds_per_row = 0.0
        self._steps = 1

    def end_of_chunk(self, first: int, rows: int) -> int:
        """Whole mini-batches for about `_SECONDS_AT_ONCE`; a single one until the pace is known, and then at most four
        times as many as before: what is timed may be the chunk before."""
        if self._seconds_per_row:
            wanted = max(1, int(_SECONDS_AT_ONCE / (self._seconds_per_row * self._rows_at_once)))
            self._steps = min(wanted, 4 * self._steps)
        return min(first + self._steps * self._rows_at_once, rows)

    def timed(self, started: float, rows: int) -> float:
        """The seconds since `started`, which so many rows took."""
        seconds = time.perf_counter() - started
        self._seconds_per_row = max(seconds / rows, 1e-9)
        return seconds
