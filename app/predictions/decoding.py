"""What a request for predictions wants, out of its JSON."""

import asyncio
import io
from collections.abc import AsyncIterator
from functools import lru_cache
from itertools import cycle
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from nabla.app.predictions.batching import Batching
from nabla.app.schemas.common import TAG_PATTERN
from nabla.app.schemas.predictions import MOST_TOP, NewPrediction
from nabla.engine.data.ingest.formats.npy import MAGIC, Announced, read_npy_header
from nabla.engine.data.request_rows import matrix_of
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.array_views import Matrix
from nabla.engine.training.model import Answers, Model

_Some = Meta(min_length=1)
_Cell = float | bool | str | None


class _Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=f"^{TAG_PATTERN}$")] | None = None
    top_k: Annotated[int, Meta(ge=1, le=MOST_TOP)] | None = None
    probabilities: bool = False


class Numbers(_Options):
    inputs: Annotated[list[Annotated[list[float], _Some]], _Some]


class _Cells(_Options):
    inputs: Annotated[list[Annotated[list[_Cell], _Some]], _Some] | None = None
    rows: Annotated[list[dict[str, _Cell]], _Some] | None = None


Wanted = Numbers | _Cells | NewPrediction
"""All with the fields of the last one."""

_NUMBERS, _CELLS = msgspec.json.Decoder(Numbers), msgspec.json.Decoder(_Cells)


def wanted_in(body: bytes) -> Wanted:
    """Raises InvalidInput, and pydantic's ValidationError.

    Thousands of numbers that are looked at one by one would take longer than the network. What the quickest decoder
    does not take is given to the next, and in the end to that which says in words what is wrong.
    """
    try:
        return _NUMBERS.decode(body)
    except msgspec.DecodeError:
        pass
    try:
        found: _Cells | NewPrediction = _CELLS.decode(body)
    except msgspec.DecodeError:
        found = NewPrediction.model_validate_json(body)
    if (found.inputs is None) == (found.rows is None):
        raise InvalidInput("inputs", "Exactly one of inputs and rows is required.")
    return found


def prepared(wanted: Wanted, model: Model) -> Matrix:
    """Its rows as the network takes them. Raises InvalidInput naming row and column."""
    if isinstance(wanted, Numbers):
        if model.preprocessor.columns is None:
            raw = matrix_of(wanted.inputs, model.network.architecture.inputs, "inputs")
            return model.prepared(raw, len(raw), lambda row, column: f"inputs.{row}.{column}")
        return model.prepared_rows(wanted.inputs, "inputs")
    if wanted.rows is not None:
        return model.prepared_named(wanted.rows, "rows")
    return model.prepared_rows(wanted.inputs or [], "inputs")


FIELD = "body"
BLOCK = 2**22
"""Bytes of rows that are worked through at once."""
# Of all answers to one request.
_MOST_ANSWERS = 2**29


def most_rows(architecture: Architecture) -> int:
    """How many are answered in one request."""
    return _MOST_ANSWERS // (8 * architecture.outputs)


def check_rows(rows: int, architecture: Architecture) -> None:
    """Raises TooLarge if the answers would be."""
    if rows > most_rows(architecture):
        size = rows * architecture.outputs * 8
        raise TooLarge(FIELD, f"The outputs of {rows} rows would take {size} bytes; {_MOST_ANSWERS} are given at once.")


async def answers_to_blocks(blocks: AsyncIterator[Matrix], rows: int, model: Model, batching: Batching) -> Answers:
    """The answers to so many rows, at least one, as `Model.prepared` makes them. Raises InvalidInput, Busy, and what
    `blocks` does."""
    answers = _Answers(rows)
    computing: asyncio.Task[Matrix] | None = None
    try:
        async for block in blocks:
            if computing is not None:
                answers.add(model.answers(await computing, FIELD))
            computing = asyncio.create_task(batching.outputs(model.network, block))
        assert computing is not None  # there is a row
        answers.add(model.answers(await computing, FIELD))
    finally:
        if computing is not None:
            computing.cancel()
    return answers.all


class _Answers:
    """To so many rows, as they come."""

    def __init__(self, rows: int) -> None:
        self._rows, self._done = rows, 0
        self.all: Answers = np.empty(0)

    def add(self, part: Answers) -> None:
        if not self._done:
            self.all = np.empty((self._rows, part.shape[1]), part.dtype)
        self.all[self._done : self._done + len(part)] = part
        self._done += len(part)


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
    if model.preprocessor.columns is not None:
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
    return read_npy_header(io.BytesIO(header), FIELD)


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
