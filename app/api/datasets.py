"""/v1/datasets"""

import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import msgspec
import numpy as np
from anyio import to_thread
from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel, ValidationError
from pydantic_core import InitErrorDetails
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from nabla.app.dependencies import After, Context, DatasetId, Here, Limit
from nabla.app.http.body_limits import parse, streamed
from nabla.app.http.errors import problems
from nabla.app.http.files import (
    FILE,
    FILES,
    FORM,
    JSON,
    TAKEN,
    Digest,
    Form,
    arriving,
    checked_kind,
    created,
    each_once,
    name_for,
    receive_file,
    status,
    view,
)
from nabla.app.http.headers import ContentDigest, Prefer, seconds_to_wait
from nabla.app.http.idempotency import Once, ToCreate
from nabla.app.schemas.common import Page
from nabla.app.schemas.datasets import (
    EXAMPLE,
    DatasetFile,
    DatasetView,
    NewDataset,
    NewSplit,
    NewTable,
    NewUpload,
    ProfileView,
    ReadingFields,
    RowsView,
    SplitsView,
)
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.examples import Examples, examples, from_rows
from nabla.engine.errors import InvalidInput, NablaError
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.storage.registry import Receipt

datasets_router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])

_ROWS_BEGIN = re.compile(rb'"rows"\s*:')


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=REF_TEMPLATE)


def _parameters() -> list[dict[str, Any]]:
    """The options of a file as a body, in the query."""
    found = _schema(ReadingFields)["properties"]
    return [
        {"name": name, "in": "query", "schema": {"type": "string"}, "description": field.get("description", "")}
        for name, field in found.items()
    ]


_BODY = {
    "required": True,
    "content": {
        JSON: {
            "schema": {"oneOf": [_schema(model) for model in (NewDataset, NewTable, NewUpload)]},
            "example": EXAMPLE,
        },
        FORM: {"schema": _schema(DatasetFile)},
        **FILES,
    },
}


@datasets_router.post(
    "",
    status_code=201,
    summary="Create a dataset",
    response_model=DatasetView,
    responses={**TAKEN, **problems(400, 409, 413, 415, 422, 429)},
    openapi_extra={"requestBody": _BODY, "parameters": _parameters()},
)
async def create_dataset(
    request: Request, here: Here, once: ToCreate, prefer: Prefer = None, digest: Digest = None
) -> Response:
    """Hand in data to train on, to measure with or to predict: as JSON, as a file, or as files in a form.

    - **JSON**: `inputs` with `targets` (numbers) or `labels` (classes); or `rows` of named values with `target` or
      `label`; or `upload`, for data that come in several requests.
    - **A table** as the body itself or in the field `file` of a form: CSV or TSV (also packed with gzip or zstd),
      Parquet, Arrow (file or stream), NDJSON, JSON. `target` names the columns to learn as numbers, or `label` the one
      that holds the class; `features` those to learn from.
    - **Arrays**: an .npz in `file`, with `inputs` and `targets` or `labels`; or .npy or IDX files in fields of these
      names. `weights`, or the column that `weight` names, say how much each row counts.
    - **Rows without answers**, in any of these ways, with `unlabeled` and none of the above but inputs: for batch
      predictions, and for nothing else.

    Options go into the fields of the form, or into the query. Everything is checked before anything is stored. Data
    that take longer to read than `Prefer: wait=SECONDS` says, by default 30, are answered with 202 and read on; with
    `Prefer: respond-async` at once.
    """
    kind = checked_kind(request, (JSON, FORM, *FILES))
    if kind == JSON:
        return await _from_json(request, here, once, seconds_to_wait(prefer))
    return await _from_files(request, kind, here, once, seconds_to_wait(prefer))


async def _from_json(request: Request, here: Context, once: Once, seconds: float) -> Response:
    digest = ContentDigest(request)
    body = await request.body()
    await digest.see(body)
    digest.check()
    fields = await run_in_threadpool(_fields_of, body)
    if "upload" in fields:
        return await _open(await parse(request, NewUpload), body, here, once)
    if "rows" in fields:
        return await _from_rows(await parse(request, NewTable), body, here, once, seconds)
    data = await parse(request, NewDataset)

    def read(receipt: Receipt | None) -> Dataset:
        return here.catalog.create_dataset(_examples(data), data.name, receipt)

    return await created(here, once, body, read)


def _fields_of(body: bytes) -> frozenset[str]:
    """Of an object; none where it is something else, which is said where it is parsed. Raises ValidationError if it is
    rows with numbers that JSON has not."""
    try:
        return frozenset(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
    except (msgspec.ValidationError, RecursionError):
        return frozenset()
    except msgspec.DecodeError as problem:
        # Of arrays pydantic says which number it is; of rows, whose values may be of any kind, it would say less.
        if _ROWS_BEGIN.search(body):
            details: list[InitErrorDetails] = [{"type": "json_invalid", "input": None, "ctx": {"error": str(problem)}}]
            raise ValidationError.from_exception_data("body", details) from problem
        return frozenset()


def _examples(new: NewDataset) -> Examples:
    return examples(
        from_rows(new.inputs, "inputs"),
        targets=None if new.targets is None else from_rows(new.targets, "targets"),
        labels=new.labels,
        classes=new.classes,
        weights=None if new.weights is None else np.array(new.weights, np.float64),
        unlabeled=new.unlabeled,
    )


async def _open(new: NewUpload, body: bytes, here: Context, once: Once) -> Response:
    async with arriving(here, new.upload) as upload:
        named = replace(upload, name=new.name, reading=new.reading(here.settings.max_upload_bytes))
        return await created(here, once, body, lambda receipt: here.uploads.open(named, receipt))


async def _from_rows(new: NewTable, body: bytes, here: Context, once: Once, seconds: float) -> Response:
    async with arriving(here, "fields") as upload:
        with closing(here.uploads.incoming(upload)) as file:
            await run_in_threadpool(lambda: file.write(msgspec.json.encode(new.rows)))
            chunk = await run_in_threadpool(here.uploads.kept, upload, file, UploadChunk(content_type=JSON))
        return await _read(here, once, replace(upload, chunks=(chunk,)), new, body, seconds)


async def _from_files(request: Request, kind: str, here: Context, once: Once, seconds: float) -> Response:
    async with arriving(here, "fields") as upload:
        options = request.query_params.multi_items()
        if kind == FORM:
            form = Form(here.uploads, upload, request.headers["content-type"])
            await form.receive(request)
            options, chunks = [*options, *form.options], tuple(form.chunks)
        else:
            chunks = (await receive_file(request, here.uploads, upload),)
        fields = ReadingFields.model_validate(each_once(options))
        if not chunks:
            raise InvalidInput("file", "There is no file: one comes with a file name, in the field file.")
        sent = [fields.model_dump_json(), *(f"{chunk.field} {chunk.name} {chunk.sha256}" for chunk in chunks)]
        return await _read(here, once, replace(upload, chunks=chunks), fields, "\n".join(sent).encode(), seconds)


async def _read(
    here: Context, once: Once, upload: Upload, fields: ReadingFields, content: bytes, seconds: float
) -> Response:
    """`content`: all that was sent, or a digest of it."""
    named = replace(
        upload, name=name_for(fields.name, upload.chunks), reading=fields.reading(here.settings.max_upload_bytes)
    )
    return await created(here, once, content, lambda receipt: here.uploads.read(named, seconds, receipt))


@datasets_router.get("", summary="List datasets", responses=problems(422))
def list_datasets(here: Here, limit: Limit = 20, after: After = None) -> Page[DatasetView]:
    """Newest first, also those that are not ready."""
    found, has_more = here.uploads.page(after, limit)
    return Page(data=[view(here, dataset) for dataset in found], has_more=has_more)


@datasets_router.get("/{dataset_id}", summary="Get a dataset", responses=problems(404, 422))
def get_dataset(dataset_id: DatasetId, here: Here) -> DatasetView:
    """Its size, its columns and its classes; or how far it is."""
    return view(here, here.uploads.find(dataset_id))


@datasets_router.delete("/{dataset_id}", status_code=204, summary="Delete a dataset", responses=problems(404, 409, 422))
def delete_dataset(dataset_id: DatasetId, here: Here) -> None:
    """Refused while a job or a batch prediction that is not finished needs it. One that is not ready is not read any
    further."""
    found = here.uploads.find(dataset_id)
    if isinstance(found, Upload):
        here.uploads.delete(found)
    else:
        here.catalog.delete_dataset(found)


uploads_router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])

_ROWS = {**FILES, JSON: FILES["application/octet-stream"]}


@uploads_router.post(
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
    async with _chunk(request, here, upload) as chunk:
        return await created(
            here, once, chunk.sha256.encode(), lambda receipt: here.uploads.append(upload, chunk, receipt)
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


@uploads_router.put(
    "/{dataset_id}/chunks/{number}",
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
    """Parts may come in any order and be sent again, as long as the dataset is open: `chunks` of the dataset shows
    which have arrived, with their digests. They are put together when it is closed."""
    upload = here.uploads.opened(dataset_id, "file")
    if request.headers.get("content-type", "").lower().startswith(FORM):
        raise HTTPException(415, "The body is a form; a part is the body itself, as application/octet-stream.")
    async with _chunk(request, here, upload) as chunk:
        return view(here, await run_in_threadpool(here.uploads.add, upload, replace(chunk, number=number)))


@asynccontextmanager
async def _chunk(request: Request, here: Context, upload: Upload) -> AsyncIterator[UploadChunk]:
    """The body; nothing is left of it unless the upload has it when the block ends."""
    chunk = await receive_file(request, here.uploads, upload)
    try:
        yield chunk
    finally:
        await run_in_threadpool(here.uploads.discard_chunk, upload, chunk)


@uploads_router.post(
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


profiles_router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])


@profiles_router.get(
    "/{dataset_id}/profile",
    summary="Look at a dataset",
    response_model=ProfileView,
    responses=problems(404, 409, 413, 422),
)
async def get_profile(dataset_id: DatasetId, here: Here) -> Response:
    """What each column holds: missing and different values, range, mean, deviation and a histogram; how many rows each
    class has; and, in words, what may stand in the way of training. It is made when it is first asked for, which takes
    a while for large data."""
    dataset = here.uploads.ready(dataset_id)

    def look() -> Response:  # columns may be many, so that the answer is written here too
        found = ProfileView.of(dataset.id, here.looks.profile(dataset))
        return Response(found.model_dump_json(), media_type="application/json")

    return await to_thread.run_sync(look, limiter=here.waiting)


@profiles_router.get("/{dataset_id}/rows", summary="Get rows of a dataset", responses=problems(404, 409, 422))
def get_rows(
    dataset_id: DatasetId,
    here: Here,
    offset: Annotated[int, Query(ge=0, description="The first row, counted from 0.")] = 0,
    limit: Limit = 20,
) -> RowsView:
    """As they were handed in, with all columns."""
    dataset = here.uploads.ready(dataset_id)
    columns, data = here.looks.rows(dataset, offset, limit)
    return RowsView.of(columns, data, offset, dataset.rows)


@profiles_router.post(
    "/{dataset_id}/split",
    status_code=201,
    summary="Divide a dataset",
    response_model=SplitsView,
    responses=problems(400, 404, 409, 422),
)
async def split_dataset(dataset_id: DatasetId, new: NewSplit, here: Here, once: ToCreate) -> Response:
    """Into datasets of their own. Which row goes where depends on the seed alone."""
    parts = [(part.name, part.share) for part in new.splits]

    def create() -> Response:
        return once.create(
            lambda: new.model_dump_json().encode(),
            lambda receipt: here.looks.split(here.uploads.ready(dataset_id), parts, new.seed, new.stratified, receipt),
            lambda found: SplitsView(data=[DatasetView.of(part) for part in found.datasets]),
            lambda found: f"/v1/datasets/{found.id}",
        )

    return await to_thread.run_sync(create, limiter=here.waiting)
