"""/v1/networks/{id}/predictions"""

from typing import Any

import numpy as np
from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool

from app.bodies import parse
from app.context import Context, Here, NetworkId
from app.routes import problems
from app.schemas.predictions import EXAMPLE, NewPrediction, PredictionView
from engine.data.examples import from_rows
from engine.errors import InvalidInput
from engine.jobs.registry import NetworkRecord
from engine.training.evaluation import predicted_codes

router = APIRouter(prefix="/v1/networks", tags=["4 predictions"])

_BODY: dict[str, Any] = {
    "required": True,
    "content": {"application/json": {"schema": NewPrediction.model_json_schema(), "example": EXAMPLE}},
}


@router.post(
    "/{network_id}/predictions",
    summary="Predict",
    responses=problems(400, 404, 413, 422),
    openapi_extra={"requestBody": _BODY},
)
async def predict(network_id: NetworkId, request: Request, here: Here) -> PredictionView:
    """Work rows of inputs through the network's current version, or another one."""
    record = here.registry.networks.find(network_id)
    new = await parse(request, NewPrediction)
    return await run_in_threadpool(_predict, record, new, here)


def _predict(record: NetworkRecord, new: NewPrediction, here: Context) -> PredictionView:
    width = record.architecture.inputs
    if len(new.inputs[0]) != width:
        raise InvalidInput("inputs.0", f"This row has {len(new.inputs[0])} numbers; the network has {width} inputs.")
    version, network = here.catalog.load(record, new.version)
    outputs = network.predict(from_rows(new.inputs, "inputs"))
    if not np.isfinite(outputs).all():
        raise InvalidInput("inputs", "For these inputs the outputs are not finite numbers; they are too large.")
    labels = None
    if version.classes is not None:
        labels = [version.classes[code] for code in predicted_codes(outputs)]
    return PredictionView(network_id=record.id, version=version.number, outputs=outputs.tolist(), labels=labels)
