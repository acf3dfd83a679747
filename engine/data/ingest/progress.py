"""How much was read, and how much may be."""

from collections.abc import Callable, Sequence

from nabla.engine.data.ingest_options import Progress, Source
from nabla.engine.errors import TooLarge


class Meter:
    """Counts what is read from all sources, and refuses what unpacks to more than `largest` bytes."""

    def __init__(self, sources: Sequence[Source], largest: int, tell: Callable[[Progress], None]) -> None:
        self.bytes_total = sum(path.stat().st_size for source in sources for path in source.paths)
        self._largest = largest
        self._tell = tell
        self.restart()

    def restart(self) -> None:
        """Reading begins anew."""
        self.bytes_read = self.rows = self._unpacked = 0

    def unpacked(self, amount: int, field: str) -> None:
        """So many bytes more came out of what was packed. Raises TooLarge."""
        self._unpacked += amount
        if self._unpacked > self._largest:
            raise TooLarge(
                field, f"Unpacked this is more than the {self._largest} bytes that are accepted; hand in less at once."
            )

    def fits(self, length: int, field: str) -> None:
        """Raises TooLarge if an array of `length` bytes is too large."""
        if length > self._largest:
            raise TooLarge(field, f"The array has {length} bytes; at most {self._largest} are accepted.")

    def add(self, rows: int) -> None:
        """So many rows more are done."""
        self.rows += rows
        self._tell(Progress(min(self.bytes_read, self.bytes_total), self.bytes_total, self.rows))
