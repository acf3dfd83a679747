"""Outputs as answers: JSON, .npy."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from fastapi import Response
from fastapi.responses import StreamingResponse

from nabla.engine.data.export import ArrowForm
from nabla.engine.nn.array_views import Matrix
from nabla.engine.training.evaluation import predicted_codes
from nabla.engine.training.metrics import check_gives_probabilities, check_has_classes, likeliest, scores_of
from nabla.engine.training.model import Model

JSON, NPY = "application/json", "application/x-npy"
FORMS: dict[str, ArrowForm] = {
    "application/vnd.apache.arrow.stream": "stream",
    "application/vnd.apache.arrow.file": "file",
}
"""Arrow tables, by their kinds."""
KINDS = (JSON, NPY, *FORMS)
FEW = 2**14
"""Outputs that are put into words without leaving the event loop."""
# Rows of an answer that are put into words at once.
_ROWS_AT_ONCE = 1000
_encode = msgspec.json.encode


@dataclass(frozen=True)
class Predictor:
    """Whose outputs they are. `names`: what an answer says of it; `classes`: what it was trained to tell apart."""

    names: dict[str, str | int | None]
    model: Model
    classes: tuple[str, ...] | None


@dataclass(frozen=True)
class Wishes:
    """How rows are to be answered, beside the outputs: see `NewPrediction`."""

    kind: str = JSON
    top_k: int | None = None
    probabilities: bool = False

    def check(self, predictor: Predictor) -> None:
        """Raises InvalidInput if the predictor cannot give what is wished."""
        if self.top_k is not None:
            check_has_classes(predictor.classes, "top_k")
        if self.probabilities:
            architecture = predictor.model.network.architecture
            check_gives_probabilities(architecture, predictor.classes, "probabilities")


def answered(predictor: Predictor, outputs: Matrix, wishes: Wishes) -> Response:
    """`outputs`: in the units of the targets. `wishes`: checked, and not for a table."""
    if wishes.kind == NPY:
        return _npy(scores_of(outputs) if wishes.probabilities else outputs)
    words = _words(predictor, outputs, wishes)
    if len(outputs) <= _ROWS_AT_ONCE:
        return Response(b"".join(words), media_type=JSON)
    return StreamingResponse(words, media_type=JSON)


def _npy(array: npt.NDArray[Any]) -> Response:
    return Response(_npy_header(array.dtype.str, array.shape) + array.tobytes(), media_type=NPY)


@lru_cache(maxsize=64)
def _npy_header(dtype: str, shape: tuple[int, ...]) -> bytes:
    """Of rows one after the other. Most answers have the same one, and writing it takes as long as a small network."""
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue()


def _words(predictor: Predictor, outputs: Matrix, wishes: Wishes) -> Iterator[bytes]:
    yield _encode(predictor.names).removesuffix(b"}")
    yield from _listed(b"outputs", outputs)
    if predictor.classes is None:
        yield b',"labels":null'
    else:
        classes = np.array(predictor.classes, object)
        yield from _listed(b"labels", classes[predicted_codes(outputs)])
        if wishes.probabilities:
            yield from _listed(b"probabilities", scores_of(outputs))
        if wishes.top_k is not None:
            yield from _top(classes, outputs, wishes.top_k)
    yield b"}"


def _listed(name: bytes, array: npt.NDArray[Any]) -> Iterator[bytes]:
    yield b',"%b":[' % name
    for first in range(0, len(array), _ROWS_AT_ONCE):
        words = _encode(array[first : first + _ROWS_AT_ONCE].tolist())
        yield (b"," if first else b"") + words[1:-1]
    yield b"]"


def _top(classes: npt.NDArray[Any], outputs: Matrix, count: int) -> Iterator[bytes]:
    yield b',"top":['
    for first in range(0, len(outputs), _ROWS_AT_ONCE):
        part = outputs[first : first + _ROWS_AT_ONCE]
        order = likeliest(part, count)
        found = zip(classes[order].tolist(), np.take_along_axis(scores_of(part), order, 1).tolist(), strict=True)
        rows = [[{"label": label, "score": score} for label, score in zip(*row, strict=True)] for row in found]
        yield (b"," if first else b"") + _encode(rows)[1:-1]
    yield b"]"
