"""/v1/jobs"""

from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from fastapi.openapi.models import Example
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from nabla.app.dependencies import LARGEST, After, Context, Here, JobId, Limit, spoken_of_in
from nabla.app.http.errors import problems
from nabla.app.http.files import BYTES, download
from nabla.app.http.headers import preferred
from nabla.app.http.idempotency import ToCreate
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
from nabla.engine.errors import InvalidInput, NotFound
from nabla.engine.literals import State
from nabla.engine.records.job import Cancelled, Changed, Checkpointing, Job, Paused, SavedRun, check
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.jobs import Order
from nabla.engine.storage.registry import Receipt

jobs_router = APIRouter(prefix="/v1/jobs", tags=["3 jobs"])

_EPOCHS_AT_ONCE = 1000


def _view(here: Context, job: Job) -> JobView:
    jobs = here.registry.jobs
    return JobView.of(job, jobs.position(job), jobs.unfinished_before(job), here.jobs.is_pausing(job.id))


async def found_job(job_id: JobId, here: Here) -> Job:
    """By id or name. Raises NotFound."""
    at_hand = here.registry.jobs.at_hand(job_id)
    return await run_in_threadpool(here.registry.jobs.find, job_id) if at_hand is None else at_hand


Found = Annotated[Job, Depends(found_job)]
States = Annotated[
    frozenset[State],
    Query(description="Only jobs in this state; repeated, in one of these: `state=queued&state=running`."),
]


@jobs_router.post(
    "",
    status_code=202,
    summary="Train a network",
    response_model=JobView,
    responses=problems(400, 404, 409, 422, 429),
)
def create_job(new: NewJob, here: Here, once: ToCreate) -> Response:
    """Queue a training job. It starts as soon as a slot is free, no other job trains the network, and the jobs that it
    comes after have succeeded; it trains in a process of its own."""
    return once.create(
        lambda: new.model_dump_json(exclude_unset=True).encode(),
        lambda receipt: here.jobs.submit(_order(new, here), receipt),
        lambda job: _view(here, job),
        lambda job: f"/v1/jobs/{job.id}",
        lambda job: 202,
    )


def _order(new: NewJob, here: Context) -> Order:
    """Raises NotFound, InvalidInput."""
    registry, settings = here.registry, here.settings
    with spoken_of_in("network_id"):
        network = registry.networks.find(new.network_id)
    with spoken_of_in("dataset_id"):
        dataset = here.uploads.ready(new.dataset_id)
    validation = None
    if new.validation is not None and new.validation.dataset_id is not None:
        with spoken_of_in("validation.dataset_id"):
            validation = here.uploads.ready(new.validation.dataset_id)
    return Order(
        network,
        dataset,
        new.spec(),
        new.name,
        validation,
        new.priority,
        tuple(_before(here, number, reference) for number, reference in enumerate(new.depends_on)),
        Checkpointing(
            new.checkpoints.seconds or settings.checkpoint_seconds,
            new.checkpoints.epochs,
            new.checkpoints.keep or settings.checkpoints_kept,
        ),
        _start(new, here, network.id),
    )


def _before(here: Context, number: int, reference: str) -> Job:
    with spoken_of_in(f"depends_on.{number}"):
        return here.registry.jobs.find(reference)


def _start(new: NewJob, here: Context, network_id: str) -> tuple[Job, SavedRun] | None:
    if new.resume_from is None:
        return None
    with spoken_of_in("resume_from.job_id"):
        job = here.registry.jobs.find(new.resume_from.job_id)
    if job.network_id != network_id:
        raise InvalidInput("resume_from.job_id", f"The job {job.id} trained another network, {job.network_id}.")
    try:
        return job, here.checkpoints.find(job, new.resume_from.checkpoint)
    except NotFound as problem:
        raise InvalidInput("resume_from.checkpoint", str(problem)) from problem


@jobs_router.get("", summary="List jobs", responses=problems(422))
def list_jobs(here: Here, limit: Limit = 20, after: After = None, state: States = frozenset()) -> Page[JobView]:
    """Newest first."""
    jobs, has_more = here.registry.jobs.page(after, limit, state)
    return Page(data=[_view(here, job) for job in jobs], has_more=has_more)


@jobs_router.get("/{job_id}", summary="Get a job", responses=problems(404, 422))
async def get_job(job: Found, here: Here) -> JobView:
    """Its state, how far it is, and what is left."""
    return _view(here, job)


@jobs_router.get(
    "/{job_id}/history",
    summary="Get a job's cost history",
    response_model=HistoryView,
    responses={200: {"content": {"text/csv": {}}}, **problems(404, 422)},
)
def get_history(
    job: Found,
    here: Here,
    after: Annotated[int, Query(ge=0, le=LARGEST, description="The epoch after which to begin.")] = 0,
    limit: Annotated[
        int | None,
        Query(ge=1, le=10_000, description="How many epochs at most; by default 1000, and as CSV all."),
    ] = None,
    points: Annotated[
        int | None,
        Query(
            ge=6,
            le=10_000,
            description="For a plot: about so many epochs of all, with the first, the last, and the lowest and highest "
            "costs in between.",
        ),
    ] = None,
    accept: Annotated[str, Header(description="text/csv: a table.", include_in_schema=False)] = "",
) -> HistoryView | Response:
    """One entry for each finished epoch, oldest first. With `Accept: text/csv` as a table."""
    if points is not None and limit is not None:
        raise InvalidInput("points", "With points the whole history is looked at; leave out limit.")
    if points is not None:
        epochs = [EpochView.of(epoch) for epoch in here.registry.history_in_brief(job.id, after, points)]
        return _csv(iter([epochs])) if _wants_csv(accept) else HistoryView(data=epochs, has_more=False)
    if _wants_csv(accept):
        return _csv(_parts(here, job.id, after, limit))
    most = limit or _EPOCHS_AT_ONCE
    found = here.registry.history(job.id, after, most + 1)
    return HistoryView(data=[EpochView.of(epoch) for epoch in found[:most]], has_more=len(found) > most)


def _wants_csv(accept: str) -> bool:
    return preferred(accept, ("application/json", "text/csv")) == "text/csv"


def _parts(here: Context, job_id: str, after: int, limit: int | None) -> Iterator[list[EpochView]]:
    left = limit
    while left is None or left > 0:
        found = here.registry.history(job_id, after, min(_EPOCHS_AT_ONCE, left or _EPOCHS_AT_ONCE))
        if not found:
            return
        yield [EpochView.of(epoch) for epoch in found]
        after, left = found[-1].epoch, None if left is None else left - len(found)


def _csv(parts: Iterator[list[EpochView]]) -> StreamingResponse:
    def lines() -> Iterator[str]:
        names = list(EpochView.model_fields)
        yield ",".join(names) + "\r\n"
        for part in parts:
            rows = ([getattr(epoch, name) for name in names] for epoch in part)
            yield "".join(",".join("" if cell is None else str(cell) for cell in row) + "\r\n" for row in rows)

    return StreamingResponse(lines(), media_type="text/csv")


@jobs_router.patch("/{job_id}", summary="Change a job", responses=problems(400, 404, 409, 422))
async def change_job(job: Found, change: JobChange, here: Here) -> JobView:
    """Its priority, or the learning rate. A job that runs takes a new rate from the next epoch that begins, and then
    the answer comes; one that was paused within an epoch, from where it goes on."""
    if change.priority is None and change.learning_rate is None:
        raise InvalidInput("priority", "Give a priority, a learning_rate, or both.")
    await run_in_threadpool(here.jobs.change, job.id, change.priority, change.learning_rate)
    now = await _settled(here, job.id)
    if change.learning_rate is not None and JobView.of(now).learning_rate != change.learning_rate:
        check(now, Changed)
    return _view(here, now)


async def _settled(here: Context, job_id: str) -> Job:
    """The job when what was asked of it has happened, or could not any more."""
    await here.changes.settled(job_id, here.jobs.is_changing)
    return here.registry.jobs.get(job_id)


@jobs_router.post("/{job_id}/cancel", summary="Cancel a job", responses=problems(400, 404, 409, 422))
async def cancel_job(job: Found, here: Here, cancellation: Cancellation | None = None) -> JobView:
    """The job is cancelled when the answer comes. Its history and its checkpoints stay. No version is published, unless
    `keep` asks for it: then the job is saved first."""
    check(here.registry.jobs.get(job.id), Cancelled)
    if cancellation is None or cancellation.keep is None:
        return _view(here, await run_in_threadpool(here.jobs.cancel, job.id))
    here.checkpoints.check_keeps(job, cancellation.keep)
    if here.registry.jobs.get(job.id).state == "running":
        await _stop_running(here, job.id)
    return _view(here, await run_in_threadpool(here.checkpoints.cancel, job, cancellation.keep))


async def _stop_running(here: Context, job_id: str) -> None:
    """Paused; by force, at its last checkpoint, if its worker does not do it."""
    await run_in_threadpool(here.jobs.pause, job_id)
    if (await _settled(here, job_id)).state == "running":
        await run_in_threadpool(here.jobs.give_up, job_id)
        await _settled(here, job_id)


@jobs_router.post("/{job_id}/pause", summary="Pause a job", responses=problems(404, 409, 422))
async def pause_job(job: Found, here: Here) -> JobView:
    """A running job is saved at its next step and frees its slot; the answer comes when that is done. Where a step
    takes longer than 10 seconds, it comes before, with a job that is `running` and `pausing`."""
    check(here.registry.jobs.get(job.id), Paused)
    await run_in_threadpool(here.jobs.pause, job.id)
    return _view(here, await _settled(here, job.id))


@jobs_router.post("/{job_id}/resume", summary="Resume a paused job", responses=problems(404, 409, 422))
def resume_job(job: Found, here: Here) -> JobView:
    """Back into the queue; it goes on exactly where it was paused. A pause that has not happened yet is taken back."""
    return _view(here, here.jobs.resume(job.id))


@jobs_router.delete("/{job_id}", status_code=204, summary="Delete a finished job", responses=problems(404, 409, 422))
async def delete_job(job: Found, here: Here) -> None:
    """With its history and its checkpoints. The version it published stays."""
    await run_in_threadpool(here.jobs.delete, job)
    here.streams.forget(job.id)


checkpoints_router = APIRouter(prefix="/v1/jobs/{job_id}/checkpoints", tags=["3 jobs"])

_EXAMPLE: dict[str, Example] = {"xor": {"value": 5}}
Number = Annotated[int, Path(ge=1, description="The checkpoint's number.", openapi_examples=_EXAMPLE)]


@checkpoints_router.get("", summary="List a job's checkpoints", responses=problems(404, 422))
def list_checkpoints(job: Found) -> CheckpointsView:
    """Newest first. A job keeps its last ones, also when it has ended, until it is deleted."""
    return CheckpointsView(data=[CheckpointView.of(checkpoint) for checkpoint in reversed(job.checkpoints)])


@checkpoints_router.get(
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


@checkpoints_router.post(
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


events_router = APIRouter(prefix="/v1", tags=["3 jobs"])

LastEvent = Annotated[
    int | None,
    Header(
        alias="Last-Event-ID", ge=0, le=LARGEST, description="Where a broken stream goes on: the id of its last event."
    ),
]
Epochs = Annotated[
    Literal["all", "last"],
    Query(
        description="last: for a display. Always from now on, four times a second at most, and of the epochs that a "
        "job has finished since the time before only the last."
    ),
]
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-Sent Events.", "content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
# What stands between must not keep events back.
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


@events_router.get("/jobs/{job_id}/events", summary="Follow a job", responses={**_STREAM, **problems(404, 422)})
async def follow_job(job: Found, here: Here, last_event_id: LastEvent = None) -> StreamingResponse:
    """Server-Sent Events from the job's beginning (or from `Last-Event-ID`) to its end: `epoch` with an entry of the
    history, `state` with the job as it then was, but for its place in the queue. After the job's last state the stream
    ends. An id that no event has had yet counts as none: the data folder is another one than before."""
    return _stream(here.streams.follow(job.id, last_event_id or 0))


@events_router.get("/events", summary="Follow all jobs", responses={**_STREAM, **problems(422)})
async def follow_all(here: Here, last_event_id: LastEvent = None, epochs: Epochs = "all") -> StreamingResponse:
    """The same events of all jobs, from now on, or from `Last-Event-ID`."""
    if epochs == "last":
        return _stream(here.streams.follow_latest())
    return _stream(here.streams.follow(None, last_event_id))


def _stream(content: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(content, media_type="text/event-stream", headers=_HEADERS)
