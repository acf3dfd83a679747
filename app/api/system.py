"""/health and /metrics"""

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel

from nabla.app.dependencies import Here
from nabla.app.http.errors import problem, problems
from nabla.app.metrics import exposition
from nabla.app.schemas.common import DevicesView, DeviceView
from nabla.engine.services.devices import devices

health_router = APIRouter(tags=["6 health"])


class Health(BaseModel):
    status: str


@health_router.get("/health/live", summary="Is the service alive?")
async def live() -> Health:
    """Answers as long as the service answers at all."""
    return Health(status="live")


@health_router.get(
    "/health/ready", summary="Is the service ready to train?", response_model=Health, responses=problems(503)
)
async def ready(here: Here) -> Health | JSONResponse:
    """Ready when a worker waits in at least one slot and what happens can be journaled."""
    if here.jobs.failure is not None:
        return problem("not-ready", "Not ready", 503, here.jobs.failure)
    if not any(slot.state == "ready" for slot in here.jobs.slots):
        states = ", ".join(f"{slot.name} is {slot.state}" for slot in here.jobs.slots)
        return problem("not-ready", "Not ready", 503, f"No slot has a worker that is ready: {states}.")
    return Health(status="ready")


@health_router.get("/metrics", summary="Metrics for Prometheus", response_class=PlainTextResponse)
def metrics(here: Here) -> Response:
    """Jobs and batch predictions by state, networks, datasets and slots."""
    content, kind = exposition(here.registry, here.jobs)
    return Response(content, media_type=kind)


devices_router = APIRouter(prefix="/v1/devices", tags=["6 health"])


@devices_router.get("", summary="List devices")
def list_devices(here: Here) -> DevicesView:
    """What there is to train on: name, memory, and what the slots do. Where there is no GPU to use, it says why."""
    found = [DeviceView.of(device) for device in devices(here.jobs)]
    return DevicesView(data=found, missing=here.jobs.found.missing)
