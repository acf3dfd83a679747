"""IDX: what MNIST comes as."""

import math
import struct

import numpy as np

from engine.data.reading.formats.npy import Announced, check_shape
from engine.data.reading.formats.readable import Readable, exactly
from engine.errors import InvalidInput

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MOST_DIMENSIONS = 4


def is_idx(start: bytes) -> bool:
    """Whether a file may be IDX that begins like this."""
    return len(start) >= 4 and start[:2] == b"\0\0" and start[2] in _TYPES and 1 <= start[3] <= _MOST_DIMENSIONS


def read_header(stream: Readable, field: str) -> Announced:
    """Raises InvalidInput. What has more than one number per row, such as an image, becomes one flat row."""
    magic = exactly(stream, 4)
    if not is_idx(magic):
        raise InvalidInput(field, "This is not an IDX file: its header cannot be read.")
    announced = exactly(stream, 4 * magic[3])
    if len(announced) < 4 * magic[3]:
        raise InvalidInput(field, "This is not an IDX file: its header ends early.")
    rows, *others = struct.unpack(f">{magic[3]}I", announced)
    shape = (rows, math.prod(others)) if others else (rows,)
    return check_shape(shape, np.dtype(_TYPES[magic[2]]), field)
