"""/v2/models/{name}/infer: predictions by the Open Inference Protocol."""

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from app.bodies import keep, tensors
from app.context import VersionId, context_of, number_in
from app.direct import DirectRoute
from app.inference.answers import JSON_LENGTH, check_words, inferred, wanted_outputs
from app.inference.requests import Inference, arrays_in, inference_in, prepared
from app.predictions.answers import FEW
from app.predictions.blocks import check_rows
from app.routes.models import ModelName, errors
from app.routes.predictions import LARGE, found_model
from app.schemas.base import in_one_piece
from app.schemas.inference import InferenceRequest, InferenceResponse
from engine.errors import InvalidInput
from engine.names import CURRENT, VersionReference
from engine.nn.views import Matrix
from engine.training.model import Model

router = APIRouter(prefix="/v2/models/{model_name}", tags=["7 open inference protocol"], route_class=DirectRoute)

_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": in_one_piece(InferenceRequest)},
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
    },
}
_ERRORS = errors(404, 409, 413, 422, 500, 503, 507)


@router.post(
    "/infer",
    summary="Infer",
    response_model=InferenceResponse,
    responses=_ERRORS,
    openapi_extra={"requestBody": _BODY},
)
async def infer(request: Request, model_name: ModelName) -> Response:
    """Work rows of raw inputs through the current version of a network. Tensors are JSON, or binary behind it, with the
    header `Inference-Header-Content-Length`; each output comes as it is asked for."""
    return await _infer(request, model_name, CURRENT)


@router.post(
    "/versions/{model_version}/infer",
    summary="Infer with a version",
    response_model=InferenceResponse,
    responses=_ERRORS,
    openapi_extra={"requestBody": _BODY},
)
async def infer_with_version(request: Request, model_name: ModelName, model_version: VersionId) -> Response:
    """The same with another version than the current one."""
    return await _infer(request, model_name, number_in(str(model_version)))


async def _infer(request: Request, name: str, reference: VersionReference) -> Response:
    here = context_of(request)
    network = here.repository.find(name)
    binary = JSON_LENGTH.lower() in request.headers
    body = await (tensors(request) if binary else request.body())
    json_length = _json_length(request, body)
    version, model = await found_model(here, network, reference)
    large = len(body) > LARGE
    if large:
        inference, rows = await run_in_threadpool(_rows, body, json_length, model)
    else:
        inference, rows = _rows(body, json_length, model)
    wanted = wanted_outputs(inference, network, version)
    check_rows(len(rows), model.network.architecture)
    answers = model.answers(await here.batching.outputs(model.network, rows), "inputs")
    check_words(inference, wanted, answers)
    keep(request, answers.nbytes)
    if large or answers.size > FEW:
        return await run_in_threadpool(inferred, name, version, inference, wanted, answers)
    return inferred(name, version, inference, wanted, answers)


def _json_length(request: Request, body: bytes) -> int:
    """Raises InvalidInput."""
    length = request.headers.get(JSON_LENGTH)
    if length is None:
        return len(body)
    if not (length.isascii() and length.isdigit() and len(length) < 20 and int(length) <= len(body)):
        raise InvalidInput(JSON_LENGTH, f"It is {length[:20]!r}; the body has {len(body)} bytes, JSON and all.")
    return int(length)


def _rows(body: bytes, json_length: int, model: Model) -> tuple[Inference[Any], Matrix]:
    inference, known = inference_in(body[:json_length])
    return inference, prepared(arrays_in(inference, body[json_length:], known=known), model)
