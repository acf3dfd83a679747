"""Predictions of Arrow tables, as Arrow tables: a task process decodes and encodes them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import numpy as np
from anyio import CapacityLimiter, to_thread
from fastapi import Response
from starlette.concurrency import run_in_threadpool

from nabla.app.http.files import file_response, rechunk
from nabla.app.predictions.batching import PredictionBatcher
from nabla.app.predictions.decoding import BLOCK_BYTES, BODY_FIELD, max_rows
from nabla.app.predictions.encoding import ARROW_FORMATS, PredictionOptions, Predictor
from nabla.engine.data.features import RawInputs
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.schema import Column
from nabla.engine.services.arrow_predictions import ArrowCodec, DecodedRows
from nabla.engine.training.model import Model, Predictions
from nabla.engine.typing import Matrix


class ArrowPredictions:
    """Predicts Arrow tables, and encodes predictions as Arrow tables."""

    def __init__(self, codec: ArrowCodec, batching: PredictionBatcher, max_requests: int) -> None:
        """Connect the codec and the batcher; at most `max_requests` threads wait for the task process."""
        self._codec = codec
        self._batching = batching
        self._threads = CapacityLimiter(max_requests)

    async def predict(self, stream: AsyncIterator[bytes], model: Model, warnings: InputWarnings | None) -> Predictions:
        """Return the predictions (rows, outputs) for an Arrow table, and collect what is unusual about its rows.

        Raises:
            InvalidInput: The table is malformed, or does not fit the model.
            TooLarge: It has too many rows.
            Busy: Too many requests are pending.
            Unavailable: The service is shutting down.
            StorageFailed: The data directory cannot be written.
        """
        architecture = model.network.architecture
        async with self._open_request() as directory:
            async for part in rechunk(stream):
                await run_in_threadpool(self._codec.append_body, directory, part)
            decode = partial(
                self._codec.decode_rows,
                directory,
                model.preprocessor.columns,
                architecture.inputs,
                max_rows(architecture),
            )
            decoded = await to_thread.run_sync(decode, limiter=self._threads)
            if warnings is not None:
                warnings.add_unused(decoded.unused_columns)
            with decoded.file:
                blocks = _read_blocks(decoded, model, warnings)
                return await self._batching.predict_blocks(model, blocks, decoded.rows, BODY_FIELD)

    async def encode_response(self, predictor: Predictor, outputs: Predictions, options: PredictionOptions) -> Response:
        """Return predictions as an Arrow table.

        Args:
            predictor: The model that predicted.
            outputs: The outputs (rows, outputs) in the units of the targets.
            options: Options that were checked for the predictor, with the media type of an Arrow table.

        Raises:
            TooLarge: The table would take too much memory.
            Busy: Too many requests are pending.
            Unavailable: The service is shutting down.
            StorageFailed: The data directory cannot be written.
        """
        async with self._open_request() as directory:
            encode = partial(
                self._codec.encode_outputs,
                directory,
                outputs,
                predictor.classes,
                options.probabilities,
                options.top_k,
                ARROW_FORMATS[options.media_type],
            )
            table = await to_thread.run_sync(encode, limiter=self._threads)
            return file_response(table, options.media_type)

    @asynccontextmanager
    async def _open_request(self) -> AsyncIterator[Path]:
        directory = await run_in_threadpool(self._codec.open_request)
        try:
            yield directory
        finally:
            await run_in_threadpool(self._codec.close_request, directory)


async def _read_blocks(decoded: DecodedRows, model: Model, warnings: InputWarnings | None) -> AsyncIterator[Matrix]:
    widest = max(_raw_width(model), model.network.architecture.inputs)
    block_rows = max(1, BLOCK_BYTES // (8 * widest))
    for first in range(0, decoded.rows, block_rows):
        rows = min(block_rows, decoded.rows - first)
        yield await run_in_threadpool(_prepare_block, decoded, model, first, rows, warnings)


def _prepare_block(decoded: DecodedRows, model: Model, first: int, rows: int, warnings: InputWarnings | None) -> Matrix:
    """Read and preprocess the next rows of the file."""
    columns, width = model.preprocessor.columns, _raw_width(model)
    block = np.fromfile(decoded.file, np.float64, rows * width).reshape(rows, width)

    def field(row: int, column: int) -> str:
        return f"{BODY_FIELD}.{first + row}.{column if columns is None else columns[column].name}"

    return model.preprocess(_split_columns(block, columns), rows, field, first, warnings)


def _raw_width(model: Model) -> int:
    columns = model.preprocessor.columns
    return model.network.architecture.inputs if columns is None else len(columns)


def _split_columns(block: Matrix, columns: tuple[Column, ...] | None) -> RawInputs:
    """Return a block of a table as one array per column, with codes as integers."""
    if columns is None:
        return block
    return tuple(
        values.astype(np.int32) if column.type == "category" else values
        for values, column in zip(block.T, columns, strict=True)
    )
