"""Rows that arrive as .npy: worked through block by block, while the rest is under way."""

import io
from collections.abc import AsyncIterator
from functools import lru_cache

import numpy as np

from app.predictions.batching import Batching
from engine.data.reading.formats.npy import MAGIC, Announced, read_header
from engine.errors import InvalidInput, TooLarge
from engine.nn.views import Matrix
from engine.training.model import Answers, Model

# Bytes: what is gathered before it is worked through; of a header; of all answers to one request.
_BLOCK, _LONGEST_HEADER, _MOST_ANSWERS = 2**20, 2**12, 2**29
# Of a header, before its text: magic, version, and how long the text is.
_BEFORE_TEXT = 12
_FIELD = "body"


async def answers_to_npy(stream: AsyncIterator[bytes], model: Model, batching: Batching) -> Answers:
    """The answers to all rows. Raises InvalidInput, TooLarge, Busy."""
    body = _Body(stream)
    announced = await body.header()
    _check(announced, model)
    answers: Answers | None = None
    at_once = max(1, _BLOCK // announced.bytes_per_row)
    for first in range(0, announced.rows, at_once):
        rows = await body.rows(announced, min(at_once, announced.rows - first))
        found = model.answers(await batching.outputs(model.network, _prepared(model, rows, first)), _FIELD)
        if answers is None:
            answers = found if len(found) == announced.rows else np.empty((announced.rows, found.shape[1]), found.dtype)
        answers[first : first + len(found)] = found
    await body.end()
    assert answers is not None  # there is a row
    return answers


def _check(announced: Announced, model: Model) -> None:
    """Raises InvalidInput, TooLarge."""
    if model.preparation.columns is not None:
        raise InvalidInput(
            _FIELD, "The version was trained on a table; give JSON with inputs or rows, which may hold any values."
        )
    if announced.dtype.kind not in "buif":
        raise InvalidInput(_FIELD, f"The array is of {announced.dtype}; numbers are expected.")
    if announced.by_column:
        raise InvalidInput(
            _FIELD, "The array lies column by column (Fortran order); rows are expected, as np.ascontiguousarray makes."
        )
    architecture = model.network.architecture
    if announced.columns != architecture.inputs:
        got = "a plain list" if announced.columns is None else f"{announced.columns} columns"
        raise InvalidInput(
            _FIELD, f"The array has {got}; (rows, {architecture.inputs}) is expected: the network's inputs."
        )
    size = announced.rows * architecture.outputs * 8
    if size > _MOST_ANSWERS:
        raise TooLarge(
            _FIELD, f"The outputs of {announced.rows} rows would take {size} bytes; {_MOST_ANSWERS} are given at once."
        )


def _prepared(model: Model, rows: Matrix, first: int) -> Matrix:
    return model.prepared(rows, len(rows), lambda row, column: f"{_FIELD}.{first + row}.{column}")


@lru_cache(maxsize=64)
def _announced(header: bytes) -> Announced:
    """Clients send the same one again and again, and Python's parser is slow."""
    return read_header(io.BytesIO(header), _FIELD)


class _Body:
    """What arrives, as a header and rows after it."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._gathered = b""

    async def header(self) -> Announced:
        """Raises InvalidInput."""
        await self._gather(_BEFORE_TEXT)
        start = self._gathered[:_BEFORE_TEXT]
        if not start.startswith(MAGIC):
            raise InvalidInput(_FIELD, "This is not a .npy file, which begins with \\x93NUMPY.")
        size = 2 if start[6:7] == b"\1" else 4
        length = 8 + size + int.from_bytes(start[8 : 8 + size], "little")
        if length > _LONGEST_HEADER:
            raise InvalidInput(_FIELD, f"The header of the .npy file has {length} bytes; it has some hundred.")
        return _announced(await self._take(length))

    async def rows(self, announced: Announced, count: int) -> Matrix:
        """The next ones. Raises InvalidInput if there are fewer."""
        wanted = count * announced.bytes_per_row
        part = await self._take(wanted)
        if len(part) < wanted:
            raise InvalidInput(_FIELD, f"The header announces {announced.rows} rows, and fewer follow.")
        found: Matrix = np.frombuffer(part, announced.dtype).reshape(count, announced.columns or 1)
        return found

    async def end(self) -> None:
        """Raises InvalidInput if anything follows."""
        await self._gather(1)
        if self._gathered:
            raise InvalidInput(_FIELD, "More follows than the header announces.")

    async def _take(self, amount: int) -> bytes:
        await self._gather(amount)
        taken, self._gathered = self._gathered[:amount], self._gathered[amount:]
        return taken

    async def _gather(self, amount: int) -> None:
        """Until so many bytes are there, or no more come."""
        if len(self._gathered) >= amount:
            return
        parts, length = [self._gathered], len(self._gathered)
        async for part in self._stream:
            parts.append(part)
            length += len(part)
            if length >= amount:
                break
        self._gathered = b"".join(parts)
