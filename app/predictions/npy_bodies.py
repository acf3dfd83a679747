"""Rows that arrive as .npy: worked through block by block, while the rest is under way."""

import io
from collections.abc import AsyncIterator
from functools import lru_cache
from itertools import cycle

import numpy as np

from app.predictions.batching import Batching
from app.predictions.blocks import BLOCK, FIELD, answers_to_blocks, check_rows
from engine.data.reading.formats.npy import MAGIC, Announced, read_header
from engine.errors import InvalidInput
from engine.nn.views import Matrix
from engine.training.model import Answers, Model

# Bytes of a header.
_LONGEST_HEADER = 2**12
# Of a header, before its text: magic, version, and how long the text is.
_BEFORE_TEXT = 12


async def answers_to_npy(stream: AsyncIterator[bytes], model: Model, batching: Batching) -> Answers:
    """The answers to all rows. Raises InvalidInput, TooLarge, Busy."""
    body = _Body(stream)
    announced = await body.header()
    _check(announced, model)
    at_once = max(1, BLOCK // announced.bytes_per_row)
    if announced.rows <= at_once:
        rows = _prepared(model, await body.rows(announced, announced.rows, _room(announced, announced.rows)), 0)
        await body.end()
        return model.answers(await batching.outputs(model.network, rows), FIELD)
    return await answers_to_blocks(_blocks(body, announced, at_once, model), announced.rows, model, batching)


async def _blocks(body: "_Body", announced: Announced, at_once: int, model: Model) -> AsyncIterator[Matrix]:
    # While one is filled the other is worked through. Memory that is new each time takes as long to get as to fill.
    rooms = cycle([_room(announced, at_once), _room(announced, at_once)])
    for first in range(0, announced.rows, at_once):
        part = await body.rows(announced, min(at_once, announced.rows - first), next(rooms))
        yield _prepared(model, part, first)
    await body.end()


def _room(announced: Announced, rows: int) -> memoryview:
    """For so many rows, in bytes."""
    return np.empty(rows * announced.bytes_per_row, np.uint8).data


def _check(announced: Announced, model: Model) -> None:
    """Raises InvalidInput, TooLarge."""
    if model.preparation.columns is not None:
        raise InvalidInput(
            FIELD,
            "These weights were trained on a table; give JSON with inputs or rows, which may hold any values, or an "
            "Arrow table.",
        )
    if announced.dtype.kind not in "buif":
        raise InvalidInput(FIELD, f"The array is of {announced.dtype}; numbers are expected.")
    if announced.by_column:
        raise InvalidInput(
            FIELD, "The array lies column by column (Fortran order); rows are expected, as np.ascontiguousarray makes."
        )
    architecture = model.network.architecture
    if announced.columns != architecture.inputs:
        got = "a plain list" if announced.columns is None else f"{announced.columns} columns"
        raise InvalidInput(
            FIELD, f"The array has {got}; (rows, {architecture.inputs}) is expected: the network's inputs."
        )
    check_rows(announced.rows, architecture)


def _prepared(model: Model, rows: Matrix, first: int) -> Matrix:
    return model.prepared(rows, len(rows), lambda row, column: f"{FIELD}.{first + row}.{column}")


@lru_cache(maxsize=64)
def _announced(header: bytes) -> Announced:
    """Clients send the same one again and again, and Python's parser is slow."""
    return read_header(io.BytesIO(header), FIELD)


class _Body:
    """What arrives, as a header and rows after it."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._left = memoryview(b"")

    async def header(self) -> Announced:
        """Raises InvalidInput."""
        start = await self._take(_BEFORE_TEXT)
        if not start.startswith(MAGIC):
            raise InvalidInput(FIELD, "This is not a .npy file, which begins with \\x93NUMPY.")
        size = 2 if start[6:7] == b"\1" else 4
        length = 8 + size + int.from_bytes(start[8 : 8 + size], "little")
        if length > _LONGEST_HEADER:
            raise InvalidInput(FIELD, f"The header of the .npy file has {length} bytes; it has some hundred.")
        return _announced(start + await self._take(length - len(start)))

    async def rows(self, announced: Announced, count: int, room: memoryview) -> Matrix:
        """The next ones, in `room`, where there is enough. Raises InvalidInput if there are fewer."""
        room = room[: count * announced.bytes_per_row]
        if await self._fill(room) < len(room):
            raise InvalidInput(FIELD, f"The header announces {announced.rows} rows, and fewer follow.")
        found: Matrix = np.frombuffer(room, announced.dtype).reshape(count, announced.columns or 1)
        return found

    async def end(self) -> None:
        """Raises InvalidInput if anything follows."""
        if await self._take(1):
            raise InvalidInput(FIELD, "More follows than the header announces.")

    async def _take(self, amount: int) -> bytes:
        """The next bytes; fewer at the end."""
        room = bytearray(amount)
        return bytes(room[: await self._fill(memoryview(room))])

    async def _fill(self, room: memoryview) -> int:
        """How many bytes there were for it: all, or what was left."""
        filled = 0
        while filled < len(room):
            if not self._left:
                part = await anext(self._stream, None)
                if part is None:
                    break
                self._left = memoryview(part)
            end = min(len(room), filled + len(self._left))
            room[filled:end] = self._left[: end - filled]
            self._left = self._left[end - filled :]
            filled = end
        return filled
