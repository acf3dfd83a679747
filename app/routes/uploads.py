"""/v1/datasets/{id}: rows, parts, close: data that come in several requests"""

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from app.bodies import streamed
from app.context import Context, DatasetId, Here
from app.handed_in import FILE, FILES, JSON, TAKEN, Digest, checked_kind, created, status, view
from app.idempotency import Once, ToCreate
from app.receiving import FORM, receive_file
from app.routes import problems
from app.schemas.datasets import DatasetView
from app.waiting import Prefer, seconds_to_wait
from engine.errors import NablaError
from engine.jobs.upload import Piece, Upload

router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])

_ROWS = {**FILES, JSON: FILES["application/octet-stream"]}


@router.post(
    "/{dataset_id}/rows",
    status_code=201,
    summary="Append rows to an open dataset",
    response_model=DatasetView,
    responses=problems(404, 409, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": _ROWS}},
)
async def append_rows(
    dataset_id: DatasetId, request: Request, here: Here, once: ToCreate, digest: Digest = None
) -> Response:
    """The rows that come next, as a file of a kind that creating a dataset takes. All files have the same columns. They
    are on disk when the answer comes, and are looked at when the dataset is closed."""
    checked_kind(request, tuple(_ROWS))
    try:
        upload = here.uploads.opened(dataset_id, "rows")
    except NablaError:
        return await _answered_before(request, here, once, dataset_id)
    async with _piece(request, here, upload) as piece:
        return await created(
            here, once, piece.sha256.encode(), lambda receipt: here.uploads.append(upload, piece, receipt)
        )


async def _answered_before(request: Request, here: Context, once: Once, dataset_id: str) -> Response:
    """A dataset that takes no more may be asked once more for an answer that was lost. Raises what stands in the way
    of another one."""
    digest = hashlib.sha256()
    async for part in streamed(request):
        digest.update(part)
    return await created(
        here, once, digest.hexdigest().encode(), lambda receipt: here.uploads.opened(dataset_id, "rows")
    )


@router.put(
    "/{dataset_id}/parts/{number}",
    summary="Send a part of a file",
    responses=problems(404, 409, 413, 415, 422),
    openapi_extra={"requestBody": FILE},
)
async def put_part(
    dataset_id: DatasetId,
    number: Annotated[int, Path(ge=1, le=100_000, description="Its place among the parts, from 1.")],
    request: Request,
    here: Here,
    digest: Digest = None,
) -> DatasetView:
    """Parts may come in any order and be sent again, as long as the dataset is open: `pieces` of the dataset shows
    which have arrived, with their digests. They are put together when it is closed."""
    upload = here.uploads.opened(dataset_id, "file")
    if request.headers.get("content-type", "").lower().startswith(FORM):
        raise HTTPException(415, "The body is a form; a part is the body itself, as application/octet-stream.")
    async with _piece(request, here, upload) as piece:
        return view(here, await run_in_threadpool(here.uploads.add, upload, replace(piece, number=number)))


@asynccontextmanager
async def _piece(request: Request, here: Context, upload: Upload) -> AsyncIterator[Piece]:
    """The body; nothing is left of it unless the upload has it when the block ends."""
    piece = await receive_file(request, here.uploads, upload)
    try:
        yield piece
    finally:
        await run_in_threadpool(here.uploads.discard_piece, upload, piece)


@router.post(
    "/{dataset_id}/close",
    summary="Close an open dataset",
    response_model=DatasetView,
    responses={**TAKEN, **problems(404, 409, 422)},
)
async def close_dataset(dataset_id: DatasetId, here: Here, prefer: Prefer = None) -> Response:
    """Nothing more is to come: what has come is read. What is wrong with it is answered, and stays with the dataset,
    which has failed then."""
    found = here.uploads.find(dataset_id)
    if isinstance(found, Upload) and found.state == "receiving":
        close = partial(here.uploads.close, found, seconds_to_wait(prefer))
        found = await to_thread.run_sync(close, limiter=here.waiting)
    body = view(here, found).model_dump_json()
    return Response(body, 202 if status(found) == 202 else 200, media_type="application/json")
