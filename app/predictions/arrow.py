"""Rows that arrive as an Arrow table, and answers that leave as one: a process of its own reads and makes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
from anyio import to_thread
from fastapi import Response
from starlette.concurrency import run_in_threadpool

from nabla.app.dependencies import Context
from nabla.app.http.files import large, sent
from nabla.app.predictions.decoding import BLOCK, FIELD, answers_to_blocks, most_rows
from nabla.app.predictions.encoding import FORMS, Predictor, Wishes
from nabla.engine.data.features import Raw
from nabla.engine.data.schema import Column
from nabla.engine.nn.array_views import Matrix
from nabla.engine.services.arrow_predictions import Given
from nabla.engine.training.model import Answers, Model


async def answers_to_table(stream: AsyncIterator[bytes], model: Model, here: Context) -> Answers:
    """The answers to all rows. Raises InvalidInput, TooLarge, Busy, StorageFailed, Unavailable."""
    architecture = model.network.architecture
    async with _folder(here) as folder:
        async for part in large(stream):
            await run_in_threadpool(here.frames.append, folder, part)
        read = partial(
            here.frames.read, folder, model.preprocessor.columns, architecture.inputs, most_rows(architecture)
        )
        given = await to_thread.run_sync(read, limiter=here.at_frames)
        with given.file:
            return await answers_to_blocks(_blocks(given, model), given.rows, model, here.batching)


async def table_of(here: Context, predictor: Predictor, outputs: Answers, wishes: Wishes) -> Response:
    """`outputs`: in the units of the targets. `wishes`: checked, and for a table. Raises TooLarge, Busy, StorageFailed,
    Unavailable."""
    async with _folder(here) as folder:
        write = partial(
            here.frames.write,
            folder,
            outputs,
            predictor.classes,
            wishes.probabilities,
            wishes.top_k,
            FORMS[wishes.kind],
        )
        return sent(await to_thread.run_sync(write, limiter=here.at_frames), wishes.kind)


@asynccontextmanager
async def _folder(here: Context) -> AsyncIterator[Path]:
    folder = await run_in_threadpool(here.frames.begin)
    try:
        yield folder
    finally:
        await run_in_threadpool(here.frames.end, folder)


async def _blocks(given: Given, model: Model) -> AsyncIterator[Matrix]:
    at_once = max(1, BLOCK // (8 * max(_width(model), model.network.architecture.inputs)))
    for first in range(0, given.rows, at_once):
        yield await run_in_threadpool(_prepared, given, model, first, min(at_once, given.rows - first))


def _prepared(given: Given, model: Model, first: int, rows: int) -> Matrix:
    """The next rows of the file."""
    columns, width = model.preprocessor.columns, _width(model)
    block = np.fromfile(given.file, np.float64, rows * width).reshape(rows, width)

    def field(row: int, column: int) -> str:
        return f"{FIELD}.{first + row}.{column if columns is None else columns[column].name}"

    return model.prepared(_raw(block, columns), rows, field, first)


def _width(model: Model) -> int:
    """Columns of raw rows."""
    columns = model.preprocessor.columns
    return model.network.architecture.inputs if columns is None else len(columns)


def _raw(block: Matrix, columns: tuple[Column, ...] | None) -> Raw:
    if columns is None:
        return block
    return tuple(
        values.astype(np.int32) if column.type == "category" else values
        for values, column in zip(block.T, columns, strict=True)
    )
