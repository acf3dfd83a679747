"""Text in blocks that end where a line ends."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.reading.formats.pieces import Readable, exactly
from engine.errors import InvalidInput

# Bytes. Small blocks stay in the processor's cache while they are parsed; measured with `tests.benchmarks.ingest`.
BLOCK, LONGEST = 2**22, 2**24
_WINDOW = 2**16
_QUOTE, _NEWLINE = b'"', b"\n"


@dataclass(frozen=True)
class Block:
    """Whole lines. `byte`, `line`: where they begin, bytes counted from 0 and lines from 1."""

    content: bytes
    byte: int
    line: int


def blocks(stream: Readable, field: str, *, quotes: bool) -> Iterator[Block]:
    """Parts of about 4 MiB, each of whole lines; with `quotes` a line may go on inside of them.

    Raises InvalidInput if a line is longer than 16 MiB.
    """
    left, wanted = b"", BLOCK
    byte, line = 0, 1
    while part := exactly(stream, wanted - len(left)):
        quoted = quotes and (_QUOTE in part or _QUOTE in left)
        if len(left) + len(part) < wanted:
            left += part
            break
        end = _last_end(left, part) if quoted else part.rfind(_NEWLINE) + 1
        if end:
            content = b"".join((left, memoryview(part)[:end]))
            yield Block(content, byte, line)
            byte += len(content)
            line += count(content, _NEWLINE)
            left, wanted = part[end:], BLOCK
        elif wanted < LONGEST:
            left, wanted = left + part, LONGEST
        else:
            raise InvalidInput(
                field,
                f"Line {line} is longer than the {LONGEST} bytes that are accepted"
                + (", or holds a quotation mark that is not closed." if quoted else "."),
            )
    if left:
        yield Block(left, byte, line)


def count(content: bytes, byte: bytes) -> int:
    """How often a byte is in it. Faster than `bytes.count`, and other threads of Python go on meanwhile."""
    found: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8)
    parts = (found[start : start + _WINDOW] for start in range(0, len(found), _WINDOW))  # they stay in the cache
    return sum(int(np.count_nonzero(part == ord(byte))) for part in parts)


def _last_end(left: bytes, part: bytes) -> int:
    """Where in `part` the last line ends that does not go on in quotes: a newline with an even number of quotes before
    it. In `left`, which comes before `part`, no line ends."""
    content: npt.NDArray[np.uint8] = np.frombuffer(part, np.uint8)
    before = count(left, _QUOTE) + count(part, _QUOTE)
    for start in range((len(part) - 1) // _WINDOW * _WINDOW, -1, -_WINDOW):
        window = content[start : start + _WINDOW]
        quotes, newlines = np.flatnonzero(window == ord(_QUOTE)), np.flatnonzero(window == ord(_NEWLINE))
        before -= len(quotes)
        ends = newlines[(before + np.searchsorted(quotes, newlines)) % 2 == 0]
        if len(ends):
            return start + int(ends[-1]) + 1
    return 0
