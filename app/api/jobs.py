"""/v1/jobs: jobs, their history, events and checkpoints."""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from nabla.app.dependencies import (
    MAX_INT64,
    After,
    IdempotentDep,
    JobDep,
    JobId,
    Limit,
    ServicesDep,
    error_field,
    resolve_owned_datasets,
)
from nabla.app.http.errors import error_responses
from nabla.app.http.files import OCTET_STREAM, download_response
from nabla.app.http.headers import negotiate_media_type
from nabla.app.schemas.common import Page
from nabla.app.schemas.jobs import (
    Cancellation,
    CheckpointsView,
    CheckpointView,
    EpochView,
    HistoryView,
    JobChange,
    JobView,
    NewJob,
    Publication,
)
from nabla.app.schemas.networks import VersionView
from nabla.app.services import Services
from nabla.engine.errors import InvalidInput, NotFound
from nabla.engine.literals import JobState
from nabla.engine.records.job import Cancelled, Changed, Checkpointing, CheckpointRecord, Job, Paused, check
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.job_validation import JobRequest

router = APIRouter(tags=["3 jobs"])

_HISTORY_PAGE = 1000

JobStates = Annotated[
    frozenset[JobState],
    Query(description="Only jobs in this state; repeat the parameter for several: `state=queued&state=running`."),
]
CheckpointNumber = Annotated[
    int, Path(ge=1, description="Number of the checkpoint.", openapi_examples={"xor": Example({"value": 5})})
]
LastEventId = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID",
        ge=0,
        le=MAX_INT64,
        description="Id of the last event that was received, to continue a broken stream.",
    ),
]
Epochs = Annotated[
    Literal["all", "last"],
    Query(
        description="last, for displays: only new events, at most four times a second, and of the epochs that a job "
        "finished in between only the last."
    ),
]
_STREAM_RESPONSE: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-Sent Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
# Proxies must not buffer events.
_STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


def _view(services: Services, job: Job) -> JobView:
    registry = services.registry
    return JobView.of(
        job,
        registry.jobs.position(job),
        registry.jobs.unfinished_dependencies(job),
        services.jobs.is_pausing(job.id),
        services.jobs.is_compiling(job),
    )


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Train a network",
    response_model=JobView,
    responses=error_responses(400, 404, 409, 422, 429),
)
def create_job(new: NewJob, services: ServicesDep, idempotent: IdempotentDep) -> Response:
    """Queue a training job.

    It starts as soon as a slot is free, no other job is training the network, and the jobs that it depends on have
    succeeded. It trains in its own process.
    """
    with idempotent.claim(new.model_dump_json(exclude_unset=True).encode()):
        job = idempotent.replay(services.registry.jobs.get)
        if job is None:
            plan = services.jobs.plan(_job_request(new, services))
            job = services.jobs.submit(plan, idempotent.key(202))
        return idempotent.response(202, _view(services, job), f"/v1/jobs/{job.id}")


def _job_request(new: NewJob, services: Services) -> JobRequest:
    """Resolve the ids and names in the body of a request; raise NotFound and InvalidInput with its fields."""
    settings = services.settings
    with error_field("network_id"):
        network = services.registry.networks.resolve(new.network_id)
    with error_field("dataset_id"):
        dataset = services.datasets.resolve_ready(new.dataset_id)
    validation = None
    if new.validation is not None and new.validation.dataset_id is not None:
        with error_field("validation.dataset_id"):
            validation = services.datasets.resolve_ready(new.validation.dataset_id)
    depends_on = []
    for number, reference in enumerate(new.depends_on):
        with error_field(f"depends_on.{number}"):
            depends_on.append(services.registry.jobs.resolve(reference))
    owned_datasets = resolve_owned_datasets(new.owned_datasets, services)
    return JobRequest(
        network,
        dataset,
        new.spec(),
        new.name,
        validation,
        new.priority,
        tuple(depends_on),
        Checkpointing(
            new.checkpoints.seconds or settings.checkpoint_interval,
            new.checkpoints.epochs,
            new.checkpoints.keep or settings.max_checkpoints,
        ),
        _start_checkpoint(new, services, network.id),
        owned_datasets,
    )


def _start_checkpoint(new: NewJob, services: Services, network_id: str) -> tuple[Job, CheckpointRecord] | None:
    if new.resume_from is None:
        return None
    with error_field("resume_from.job_id"):
        job = services.registry.jobs.resolve(new.resume_from.job_id)
    if job.network_id != network_id:
        raise InvalidInput("resume_from.job_id", f"The job {job.id} trained another network, {job.network_id}.")
    try:
        return job, services.checkpoints.get(job, new.resume_from.checkpoint)
    except NotFound as error:
        raise InvalidInput("resume_from.checkpoint", str(error)) from error


@router.get("/v1/jobs", summary="List jobs", responses=error_responses(422))
def list_jobs(
    services: ServicesDep, limit: Limit = 20, after: After = None, state: JobStates = frozenset()
) -> Page[JobView]:
    """List jobs, newest first."""
    jobs, has_more = services.registry.jobs.page(after, limit, state)
    return Page(data=[_view(services, job) for job in jobs], has_more=has_more)


@router.get("/v1/jobs/{job_id}", summary="Get a job", responses=error_responses(404, 422))
async def get_job(job: JobDep, services: ServicesDep) -> JobView:
    """Get a job's state, its progress and the estimated time remaining."""
    return _view(services, job)


@router.patch("/v1/jobs/{job_id}", summary="Change a job", responses=error_responses(400, 404, 409, 422))
async def change_job(job: JobDep, change: JobChange, services: ServicesDep) -> JobView:
    """Change a job's priority or learning rate.

    A running job uses the new learning rate from the next epoch on, and the response arrives then. A job that was
    paused within an epoch uses it from where it resumes.
    """
    if change.priority is None and change.learning_rate is None:
        raise InvalidInput("priority", "Give a priority, a learning_rate, or both.")
    await run_in_threadpool(services.jobs.change, job.id, change.priority, change.learning_rate)
    changed = await _wait_until_settled(services, job.id)
    if change.learning_rate is not None and JobView.of(changed).learning_rate != change.learning_rate:
        check(changed, Changed)
    return _view(services, changed)


@router.delete(
    "/v1/jobs/{job_id}", status_code=204, summary="Delete a finished job", responses=error_responses(404, 409, 422)
)
async def delete_job(job_id: JobId, services: ServicesDep) -> None:
    """Delete a finished job with its history, its checkpoints and the datasets that it owns.

    The version that it published stays, and so does a dataset that another unfinished job or batch prediction needs.
    409 for a name that several jobs have.
    """
    job = await run_in_threadpool(services.registry.jobs.resolve_single, job_id)
    await run_in_threadpool(services.jobs.delete, job)
    await run_in_threadpool(services.datasets.delete_owned, job.owned_datasets)
    services.event_streams.discard_job(job.id)


@router.get(
    "/v1/jobs/{job_id}/history",
    summary="Get a job's cost history",
    response_model=HistoryView,
    responses={200: {"content": {"text/csv": {}}}, **error_responses(404, 422)},
)
def get_history(
    job: JobDep,
    services: ServicesDep,
    after: Annotated[int, Query(ge=0, le=MAX_INT64, description="Only epochs after this one.")] = 0,
    limit: Annotated[
        int | None,
        Query(ge=1, le=10_000, description="Maximum number of epochs; by default 1000, and as CSV all."),
    ] = None,
    points: Annotated[
        int | None,
        Query(
            ge=6,
            le=10_000,
            description="For plots: a sample of about this many epochs, with the first, the last, and the lowest "
            "and highest costs in between.",
        ),
    ] = None,
    accept: Annotated[str, Header(description="text/csv: a table.", include_in_schema=False)] = "",
) -> HistoryView | Response:
    """Get the metrics of each finished epoch, oldest first. With `Accept: text/csv` the response is a table."""
    if points is not None and limit is not None:
        raise InvalidInput("points", "points samples the whole history; leave out limit.")
    if points is not None:
        epochs = [EpochView.of(epoch) for epoch in services.registry.downsampled_history(job.id, after, points)]
        return _csv_response(iter([epochs])) if _accepts_csv(accept) else HistoryView(data=epochs, has_more=False)
    if _accepts_csv(accept):
        return _csv_response(_history_pages(services, job.id, after, limit))
    page = limit or _HISTORY_PAGE
    entries = services.registry.history(job.id, after, page + 1)
    return HistoryView(data=[EpochView.of(epoch) for epoch in entries[:page]], has_more=len(entries) > page)


def _accepts_csv(accept: str) -> bool:
    return negotiate_media_type(accept, ("application/json", "text/csv")) == "text/csv"


def _history_pages(services: Services, job_id: str, after: int, limit: int | None) -> Iterator[list[EpochView]]:
    remaining = limit
    while remaining is None or remaining > 0:
        entries = services.registry.history(job_id, after, min(_HISTORY_PAGE, remaining or _HISTORY_PAGE))
        if not entries:
            return
        yield [EpochView.of(epoch) for epoch in entries]
        after, remaining = entries[-1].epoch, None if remaining is None else remaining - len(entries)


def _csv_response(pages: Iterator[list[EpochView]]) -> StreamingResponse:
    def lines() -> Iterator[str]:
        names = list(EpochView.model_fields)
        yield ",".join(names) + "\r\n"
        for page in pages:
            rows = ([getattr(epoch, name) for name in names] for epoch in page)
            yield "".join(",".join("" if cell is None else str(cell) for cell in row) + "\r\n" for row in rows)

    return StreamingResponse(lines(), media_type="text/csv")


async def _wait_until_settled(services: Services, job_id: str) -> Job:
    """Wait until a job has paused or changed as requested, or no longer can, and return it."""
    await services.job_changes.wait_until_settled(job_id, services.jobs.has_pending_change)
    return services.registry.jobs.get(job_id)


@router.post("/v1/jobs/{job_id}/cancel", summary="Cancel a job", responses=error_responses(400, 404, 409, 422))
async def cancel_job(job: JobDep, services: ServicesDep, cancellation: Cancellation | None = None) -> JobView:
    """Cancel a job. It is cancelled when the response arrives; its history and its checkpoints stay.

    No version is published unless `keep` asks for it: then the job is saved first.
    """
    check(services.registry.jobs.get(job.id), Cancelled)
    if cancellation is None or cancellation.keep is None:
        return _view(services, await run_in_threadpool(services.jobs.cancel, job.id))
    services.checkpoints.require_keeps_weights(job, cancellation.keep)
    if services.registry.jobs.get(job.id).state == "running":
        await _pause_or_force_stop(services, job.id)
    cancelled = await run_in_threadpool(services.checkpoints.cancel_and_publish, job, cancellation.keep)
    return _view(services, cancelled)


async def _pause_or_force_stop(services: Services, job_id: str) -> None:
    """Pause a running job; kill its worker if that takes too long, so that it is paused at its last checkpoint."""
    await run_in_threadpool(services.jobs.pause, job_id)
    if (await _wait_until_settled(services, job_id)).state == "running":
        await run_in_threadpool(services.jobs.force_stop, job_id)
        await _wait_until_settled(services, job_id)


@router.post("/v1/jobs/{job_id}/pause", summary="Pause a job", responses=error_responses(404, 409, 422))
async def pause_job(job: JobDep, services: ServicesDep) -> JobView:
    """Pause a job. A running job is saved at its next step and frees its slot; the response arrives when that is done.

    If a step takes longer than 10 seconds, the response arrives earlier: the job is still `running`, and `pausing`.
    """
    check(services.registry.jobs.get(job.id), Paused)
    await run_in_threadpool(services.jobs.pause, job.id)
    return _view(services, await _wait_until_settled(services, job.id))


@router.post("/v1/jobs/{job_id}/resume", summary="Resume a paused job", responses=error_responses(404, 409, 422))
def resume_job(job: JobDep, services: ServicesDep) -> JobView:
    """Requeue a paused job, which continues exactly where it was paused. A pause that is still pending is withdrawn."""
    return _view(services, services.jobs.resume(job.id))


@router.get(
    "/v1/jobs/{job_id}/events", summary="Follow a job", responses={**_STREAM_RESPONSE, **error_responses(404, 422)}
)
async def follow_job(job: JobDep, services: ServicesDep, last_event_id: LastEventId = None) -> StreamingResponse:
    """Stream a job's events from its beginning, or from `Last-Event-ID`, to its end, as Server-Sent Events.

    `epoch` has an entry of the history; `state` has the job at that time, without its position in the queue. The
    stream ends after the job's last state. An id that no event has had yet is ignored: it belongs to another data
    directory.
    """
    return _stream(services.event_streams.follow(job.id, last_event_id or 0))


@router.get("/v1/events", summary="Follow all jobs", responses={**_STREAM_RESPONSE, **error_responses(422)})
async def follow_all(
    services: ServicesDep, last_event_id: LastEventId = None, epochs: Epochs = "all"
) -> StreamingResponse:
    """Stream the same events of all jobs, from now on or from `Last-Event-ID`."""
    if epochs == "last":
        return _stream(services.event_streams.follow_sampled())
    return _stream(services.event_streams.follow(None, last_event_id))


def _stream(content: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(content, media_type="text/event-stream", headers=_STREAM_HEADERS)


@router.get("/v1/jobs/{job_id}/checkpoints", summary="List a job's checkpoints", responses=error_responses(404, 422))
def list_checkpoints(job: JobDep) -> CheckpointsView:
    """List the stored checkpoints of a job, newest first. They are kept after the job finishes, until it is deleted."""
    return CheckpointsView(data=[CheckpointView.of(checkpoint) for checkpoint in reversed(job.checkpoints)])


@router.get(
    "/v1/jobs/{job_id}/checkpoints/{number}",
    summary="Download a checkpoint",
    response_class=StreamingResponse,
    responses={200: {"content": {OCTET_STREAM: {}}}, **error_responses(404, 422)},
)
def download_checkpoint(job: JobDep, number: CheckpointNumber, services: ServicesDep) -> StreamingResponse:
    """Download a checkpoint as a safetensors file.

    It has `parameters` (the weights of a layer row by row, then its biases, layer after layer), the optimizer's
    `moments` and `memory`, and the position in the run as metadata.
    """
    file = services.checkpoints.open_file(job, services.checkpoints.get(job, number))
    return download_response(file, f"{job.id}-{number}.safetensors")


@router.post(
    "/v1/jobs/{job_id}/checkpoints/{number}/publish",
    status_code=201,
    summary="Publish a checkpoint",
    response_model=VersionView,
    responses=error_responses(400, 404, 409, 422),
)
def publish_checkpoint(
    job_id: JobId,
    number: CheckpointNumber,
    services: ServicesDep,
    idempotent: IdempotentDep,
    publication: Publication | None = None,
) -> Response:
    """Publish the weights of a checkpoint as the network's current version."""
    publication = publication or Publication()

    def find_version(network_id: str, version: str) -> tuple[NetworkRecord, Version]:
        network = services.registry.networks.get(network_id)
        return network, network.resolve_version(int(version))

    with idempotent.claim(publication.model_dump_json().encode()):
        published = idempotent.replay(find_version)
        if published is None:
            job = services.registry.jobs.resolve(job_id)
            checkpoint = services.checkpoints.get(job, number)
            published = services.checkpoints.publish(job, checkpoint, publication.weights, idempotent.key(201))
        network, version = published
        return idempotent.response(201, VersionView.of(version, network), f"/v1/networks/{network.id}/versions")
