"""/v1/events, and those of one job"""

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from app.context import LARGEST, Here
from app.routes import problems
from app.routes.jobs import Found

router = APIRouter(prefix="/v1", tags=["3 jobs"])

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


@router.get("/jobs/{job_id}/events", summary="Follow a job", responses={**_STREAM, **problems(404, 422)})
async def follow_job(job: Found, here: Here, last_event_id: LastEvent = None) -> StreamingResponse:
    """Server-Sent Events from the job's beginning (or from `Last-Event-ID`) to its end: `epoch` with an entry of the
    history, `state` with the job as it then was, but for its place in the queue. After the job's last state the stream
    ends. An id that no event has had yet counts as none: the data folder is another one than before."""
    return _stream(here.streams.follow(job.id, last_event_id or 0))


@router.get("/events", summary="Follow all jobs", responses={**_STREAM, **problems(422)})
async def follow_all(here: Here, last_event_id: LastEvent = None, epochs: Epochs = "all") -> StreamingResponse:
    """The same events of all jobs, from now on, or from `Last-Event-ID`."""
    if epochs == "last":
        return _stream(here.streams.follow_latest())
    return _stream(here.streams.follow(None, last_event_id))


def _stream(content: AsyncIterator[bytes]) -> StreamingResponse:
    return StreamingResponse(content, media_type="text/event-stream", headers=_HEADERS)
