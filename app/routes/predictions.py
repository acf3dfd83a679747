"""/v1/networks/{id}/predictions"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, BeforeValidator, ConfigDict
from starlette.concurrency import run_in_threadpool

from app.accepting import preferred
from app.bodies import keep, streamed
from app.context import Context, NetworkId, context_of, number_in
from app.direct import DirectRoute
from app.handed_in import checked_kind
from app.predictions.answers import FEW, FORMS, JSON, KINDS, NPY, Predictor, Wishes, answered
from app.predictions.arrow_tables import answers_to_table, table_of
from app.predictions.blocks import check_rows
from app.predictions.npy_bodies import answers_to_npy
from app.predictions.wanted import prepared, wanted_in
from app.routes import problems
from app.schemas.base import in_one_piece
from app.schemas.predictions import EXAMPLE, NewPrediction, PredictionView, Probabilities, TopK, Version
from engine.jobs.network import NetworkRecord
from engine.jobs.network import Version as Published
from engine.names import VersionReference
from engine.training.model import Answers, Model

router = APIRouter(prefix="/v1/networks", tags=["4 predictions"], route_class=DirectRoute)

BINARY = {kind: {"schema": {"type": "string", "format": "binary"}} for kind in (NPY, *FORMS)}
LARGE = 2**16
"""Bytes of JSON that are looked at in a thread: they take longer than changing to one."""


FindPredictor = Callable[[VersionReference | None], Awaitable[Predictor]]
"""That of the version which is asked for."""


class _Query(BaseModel):
    """Of a body that is only rows."""

    model_config = ConfigDict(extra="forbid")

    version: Annotated[Version, BeforeValidator(number_in)] = None
    top_k: TopK = None
    probabilities: Probabilities = False


_NOTHING_ASKED = _Query()


def body_of(rows: type[BaseModel]) -> dict[str, Any]:
    """How a request for predictions is documented: JSON of this model, an array, or a table."""
    json = {"schema": in_one_piece(rows), "example": EXAMPLE}
    return {"requestBody": {"required": True, "content": {JSON: json, **BINARY}}}


@router.post(
    "/{network_id}/predictions",
    summary="Predict",
    response_model=PredictionView,
    responses={200: {"content": BINARY}, **problems(404, 409, 413, 415, 422)},
    openapi_extra=body_of(NewPrediction),
)
async def predict(request: Request, network_id: NetworkId) -> Response:
    """Work rows of raw inputs through the network's current version, or another one. They are prepared as those were
    that it was trained on, and the outputs are in the units of the targets. A network that scales has to be trained
    first.

    A body of `application/x-npy` is an array of plain numbers, a row per example, which is worked through as it
    arrives; `version`, `top_k` and `probabilities` are parameters of the query then. With `Accept: application/x-npy`
    the answer is an array, of the outputs or the probabilities.

    A body of `application/vnd.apache.arrow.stream` (or `….file`) is a table, with the same parameters in the query. If
    the network was trained on a table it has the columns of that one, in any order, and null where there is no value;
    else as many columns of numbers as there are inputs, in their order. With `Accept` of one of these the answer is a
    table: `output_1` …; where there are classes `label`; and if they are asked for `probability_CLASS` …, and the
    likeliest classes as `top_1`, `top_1_score` …

    Requests that wait at the same time are computed together; what a row gets does not depend on that.
    """
    here = context_of(request)
    return await predicted(request, partial(_published, here, here.registry.networks.find(network_id)))


async def _published(here: Context, record: NetworkRecord, reference: VersionReference | None) -> Predictor:
    """Raises NotFound, Damaged, Conflict."""
    version, model = await found_model(here, record, reference)
    return Predictor({"network_id": record.id, "version": version.number}, model, version.classes)


async def predicted(request: Request, find: FindPredictor) -> Response:
    """The answer to a request with rows, from whatever predicts."""
    here = context_of(request)
    kind = preferred(request.headers.get("accept", ""), KINDS)
    given = checked_kind(request, (JSON, NPY, *FORMS, "application/octet-stream"))
    if given == JSON:
        return await _of_json(request, here, find, kind)
    query = _Query.model_validate(dict(request.query_params)) if request.scope["query_string"] else _NOTHING_ASKED
    predictor = await find(query.version)
    wishes = Wishes(kind, query.top_k, query.probabilities)
    wishes.check(predictor)
    if given in FORMS:
        outputs = await answers_to_table(streamed(request), predictor.model, here)
    else:
        outputs = await answers_to_npy(streamed(request), predictor.model, here.batching)
    return await _answered(request, here, predictor, outputs, wishes)


async def _of_json(request: Request, here: Context, find: FindPredictor, kind: str) -> Response:
    body = await request.body()
    large = len(body) > LARGE
    wanted = await run_in_threadpool(wanted_in, body) if large else wanted_in(body)
    predictor = await find(wanted.version)
    wishes = Wishes(kind, wanted.top_k, wanted.probabilities)
    wishes.check(predictor)
    model = predictor.model
    rows = await run_in_threadpool(prepared, wanted, model) if large else prepared(wanted, model)
    check_rows(len(rows), model.network.architecture)
    outputs = model.answers(await here.batching.outputs(model.network, rows), "inputs")
    return await _answered(request, here, predictor, outputs, wishes)


async def _answered(
    request: Request, here: Context, predictor: Predictor, outputs: Answers, wishes: Wishes
) -> Response:
    keep(request, outputs.nbytes)
    if wishes.kind in FORMS:
        return await table_of(here, predictor, outputs, wishes)
    if outputs.size > FEW:
        return await run_in_threadpool(answered, predictor, outputs, wishes)
    return answered(predictor, outputs, wishes)


async def found_model(
    here: Context, record: NetworkRecord, reference: VersionReference | None
) -> tuple[Published, Model]:
    """Raises NotFound, Damaged, Conflict."""
    if (at_hand := here.catalog.loaded(record, reference)) is not None:
        return at_hand
    return await run_in_threadpool(here.catalog.load, record, reference)
