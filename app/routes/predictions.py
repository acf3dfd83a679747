"""/v1/networks/{id}/predictions"""

from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict
from starlette.concurrency import run_in_threadpool

from app.accepting import preferred
from app.context import Context, NetworkId, context_of, number_in
from app.direct import DirectRoute
from app.handed_in import checked_kind
from app.predictions.answers import FEW, JSON, KINDS, NPY, Wishes, answered
from app.predictions.npy_bodies import answers_to_npy
from app.predictions.wanted import prepared, wanted_in
from app.routes import problems
from app.schemas.base import in_one_piece
from app.schemas.predictions import EXAMPLE, NewPrediction, PredictionView, Probabilities, TopK, Version
from engine.jobs.network import NetworkRecord, VersionReference
from engine.jobs.network import Version as Published
from engine.training.model import Answers, Model

router = APIRouter(prefix="/v1/networks", tags=["4 predictions"], route_class=DirectRoute)

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY: dict[str, Any] = {
    "required": True,
    "content": {JSON: {"schema": in_one_piece(NewPrediction), "example": EXAMPLE}, NPY: _BINARY},
}
LARGE = 2**16
"""Bytes of JSON that are looked at in a thread: they take longer than changing to one."""


class _Query(BaseModel):
    """Of a body that is only rows."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[Version, BeforeValidator(number_in)] = None
    top_k: TopK = None
    probabilities: Probabilities = False


@router.post(
    "/{network_id}/predictions",
    summary="Predict",
    response_model=PredictionView,
    responses={200: {"content": {NPY: _BINARY}}, **problems(404, 409, 413, 415, 422)},
    openapi_extra={"requestBody": _BODY},
)
async def predict(request: Request, network_id: NetworkId) -> Response:
    """Work rows of raw inputs through the network's current version, or another one. They are prepared as those were
    that it was trained on, and the outputs are in the units of the targets. A network that scales has to be trained
    first.

    A body of `application/x-npy` is an array of plain numbers, a row per example, which is worked through as it
    arrives; `version`, `top_k` and `probabilities` are parameters of the query then. With `Accept: application/x-npy`
    the answer is an array, of the outputs or the probabilities.

    Requests that wait at the same time are computed together; what a row gets does not depend on that.
    """
    here = context_of(request)
    record = here.registry.networks.find(network_id)
    kind = preferred(request.headers.get("accept", ""), KINDS)
    if checked_kind(request, (JSON, NPY, "application/octet-stream")) == JSON:
        return await _of_json(request, here, record, kind)
    query = _Query.model_validate(dict(request.query_params))
    version, model = await found_model(here, record, query.version)
    wishes = Wishes(kind, query.top_k, query.probabilities)
    wishes.check(record, version)
    outputs = await answers_to_npy(request.stream(), model, here.batching)
    return await _answered(record, version, outputs, wishes)


async def _of_json(request: Request, here: Context, record: NetworkRecord, kind: str) -> Response:
    body = await request.body()
    large = len(body) > LARGE
    wanted = await run_in_threadpool(wanted_in, body) if large else wanted_in(body)
    version, model = await found_model(here, record, wanted.version)
    wishes = Wishes(kind, wanted.top_k, wanted.probabilities)
    wishes.check(record, version)
    rows = await run_in_threadpool(prepared, wanted, model) if large else prepared(wanted, model)
    outputs = model.answers(await here.batching.outputs(model.network, rows), "inputs")
    return await _answered(record, version, outputs, wishes)


async def _answered(record: NetworkRecord, version: Published, outputs: Answers, wishes: Wishes) -> Response:
    if outputs.size > FEW:
        return await run_in_threadpool(answered, record, version, outputs, wishes)
    return answered(record, version, outputs, wishes)


async def found_model(
    here: Context, record: NetworkRecord, reference: VersionReference | None
) -> tuple[Published, Model]:
    """Raises NotFound, Damaged, Conflict."""
    if (at_hand := here.catalog.loaded(record, reference)) is not None:
        return at_hand
    return await run_in_threadpool(here.catalog.load, record, reference)
