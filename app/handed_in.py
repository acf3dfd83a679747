"""What requests that hand in files have in common: the files that they carry, and how they are answered."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import PurePath
from typing import Annotated, Any

from anyio import to_thread
from fastapi import Header, Request, Response
from pydantic import TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from app.context import Context
from app.idempotency import Once
from app.schemas.base import Name
from app.schemas.datasets import DatasetView
from engine.data.dataset import Dataset
from engine.errors import InvalidInput
from engine.jobs.registry import Receipt
from engine.jobs.upload import Piece, Upload
from engine.names import UploadKind

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
_NAME: TypeAdapter[str] = TypeAdapter(Name)
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


@asynccontextmanager
async def arriving(here: Context, kind: UploadKind) -> AsyncIterator[Upload]:
    """A new upload; nothing is left of it unless it is known when the block ends."""
    upload = await run_in_threadpool(here.uploads.begin, kind)
    try:
        yield upload
    finally:
        await run_in_threadpool(here.uploads.discard, upload)


def each_once(options: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Raises InvalidInput if one is there twice, in the form or in the query."""
    found: dict[str, str] = {}
    for name, value in options:
        if name in found:
            raise InvalidInput(name, "This option is there twice; lists have commas between their items.")
        found[name] = value
    return found


def name_for(name: str | None, pieces: Sequence[Piece]) -> str | None:
    """As asked for; or that of the file, where it can be one."""
    if name is not None or len(pieces) != 1:
        return name
    try:
        return _NAME.validate_python(PurePath(pieces[0].name).stem)
    except ValidationError:
        return None


def status(found: Dataset | Upload) -> int:
    """202: it was taken, and is not ready."""
    return 202 if isinstance(found, Upload) and found.state == "reading" else 201


def view(here: Context, found: Dataset | Upload) -> DatasetView:
    return DatasetView.of(found, here.uploads.progress(found) if isinstance(found, Upload) else None)
