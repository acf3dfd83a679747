"""Text in blocks that end where a line ends."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from engine.data.reading.formats.pieces import Readable, exactly
from engine.errors import InvalidInput

# Bytes. Small blocks stay in the processor's cache while they are parsed; measured with `tests.benchmarks.ingest`.
BLOCK, LONGEST = 2**22, 2**24
_WINDOW = 2**20
_QUOTE, _NEWLINE = b'"', b"\n"


def blocks(stream: Readable, field: str, *, quotes: bool) -> Iterator[bytes]:
    """Parts of about 4 MiB, each of whole lines; with `quotes` a line may go on inside of them.

    Raises InvalidInput if a line is longer than 16 MiB.
    """
    left, wanted = b"", BLOCK
    lines = 0
    while part := exactly(stream, wanted - len(left)):
        block = left + part
        if len(block) < wanted:
            left = block
            break
        end = _last_end(block) if quotes and _QUOTE in block else block.rfind(_NEWLINE) + 1
        if end:
            left, wanted = block[end:], BLOCK
            lines += block.count(_NEWLINE, 0, end)
            yield block[:end]
        elif wanted < LONGEST:
            left, wanted = block, LONGEST
        else:
            raise InvalidInput(
                field,
                f"Line {lines + 1} is longer than the {LONGEST} bytes that are accepted"
                + (", or holds a quotation mark that is not closed." if quotes and _QUOTE in block else "."),
            )
    if left:
        yield left


def _last_end(block: bytes) -> int:
    """Where the last line ends that does not go on in quotes: a newline with an even number of quotes before it."""
    content: npt.NDArray[np.uint8] = np.frombuffer(block, np.uint8)
    before = block.count(_QUOTE)
    for start in range((len(block) - 1) // _WINDOW * _WINDOW, -1, -_WINDOW):
        window = content[start : start + _WINDOW]
        quotes, newlines = np.flatnonzero(window == ord(_QUOTE)), np.flatnonzero(window == ord(_NEWLINE))
        before -= len(quotes)
        ends = newlines[(before + np.searchsorted(quotes, newlines)) % 2 == 0]
        if len(ends):
            return start + int(ends[-1]) + 1
    return 0
