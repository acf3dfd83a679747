"""Text in blocks that end where a line ends."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from engine.data.reading.formats.readable import Readable, exactly
from engine.errors import InvalidInput

# Bytes. Small blocks stay in the processor's cache while they are parsed; measured with `tests.benchmarks.ingest`.
BLOCK, LONGEST = 2**22, 2**24
_WINDOW = 2**16
_NEWLINE = b"\n"


@dataclass(frozen=True)
class Block:
    """Whole lines. `byte`, `line`: where they begin, bytes counted from 0 and lines from 1. `last`: none come after."""

    content: bytes
    byte: int
    line: int
    last: bool = False


def last_newline(content: bytes) -> int:
    """The place behind it; 0 if there is none."""
    return content.rfind(_NEWLINE) + 1


def blocks(stream: Readable, field: str, last_end: Callable[[bytes], int] = last_newline) -> Iterator[Block]:
    """Parts of about 4 MiB, each of whole lines. `last_end`: the place behind the last one in a text.

    Raises InvalidInput if a line is longer than 16 MiB.
    """
    left, wanted = b"", BLOCK
    byte, line = 0, 1
    while part := exactly(stream, wanted - len(left)):
        left += part
        if len(left) < wanted:
            break
        if end := last_end(left):
            block = Block(left[:end], byte, line)
            yield block
            byte += end
            line += count(block.content, _NEWLINE)
            left, wanted = left[end:], BLOCK
        elif wanted < LONGEST:
            wanted = LONGEST
        else:
            quoted = ", or holds a quotation mark that is not closed" if last_newline(left) else ""
            raise InvalidInput(field, f"Line {line} is longer than the {LONGEST} bytes that are accepted{quoted}.")
    if left:
        yield Block(left, byte, line, last=True)


def count(content: bytes, byte: bytes) -> int:
    """How often a byte is in it. Faster than `bytes.count`, and other threads of Python go on meanwhile."""
    found: npt.NDArray[np.uint8] = np.frombuffer(content, np.uint8)
    parts = (found[start : start + _WINDOW] for start in range(0, len(found), _WINDOW))  # they stay in the cache
    return sum(int(np.count_nonzero(part == ord(byte))) for part in parts)
