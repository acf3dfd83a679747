"""Decoding of prediction requests: rows as JSON, or as a .npy array that is processed as it arrives."""

import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import cycle
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta

from nabla.app.schemas.common import TAG_PATTERN
from nabla.app.schemas.predictions import MAX_TOP_K, NewPrediction
from nabla.engine.data.ingest.formats.npy import MAGIC, ArrayHeader, read_npy_header
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.errors import InvalidInput, TooLarge
from nabla.engine.nn.architecture import Architecture
from nabla.engine.training.model import Model
from nabla.engine.typing import Matrix

BODY_FIELD = "body"
"""Field that errors name for a body without fields."""
BLOCK_BYTES = 2**22
"""Size of the blocks of rows in which large requests are processed."""
_MAX_PREDICTION_BYTES = 2**29
_MAX_NPY_HEADER_BYTES = 2**12
# Magic, version and length, which precede the text of a .npy header.
_NPY_PREFIX_BYTES = 12

_NonEmpty = Meta(min_length=1)
_Cell = float | bool | str | None


class _Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    version: Annotated[int, Meta(ge=0)] | Annotated[str, Meta(pattern=f"^{TAG_PATTERN}$")] | None = None
    top_k: Annotated[int, Meta(ge=1, le=MAX_TOP_K)] | None = None
    probabilities: bool = False


class NumericRequest(_Options):
    """Rows of numbers."""

    inputs: Annotated[list[Annotated[list[float], _NonEmpty]], _NonEmpty]


class _MixedRequest(_Options):
    inputs: Annotated[list[Annotated[list[_Cell], _NonEmpty]], _NonEmpty] | None = None
    rows: Annotated[list[dict[str, _Cell]], _NonEmpty] | None = None


PredictionRequest = NumericRequest | _MixedRequest | NewPrediction
_decode_numeric = msgspec.json.Decoder(NumericRequest).decode
_decode_mixed = msgspec.json.Decoder(_MixedRequest).decode


def parse_prediction_request(body: bytes) -> PredictionRequest:
    """Parse JSON with the fastest decoder that accepts it.

    Pydantic checks thousands of numbers one by one, which takes longer than the network. It parses only what the other
    decoders reject, for its error messages.

    Raises:
        InvalidInput: The request has both or neither of inputs and rows.
        ValidationError: A field is missing, unknown or out of range.
    """
    try:
        return _decode_numeric(body)
    except msgspec.DecodeError:
        pass
    try:
        request: _MixedRequest | NewPrediction = _decode_mixed(body)
    except msgspec.DecodeError:
        request = NewPrediction.model_validate_json(body)
    if (request.inputs is None) == (request.rows is None):
        raise InvalidInput("inputs", "Exactly one of inputs and rows is required.")
    return request


def prepare_rows(request: PredictionRequest, model: Model, warnings: InputWarnings | None) -> Matrix:
    """Return the preprocessed rows (rows, inputs) of a request, and collect what is unusual about them.

    Raises:
        InvalidInput: A row does not fit the model; it names row and column.
    """
    if request.inputs is None:
        assert not isinstance(request, NumericRequest)
        return model.preprocess_records(request.rows or [], "rows", warnings)
    if isinstance(request, NumericRequest) and model.preprocessor.columns is None:
        matrix = _as_matrix(request.inputs, model.network.architecture.inputs)
        if matrix is not None:
            return model.preprocess(
                matrix, len(matrix), lambda row, column: f"inputs.{row}.{column}", warnings=warnings
            )
    return model.preprocess_rows(request.inputs, "inputs", warnings)


def _as_matrix(rows: list[list[float]], width: int) -> Matrix | None:
    """Return rows of numbers as an array; None unless each has `width` numbers."""
    try:
        matrix: Matrix = np.array(rows, np.float64)
    except ValueError:  # rows of different lengths
        return None
    return matrix if matrix.shape == (len(rows), width) else None


def max_rows(architecture: Architecture) -> int:
    """Return the maximum number of rows of a request: those that have 512 MiB of outputs."""
    return _MAX_PREDICTION_BYTES // (8 * architecture.outputs)


def check_row_count(rows: int, architecture: Architecture) -> None:
    """Check the number of rows of a request.

    Raises:
        TooLarge: Their outputs would take too much memory.
    """
    if rows > max_rows(architecture):
        size = rows * architecture.outputs * 8
        raise TooLarge(
            BODY_FIELD,
            f"The outputs of {rows} rows would take {size} bytes; at most {_MAX_PREDICTION_BYTES} are returned.",
        )


@dataclass(frozen=True)
class NpyRows:
    """Rows of a .npy body: their number, and blocks of them, preprocessed as they arrive."""

    count: int
    blocks: AsyncIterator[Matrix]


async def open_npy(stream: AsyncIterator[bytes], model: Model, warnings: InputWarnings | None) -> NpyRows:
    """Read the header of a .npy body, and return its rows; `warnings` collects what is unusual about them.

    Raises:
        InvalidInput: The array does not fit the model. Iterating over the blocks raises it as well.
        TooLarge: It has too many rows.
    """
    body = _NpyBody(stream)
    header = await body.read_header()
    _check_header(header, model)
    return NpyRows(header.rows, _read_blocks(body, header, model, warnings))


async def _read_blocks(
    body: "_NpyBody", header: ArrayHeader, model: Model, warnings: InputWarnings | None
) -> AsyncIterator[Matrix]:
    block_rows = min(header.rows, max(1, BLOCK_BYTES // header.bytes_per_row))
    # One buffer is filled while the other is computed. Allocating new ones would take as long as filling them.
    buffer_count = 1 if header.rows == block_rows else 2
    buffers = cycle([np.empty(block_rows * header.bytes_per_row, np.uint8).data for _ in range(buffer_count)])
    for first in range(0, header.rows, block_rows):
        rows = await body.read_rows(header, min(block_rows, header.rows - first), next(buffers))
        if first + len(rows) == header.rows:
            await body.check_end()
        yield _prepare_block(rows, first, model, warnings)


def _prepare_block(rows: Matrix, first: int, model: Model, warnings: InputWarnings | None) -> Matrix:
    return model.preprocess(
        rows, len(rows), lambda row, column: f"{BODY_FIELD}.{first + row}.{column}", first, warnings
    )


def _check_header(header: ArrayHeader, model: Model) -> None:
    if model.preprocessor.columns is not None:
        raise InvalidInput(
            BODY_FIELD,
            "The model was trained on a table; send JSON with inputs or rows, or an Arrow table.",
        )
    if header.dtype.kind not in "buif":
        raise InvalidInput(BODY_FIELD, f"The array has dtype {header.dtype}; numbers are expected.")
    if header.fortran_order:
        raise InvalidInput(
            BODY_FIELD, "The array is in Fortran order; C order is expected, as np.ascontiguousarray returns it."
        )
    architecture = model.network.architecture
    if header.columns != architecture.inputs:
        shape = f"({header.rows},)" if header.columns is None else f"({header.rows}, {header.columns})"
        raise InvalidInput(
            BODY_FIELD, f"The array has shape {shape}; (rows, {architecture.inputs}) is expected, the network's inputs."
        )
    check_row_count(header.rows, architecture)


@lru_cache(maxsize=64)
def _parse_npy_header(header: bytes) -> ArrayHeader:
    # Cached because clients send the same header again and again, and it is parsed as Python source.
    return read_npy_header(io.BytesIO(header), BODY_FIELD)


class _NpyBody:
    """Reader of a .npy file that arrives in parts."""

    def __init__(self, stream: AsyncIterator[bytes]) -> None:
        self._stream = stream
        self._rest = memoryview(b"")

    async def read_header(self) -> ArrayHeader:
        prefix = await self._read(_NPY_PREFIX_BYTES)
        if not prefix.startswith(MAGIC):
            raise InvalidInput(BODY_FIELD, "This is not a .npy file, which begins with \\x93NUMPY.")
        length_size = 2 if prefix[6:7] == b"\1" else 4
        length = 8 + length_size + int.from_bytes(prefix[8 : 8 + length_size], "little")
        if length > _MAX_NPY_HEADER_BYTES:
            raise InvalidInput(
                BODY_FIELD, f"The .npy header has {length} bytes; at most {_MAX_NPY_HEADER_BYTES} are accepted."
            )
        return _parse_npy_header(prefix + await self._read(length - len(prefix)))

    async def read_rows(self, header: ArrayHeader, count: int, buffer: memoryview) -> Matrix:
        """Read the next rows into a buffer."""
        buffer = buffer[: count * header.bytes_per_row]
        if await self._read_into(buffer) < len(buffer):
            raise InvalidInput(BODY_FIELD, f"The header announces {header.rows} rows, but the body ends earlier.")
        rows: Matrix = np.frombuffer(buffer, header.dtype).reshape(count, header.columns or 1)
        return rows

    async def check_end(self) -> None:
        """Check that nothing follows the rows."""
        if await self._read(1):
            raise InvalidInput(BODY_FIELD, "The body continues after the rows that the header announces.")

    async def _read(self, size: int) -> bytes:
        """Return the next bytes; fewer at the end of the body."""
        buffer = bytearray(size)
        return bytes(buffer[: await self._read_into(memoryview(buffer))])

    async def _read_into(self, buffer: memoryview) -> int:
        """Fill a buffer and return the number of bytes; fewer than its size at the end of the body."""
        filled = 0
        while filled < len(buffer):
            if not self._rest:
                part = await anext(self._stream, None)
                if part is None:
                    break
                self._rest = memoryview(part)
            stop = min(len(buffer), filled + len(self._rest))
            buffer[filled:stop] = self._rest[: stop - filled]
            self._rest = self._rest[stop - filled :]
            filled = stop
        return filled
