"""What requests that hand in data have in common: the files that they carry, and how they are answered."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Header, Request, Response
from starlette.exceptions import HTTPException

from app.context import Context
from app.idempotency import Once
from app.schemas.datasets import DatasetView
from engine.data.dataset import Dataset
from engine.jobs.registry import Receipt
from engine.jobs.upload import Upload

# Kinds of files as a body of their own. What it really is, its first bytes tell.
FILES = {
    kind: {"schema": {"type": "string", "format": "binary"}}
    for kind in (
        "text/csv",
        "text/tab-separated-values",
        "application/x-ndjson",
        "application/vnd.apache.parquet",
        "application/vnd.apache.arrow.file",
        "application/vnd.apache.arrow.stream",
        "application/octet-stream",
    )
}
JSON = "application/json"
FILE = {"required": True, "content": FILES}
TAKEN: dict[int | str, dict[str, Any]] = {202: {"model": DatasetView, "description": "It is being read."}}

Digest = Annotated[
    str | None,
    Header(alias="Content-Digest", description="SHA-256 of the body, as RFC 9530 has it: sha-256=:BASE64:"),
]


def checked_kind(request: Request, accepted: Sequence[str]) -> str:
    """What the body is, as its Content-Type has it. Raises HTTPException unless it is one of these."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in accepted:
        raise HTTPException(415, f"The body is {kind or 'of no stated kind'}; accepted: {', '.join(accepted)}.")
    return kind


async def created(
    here: Context, once: Once, content: bytes, make: Callable[[Receipt | None], Dataset | Upload]
) -> Response:
    """What waits for reading does not keep other requests from being carried out."""

    def create() -> Response:
        return once.create(lambda: content, make, partial(view, here), lambda found: f"/v1/datasets/{found.id}", status)

    return await to_thread.run_sync(create, limiter=here.waiting)


def status(found: Dataset | Upload) -> int:
    """202: it was taken, and is not ready."""
    return 202 if isinstance(found, Upload) and found.state == "reading" else 201


def view(here: Context, found: Dataset | Upload) -> DatasetView:
    return DatasetView.of(found, here.uploads.progress(found) if isinstance(found, Upload) else None)
