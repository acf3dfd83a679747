"""/v1/networks/{id}/predictions"""

from typing import Any

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from app.bodies import parse
from app.context import Context, Here, NetworkId
from app.routes import problems
from app.schemas.predictions import EXAMPLE, NewPrediction, PredictionView
from engine.errors import InvalidInput
from engine.jobs.network import NetworkRecord
from engine.training.evaluation import predicted_codes

router = APIRouter(prefix="/v1/networks", tags=["4 predictions"])

_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": NewPrediction.model_json_schema(), "example": EXAMPLE}},
}


@router.post(
    "/{network_id}/predictions",
    summary="Predict",
    responses=problems(400, 404, 409, 413, 422),
    openapi_extra={"requestBody": _BODY},
)
async def predict(network_id: NetworkId, request: Request, here: Here) -> PredictionView:
    """Work rows of raw inputs through the network's current version, or another one. They are prepared as those were
    that it was trained on, and the outputs are in the units of the targets. A network that scales has to be trained
    first."""
    record = here.registry.networks.find(network_id)
    new = await parse(request, NewPrediction)
    return await run_in_threadpool(_predict, record, new, here)


def _predict(record: NetworkRecord, new: NewPrediction, here: Context) -> PredictionView:
    if (new.inputs is None) == (new.rows is None):
        raise InvalidInput("inputs", "Exactly one of inputs and rows is required.")
    version, model = here.catalog.load(record, new.version)
    if new.rows is not None:
        outputs = model.predict_named(new.rows, "rows")
    else:
        outputs = model.predict_rows(new.inputs or [], "inputs")
    labels = None
    if version.classes is not None:
        labels = [version.classes[code] for code in predicted_codes(outputs)]
    return PredictionView(network_id=record.id, version=version.number, outputs=outputs.tolist(), labels=labels)
