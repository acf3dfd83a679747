"""Rows that are worked through block by block, each while the next one is made ready."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np

from app.predictions.batching import Batching
from engine.errors import TooLarge
from engine.nn.architecture import Architecture
from engine.nn.views import Matrix
from engine.training.model import Answers, Model

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
