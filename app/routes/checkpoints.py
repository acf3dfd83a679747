"""/v1/jobs/{id}/checkpoints"""

from typing import Annotated

from fastapi import APIRouter, Path, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse

from app.context import Here, JobId
from app.downloads import BYTES, download
from app.idempotency import ToCreate
from app.routes import problems
from app.routes.jobs import Found
from app.schemas.checkpoints import CheckpointsView, CheckpointView, Publication
from app.schemas.versions import VersionView
from engine.jobs.network import NetworkRecord, Version
from engine.jobs.registry import Receipt

router = APIRouter(prefix="/v1/jobs/{job_id}/checkpoints", tags=["3 jobs"])

_EXAMPLE: dict[str, Example] = {"xor": {"value": 5}}
Number = Annotated[int, Path(ge=1, description="The checkpoint's number.", openapi_examples=_EXAMPLE)]


@router.get("", summary="List a job's checkpoints", responses=problems(404, 422))
def list_checkpoints(job: Found) -> CheckpointsView:
    """Newest first. A job keeps its last ones, also when it has ended, until it is deleted."""
    return CheckpointsView(data=[CheckpointView.of(checkpoint) for checkpoint in reversed(job.checkpoints)])


@router.get(
    "/{number}",
    summary="Download a checkpoint",
    response_class=StreamingResponse,
    responses={200: {"content": {BYTES: {}}}, **problems(404, 422)},
)
def download_checkpoint(job: Found, number: Number, here: Here) -> StreamingResponse:
    """A safetensors file: `parameters` (the weights of a layer row by row, then its biases, layer after layer), the
    optimizer's `moments` and `memory`, and the position in the run as metadata."""
    file = here.checkpoints.open(job, here.checkpoints.find(job, number))
    return download(file, f"{job.id}-{number}.safetensors")


@router.post(
    "/{number}/publish",
    status_code=201,
    summary="Publish a checkpoint",
    response_model=VersionView,
    responses=problems(400, 404, 409, 422),
)
def publish_checkpoint(
    job_id: JobId, number: Number, here: Here, once: ToCreate, publication: Publication | None = None
) -> Response:
    """Its weights become the network's current version."""
    wanted = publication or Publication()

    def publish(receipt: Receipt | None) -> tuple[NetworkRecord, Version]:
        job = here.registry.jobs.find(job_id)
        return here.checkpoints.publish(job, here.checkpoints.find(job, number), wanted.weights, receipt)

    return once.create(
        lambda: wanted.model_dump_json().encode(),
        publish,
        lambda published: VersionView.of(published[1], published[0]),
        lambda published: f"/v1/networks/{published[0].id}/versions",
    )
