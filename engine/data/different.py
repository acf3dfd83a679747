"""How many different values there are, counted up to a bound."""

import hashlib
from collections import Counter

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

# Characters of a text that are kept of it.
_KEPT = 100


class DifferentNumbers:
    """`most`: beyond it they are not counted."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: npt.NDArray[np.generic] | None = None
        self.are_too_many = False

    @property
    def count(self) -> int | None:
        if self.are_too_many:
            return None
        return 0 if self._known is None else len(self._known)

    def see(self, values: npt.NDArray[np.generic]) -> None:
        """No NaN; all blocks of one type."""
        if not self.are_too_many:
            self._known = np.unique(values if self._known is None else np.concatenate((self._known, values)))
            if len(self._known) > self._most:
                self.are_too_many, self._known = True, None


class DifferentTexts:
    """`most`: beyond it they are not counted. Of long texts only the beginning and a digest are kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._counts: Counter[tuple[str, bytes]] | None = Counter()

    @property
    def count(self) -> int | None:
        return None if self._counts is None else len(self._counts)

    def see(self, values: pa.Array) -> None:
        """No nulls."""
        if self._counts is None:
            return
        found = pc.value_counts(values)
        for text, count in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
            self._counts[_key(text)] += count
        if len(self._counts) > self._most:
            self._counts = None

    def frequent(self, most: int) -> tuple[tuple[str, int], ...] | None:
        """The most frequent ones with their counts, long ones cut."""
        if self._counts is None:
            return None
        return tuple(
            (f"{text}…" if digest else text, count) for (text, digest), count in self._counts.most_common(most)
        )


def _key(text: str) -> tuple[str, bytes]:
    if len(text) <= _KEPT:
        return text, b""
    return text[:_KEPT], hashlib.blake2b(text.encode(), digest_size=16).digest()
