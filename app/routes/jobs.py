"""/v1/jobs"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from app.context import After, Context, Here, JobId, Limit
from app.routes import problems
from app.schemas.base import Page
from app.schemas.jobs import EpochView, HistoryView, JobView, NewJob
from engine.jobs.job import Job

router = APIRouter(prefix="/v1/jobs", tags=["3 jobs"])

_EVENTS_AT_ONCE = 500
# A worker writes a checkpoint before a job is paused; so long the answer waits for it.
_SECONDS_TO_PAUSE = 10.0


def _view(here: Context, job: Job) -> JobView:
    waiting = here.registry.queue(job.device_kind)
    return JobView.of(job, waiting.index(job.id) if job.id in waiting else None)


async def _found(job_id: JobId, here: Here) -> Job:
    return here.registry.jobs.find(job_id)


Found = Annotated[Job, Depends(_found)]


@router.post("", status_code=202, summary="Train a network", responses=problems(400, 404, 422))
def create_job(new: NewJob, here: Here, response: Response) -> JobView:
    """Queue a training job. It starts as soon as a slot is free and trains in a process of its own."""
    network = here.registry.networks.find(new.network_id)
    dataset = here.registry.datasets.find(new.dataset_id)
    validation = None
    if new.validation is not None and new.validation.dataset_id is not None:
        validation = here.registry.datasets.find(new.validation.dataset_id)
    job = here.jobs.submit(network, dataset, new.spec(), new.name, validation)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return _view(here, job)


@router.get("", summary="List jobs", responses=problems(422))
def list_jobs(here: Here, limit: Limit = 20, after: After = None) -> Page[JobView]:
    """Newest first."""
    jobs, has_more = here.registry.jobs.page(after, limit)
    return Page(data=[_view(here, job) for job in jobs], has_more=has_more)


@router.get("/{job_id}", summary="Get a job", responses=problems(404, 422))
async def get_job(job: Found, here: Here) -> JobView:
    """Its state, how far it is, and what is left."""
    return _view(here, job)


@router.get("/{job_id}/history", summary="Get a job's cost history", responses=problems(404, 422))
def get_history(
    job: Found,
    here: Here,
    after: Annotated[int, Query(ge=0, description="The epoch after which to begin.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many epochs at most.")] = 1000,
) -> HistoryView:
    """One entry for each finished epoch, oldest first."""
    epochs = here.registry.history(job.id, after, limit + 1)
    return HistoryView(data=[EpochView.of(epoch) for epoch in epochs[:limit]], has_more=len(epochs) > limit)


@router.get(
    "/{job_id}/events",
    summary="Follow a job",
    response_class=EventSourceResponse,
    responses=problems(404, 422),
)
async def follow_job(
    job: Found,
    here: Here,
    last_event_id: Annotated[int, Header(ge=0, description="Where a broken stream goes on.")] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Server-Sent Events from the job's beginning (or from `Last-Event-ID`) to its end: `epoch` with an entry of the
    history, `state` with the job as it then was. After the job's last state the stream ends."""
    last = last_event_id
    while not here.changes.closed:
        changed = here.changes.next_of(job.id)
        events = await run_in_threadpool(here.registry.events, job.id, last, _EVENTS_AT_ONCE)
        for last, event in events:
            if isinstance(event, Job):
                yield ServerSentEvent(event="state", id=str(last), data=JobView.of(event, None))
            else:
                yield ServerSentEvent(event="epoch", id=str(last), data=EpochView.of(event))
        if not events:
            now = here.registry.jobs.peek(job.id)
            if now is None or now.finished:
                return
            await changed.wait()


@router.post("/{job_id}/cancel", summary="Cancel a job", responses=problems(404, 409, 422))
def cancel_job(job: Found, here: Here) -> JobView:
    """The job is cancelled when the answer comes. Its history stays; no version is published."""
    return _view(here, here.jobs.cancel(job.id))


@router.post("/{job_id}/pause", summary="Pause a job", responses=problems(404, 409, 422))
async def pause_job(job: Found, here: Here) -> JobView:
    """A running job is saved at its next step and frees its slot; the answer comes when that is done."""
    now = await run_in_threadpool(here.jobs.pause, job.id)
    with suppress(TimeoutError):
        async with asyncio.timeout(_SECONDS_TO_PAUSE):
            while now.state == "running" and not here.changes.closed:
                changed = here.changes.next_of(job.id)
                now = here.registry.jobs.get(job.id)
                if now.state == "running":
                    await changed.wait()
    return _view(here, now)


@router.post("/{job_id}/resume", summary="Resume a paused job", responses=problems(404, 409, 422))
def resume_job(job: Found, here: Here) -> JobView:
    """Back into the queue; it goes on exactly where it was paused."""
    return _view(here, here.jobs.resume(job.id))


@router.delete("/{job_id}", status_code=204, summary="Delete a finished job", responses=problems(404, 409, 422))
def delete_job(job: Found, here: Here) -> None:
    """With its history. The version it published stays."""
    here.jobs.delete(job)
