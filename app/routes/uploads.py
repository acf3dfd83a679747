"""/v1/datasets/{id}: rows, parts, close: data that come in several requests"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from app.context import Context, DatasetId, Here
from app.idempotency import ToCreate
from app.receiving import receive_file
from app.routes import problems
from app.routes.datasets import FILE, ROWS, TAKEN, Digest, check_part, check_rows, created, status, view
from app.schemas.datasets import DatasetView
from app.waiting import Prefer, seconds_to_wait
from engine.jobs.upload import Piece, Upload

router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])


@router.post(
    "/{dataset_id}/rows",
    status_code=201,
    summary="Append rows to an open dataset",
    response_model=DatasetView,
    responses=problems(404, 409, 413, 415, 422),
    openapi_extra={"requestBody": ROWS},
)
async def append_rows(
    dataset_id: DatasetId, request: Request, here: Here, once: ToCreate, digest: Digest = None
) -> Response:
    """The rows that come next, as a file of a kind that creating a dataset takes. All files have the same columns. They
    are on disk when the answer comes, and are looked at when the dataset is closed."""
    upload = here.uploads.opened(dataset_id, "rows")
    check_rows(request)
    async with _piece(request, here, upload) as piece:
        return await created(
            here, once, piece.sha256.encode(), lambda receipt: here.uploads.append(upload, piece, receipt)
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
    check_part(request)
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
