"""Encoding of predictions: options, and responses as JSON or .npy."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from fastapi import Response
from fastapi.responses import StreamingResponse

from nabla.engine.data.export import ArrowIpcFormat
from nabla.engine.data.schema import Classes
from nabla.engine.training.metrics import (
    check_gives_probabilities,
    check_has_classes,
    class_scores,
    predicted_codes,
    top_k_codes,
)
from nabla.engine.training.model import Model
from nabla.engine.typing import Matrix

JSON, NPY = "application/json", "application/x-npy"
ARROW_FORMATS: dict[str, ArrowIpcFormat] = {
    "application/vnd.apache.arrow.stream": "stream",
    "application/vnd.apache.arrow.file": "file",
}
RESPONSE_MEDIA_TYPES = (JSON, NPY, *ARROW_FORMATS)
MAX_INLINE_OUTPUTS = 2**14
"""Number of outputs up to which the event loop encodes a response; more are encoded in a thread."""
_CHUNK_ROWS = 1000
_encode_json = msgspec.json.encode


@dataclass(frozen=True)
class Predictor:
    """A model that answers a prediction request: that of a version or of a running job.

    Attributes:
        identity: Fields that identify it in the response: network, version, job.
        model: The model.
        classes: The classes that it was trained on, if any.
    """

    identity: dict[str, str | int | None]
    model: Model
    classes: Classes | None


@dataclass(frozen=True)
class PredictionOptions:
    """Media type of a response, and what it contains besides the outputs (see `NewPrediction`)."""

    media_type: str = JSON
    top_k: int | None = None
    probabilities: bool = False

    def check(self, predictor: Predictor) -> None:
        """Check that the predictor supports the options.

        Raises:
            InvalidInput: It has no classes, or no probabilities.
        """
        if self.top_k is not None:
            check_has_classes(predictor.classes, "top_k")
        if self.probabilities:
            architecture = predictor.model.network.architecture
            check_gives_probabilities(architecture, predictor.classes, "probabilities")


def encode_response(
    predictor: Predictor, outputs: Matrix, options: PredictionOptions, warnings: Sequence[str]
) -> Response:
    """Return predictions as JSON or .npy.

    Args:
        predictor: The model that predicted.
        outputs: The outputs (rows, outputs) in the units of the targets.
        options: Options that were checked for the predictor.
        warnings: Sentences about unusual rows, for JSON.
    """
    if options.media_type == NPY:
        return _npy_response(class_scores(outputs) if options.probabilities else outputs)
    chunks = _json_chunks(predictor, outputs, options, warnings)
    if len(outputs) <= _CHUNK_ROWS:
        return Response(b"".join(chunks), media_type=JSON)
    return StreamingResponse(chunks, media_type=JSON)


def _npy_response(array: npt.NDArray[Any]) -> Response:
    return Response(_npy_header(array.dtype.str, array.shape) + array.tobytes(), media_type=NPY)


@lru_cache(maxsize=64)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    # Cached because most responses share one, and writing it takes as long as a small network.
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue()


def _json_chunks(
    predictor: Predictor, outputs: Matrix, options: PredictionOptions, warnings: Sequence[str]
) -> Iterator[bytes]:
    yield _encode_json(predictor.identity).removesuffix(b"}")
    yield from _json_array(b"outputs", outputs)
    if predictor.classes is None:
        yield b',"labels":null'
    else:
        classes = np.array(predictor.classes, object)
        yield from _json_array(b"labels", classes[predicted_codes(outputs)])
        if options.probabilities:
            yield from _json_array(b"probabilities", class_scores(outputs))
        if options.top_k is not None:
            yield from _json_top(classes, outputs, options.top_k)
    yield b',"warnings":%b}' % _encode_json(warnings)


def _json_array(name: bytes, array: npt.NDArray[Any]) -> Iterator[bytes]:
    yield b',"%b":[' % name
    for first in range(0, len(array), _CHUNK_ROWS):
        rows = _encode_json(array[first : first + _CHUNK_ROWS].tolist())
        yield (b"," if first else b"") + rows[1:-1]
    yield b"]"


def _json_top(classes: npt.NDArray[Any], outputs: Matrix, count: int) -> Iterator[bytes]:
    yield b',"top":['
    for first in range(0, len(outputs), _CHUNK_ROWS):
        part = outputs[first : first + _CHUNK_ROWS]
        codes = top_k_codes(part, count)
        scores = np.take_along_axis(class_scores(part), codes, 1).tolist()
        rows = [
            [{"label": label, "score": score} for label, score in zip(*row, strict=True)]
            for row in zip(classes[codes].tolist(), scores, strict=True)
        ]
        yield (b"," if first else b"") + _encode_json(rows)[1:-1]
    yield b"]"
