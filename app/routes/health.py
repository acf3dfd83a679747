"""/health and /metrics"""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from app.context import Here
from app.metrics import exposition
from app.problems import problem
from app.routes import problems

router = APIRouter(tags=["6 health"])


class Health(BaseModel):
    status: str


@router.get("/health/live", summary="Is the service alive?")
async def live() -> Health:
    """Answers as long as the service answers at all."""
    return Health(status="live")


@router.get("/health/ready", summary="Is the service ready to train?", response_model=Health, responses=problems(503))
async def ready(here: Here) -> Health | JSONResponse:
    """Ready when a worker waits in at least one slot and what happens can be journaled."""
    if here.jobs.failure is not None:
        return problem("not-ready", "Not ready", 503, here.jobs.failure)
    if not any(slot.state == "ready" for slot in here.jobs.slots):
        states = ", ".join(f"{slot.name} is {slot.state}" for slot in here.jobs.slots)
        return problem("not-ready", "Not ready", 503, f"No slot has a worker that is ready: {states}.")
    return Health(status="ready")


@router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
def metrics(here: Here) -> Response:
    """Jobs and batch predictions by state, networks, datasets and slots."""
    content, kind = exposition(here.registry, here.jobs)
    return Response(content, media_type=kind)
