"""/v1/datasets: datasets, uploads in several requests, profiles, rows and splits."""

import hashlib
import re
from collections.abc import AsyncIterator, Callable
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
from starlette.exceptions import HTTPException

from nabla.app.dependencies import After, DatasetId, IdempotentDep, Limit, ServicesDep, error_field
from nabla.app.http.errors import error_responses
from nabla.app.http.files import (
    FILE_BODY,
    FILE_CONTENT,
    JSON,
    MULTIPART_FORM,
    Digest,
    UploadForm,
    open_upload,
    receive_file,
    reject_duplicate_options,
    require_content_type,
    resolve_name,
)
from nabla.app.http.headers import ContentDigest, Prefer, parse_prefer_wait
from nabla.app.http.idempotency import IdempotentRequest
from nabla.app.http.middleware import parse_json_body, stream_body
from nabla.app.proposal import propose_training
from nabla.app.schemas.common import Page
from nabla.app.schemas.datasets import (
    DatasetView,
    NewProposal,
    NewSplit,
    PreviewView,
    ProfileView,
    ProposalView,
    RowsView,
    SplitsView,
)
from nabla.app.schemas.ingest import EXAMPLE, DatasetFile, IngestFields, NewDataset, NewTable, NewUpload
from nabla.app.services import Services
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.examples import Examples, build_examples, matrix_from_rows
from nabla.engine.data.ingest_options import IngestOptions
from nabla.engine.data.schema import Column
from nabla.engine.errors import InvalidInput, NablaError
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.storage.registry import IdempotencyKey

router = APIRouter(tags=["2 datasets"])

_MAX_KEYS = 1000
_ROWS_KEY = re.compile(rb'"rows"\s*:')
_ROWS_CONTENT = {**FILE_CONTENT, JSON: FILE_CONTENT["application/octet-stream"]}
_ACCEPTED_RESPONSE: dict[int | str, dict[str, Any]] = {
    202: {"model": DatasetView, "description": "The dataset is being read."}
}


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=REF_TEMPLATE)


_NEW_SCHEMA = {"oneOf": [_schema(model) for model in (NewDataset, NewTable, NewUpload)]}
_BODY = {
    "required": True,
    "content": {
        JSON: {"schema": _NEW_SCHEMA, "example": EXAMPLE},
        MULTIPART_FORM: {"schema": _schema(DatasetFile)},
        **FILE_CONTENT,
    },
}
# Options in the query, for a file that is the body itself.
_FILE_PARAMETERS = [
    {"name": name, "in": "query", "schema": {"type": "string"}, "description": field.get("description", "")}
    for name, field in _schema(IngestFields)["properties"].items()
]


@router.post(
    "/v1/datasets",
    status_code=201,
    summary="Create a dataset",
    response_model=DatasetView,
    responses={**_ACCEPTED_RESPONSE, **error_responses(400, 409, 413, 415, 422, 429)},
    openapi_extra={"requestBody": _BODY, "parameters": _FILE_PARAMETERS},
)
async def create_dataset(
    request: Request, services: ServicesDep, idempotent: IdempotentDep, prefer: Prefer = None, digest: Digest = None
) -> Response:
    """Create a dataset for training, evaluation or prediction, from JSON, a file, or several files in a form.

    - **JSON**: `inputs` with `targets` (numbers) or `labels` (classes); or `rows` of named values with `target` or
      `label`; or `upload`, for data sent in several requests.
    - **A table** as the body itself or in the field `file` of a form: CSV or TSV (also compressed with gzip or zstd),
      Parquet, Arrow (file or stream), NDJSON, JSON. `target` names the columns to learn as numbers, or `label` the
      column that holds the class; `features` names the columns to learn from.
    - **Arrays**: an .npz in `file`, with `inputs` and `targets` or `labels`; or .npy or IDX files in fields of these
      names. `weights`, or the column named by `weight`, sets how much each row counts.
    - **Rows without targets**, in any of these ways, with `unlabeled`: inputs only, for batch predictions only.

    Options are fields of the form, or parameters of the query. Everything is validated before anything is stored. If
    reading takes longer than `Prefer: wait=SECONDS` allows, by default 30, the response is 202 and reading goes on;
    with `Prefer: respond-async` it is 202 at once.
    """
    content_type = require_content_type(request, (JSON, MULTIPART_FORM, *FILE_CONTENT))
    wait_seconds = parse_prefer_wait(prefer)
    if content_type == JSON:
        return await _create_from_json(request, services, idempotent, wait_seconds)
    return await _create_from_files(request, content_type, services, idempotent, wait_seconds)


async def _create_from_json(
    request: Request, services: Services, idempotent: IdempotentRequest, wait_seconds: float
) -> Response:
    digest = ContentDigest(request)
    body = await request.body()
    await digest.update(body)
    digest.verify()
    keys = await to_thread.run_sync(_object_keys, body)
    if len(keys) > _MAX_KEYS:  # an error object for each takes seconds and hundreds of megabytes
        raise InvalidInput("body", f"The object has {len(keys)} members; fields of a dataset are expected.")
    if "upload" in keys:
        return await _open_upload(await parse_json_body(request, NewUpload), body, services, idempotent)
    if "rows" in keys:
        table = await parse_json_body(request, NewTable)
        return await _create_from_rows(table, body, services, idempotent, wait_seconds)
    data = await parse_json_body(request, NewDataset)
    return await _create(
        services, idempotent, body, lambda key: services.datasets.create_dataset(_examples(data), data.name, key)
    )


def _object_keys(body: bytes) -> frozenset[str]:
    """Return the keys of a JSON object; none for other values, which are rejected when the body is parsed.

    Raises:
        ValidationError: The body has rows, and is not valid JSON.
    """
    try:
        return frozenset(msgspec.json.decode(body, type=dict[str, msgspec.Raw]))
    except (msgspec.ValidationError, RecursionError):
        return frozenset()
    except msgspec.DecodeError as error:
        # For arrays pydantic names the offending number. For rows, whose values are of any type, it would not.
        if _ROWS_KEY.search(body):
            details: list[InitErrorDetails] = [{"type": "json_invalid", "input": None, "ctx": {"error": str(error)}}]
            raise ValidationError.from_exception_data("body", details) from error
        return frozenset()


def _examples(new: NewDataset) -> Examples:
    return build_examples(
        matrix_from_rows(new.inputs, "inputs"),
        targets=None if new.targets is None else matrix_from_rows(new.targets, "targets"),
        labels=new.labels,
        classes=new.classes,
        weights=None if new.weights is None else np.array(new.weights, np.float64),
        unlabeled=new.unlabeled,
    )


async def _open_upload(new: NewUpload, body: bytes, services: Services, idempotent: IdempotentRequest) -> Response:
    async with open_upload(services.datasets, new.upload) as started:
        upload = replace(started, name=new.name, reading=await _ingest_options(new, services))
        return await _create(services, idempotent, body, partial(services.datasets.open_upload, upload))


async def _create_from_rows(
    new: NewTable, body: bytes, services: Services, idempotent: IdempotentRequest, wait_seconds: float
) -> Response:
    async with open_upload(services.datasets, "fields") as upload:
        with closing(services.datasets.create_chunk_file(upload)) as file:
            await to_thread.run_sync(lambda: file.write(msgspec.json.encode(new.rows)))
            chunk = await to_thread.run_sync(
                services.datasets.store_chunk, upload, file, UploadChunk(content_type=JSON)
            )
        return await _ingest(services, idempotent, replace(upload, chunks=(chunk,)), new, body, wait_seconds)


async def _create_from_files(
    request: Request, content_type: str, services: Services, idempotent: IdempotentRequest, wait_seconds: float
) -> Response:
    async with open_upload(services.datasets, "fields") as upload:
        chunks, fields = await _receive_files(request, content_type, services, upload)
        digests = [f"{chunk.field} {chunk.name} {chunk.sha256}" for chunk in chunks]
        content = "\n".join([fields.model_dump_json(), *digests]).encode()
        return await _ingest(services, idempotent, replace(upload, chunks=chunks), fields, content, wait_seconds)


async def _receive_files(
    request: Request, content_type: str, services: Services, upload: Upload
) -> tuple[tuple[UploadChunk, ...], IngestFields]:
    """Store the files of a request; return them, and the options in its form and its query."""
    options = request.query_params.multi_items()
    if content_type == MULTIPART_FORM:
        form = UploadForm(services.datasets, upload, request.headers["content-type"])
        await form.receive(request)
        options, chunks = [*options, *form.options], tuple(form.chunks)
    else:
        chunks = (await receive_file(request, services.datasets, upload),)
    fields = IngestFields.model_validate(reject_duplicate_options(options))
    if not chunks:
        raise InvalidInput("file", "The form has no file; send it in the field file, with a file name.")
    return chunks, fields


@router.post(
    "/v1/datasets/preview",
    summary="Preview a table",
    responses=error_responses(400, 413, 415, 422, 429),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {MULTIPART_FORM: {"schema": _schema(DatasetFile)}, **FILE_CONTENT},
        },
        "parameters": _FILE_PARAMETERS,
    },
)
async def preview_dataset(request: Request, services: ServicesDep, digest: Digest = None) -> PreviewView:
    """Read a table, or its first lines, as POST /v1/datasets would, but store nothing.

    The response has the options that were detected, the first rows, what a dataset would be, and why it would be
    rejected. Without `target` and `label`, the likely target is used.
    """
    content_type = require_content_type(request, (MULTIPART_FORM, *FILE_CONTENT))
    async with open_upload(services.datasets, "fields") as upload:
        chunks, fields = await _receive_files(request, content_type, services, upload)
        reading = await _ingest_options(fields, services)
        preview = partial(services.datasets.preview_upload, replace(upload, chunks=chunks, reading=reading))
        return PreviewView.of(await to_thread.run_sync(preview, limiter=services.upload_threads))


async def _ingest(
    services: Services,
    idempotent: IdempotentRequest,
    upload: Upload,
    fields: IngestFields,
    content: bytes,
    wait_seconds: float,
) -> Response:
    name, reading = resolve_name(fields.name, upload.chunks), await _ingest_options(fields, services)
    upload = replace(upload, name=name, reading=reading)
    return await _create(
        services, idempotent, content, lambda key: services.datasets.ingest_upload(upload, wait_seconds, key)
    )


async def _ingest_options(fields: IngestFields, services: Services) -> IngestOptions:
    """Return the options of the ingest, with the columns of the network that the rows are for.

    Raises:
        InvalidInput: Two options contradict each other.
        NotFound: There is no such network or version.
    """
    columns: tuple[Column, ...] = ()
    if fields.network_id is not None:
        with error_field("network_id"):
            network = services.registry.networks.resolve(fields.network_id)
            _, model = await to_thread.run_sync(services.networks.load_model, network, fields.version)
        columns = model.preprocessor.columns or ()
    return fields.ingest_options(services.settings.max_upload_bytes, columns)


async def _create(
    services: Services,
    idempotent: IdempotentRequest,
    content: bytes,
    create: Callable[[IdempotencyKey | None], Dataset | Upload],
) -> Response:
    """Create a dataset in an upload thread, unless an earlier request with the same key has done so.

    Args:
        services: All services.
        idempotent: The request.
        content: The content of the request, or a digest of it.
        create: Creates the dataset, and stores the key with it.
    """

    def run() -> Response:
        with idempotent.claim(content):
            dataset = idempotent.replay(services.datasets.resolve)
            if dataset is None:
                dataset = create(idempotent.key(201))
            status = 202 if _is_being_read(dataset) else 201
            return idempotent.response(status, _view(services, dataset), f"/v1/datasets/{dataset.id}")

    return await to_thread.run_sync(run, limiter=services.upload_threads)


def _is_being_read(dataset: Dataset | Upload) -> bool:
    return isinstance(dataset, Upload) and dataset.state == "reading"


def _view(services: Services, dataset: Dataset | Upload) -> DatasetView:
    if isinstance(dataset, Upload):
        return DatasetView.of(dataset, (), services.datasets.progress(dataset))
    return DatasetView.of(dataset, services.registry.datasets.shadowed_by(dataset))


@router.get("/v1/datasets", summary="List datasets", responses=error_responses(422))
def list_datasets(services: ServicesDep, limit: Limit = 20, after: After = None) -> Page[DatasetView]:
    """List datasets, newest first, including those that are not ready."""
    datasets, has_more = services.datasets.page(after, limit)
    return Page(data=[_view(services, dataset) for dataset in datasets], has_more=has_more)


@router.get("/v1/datasets/{dataset_id}", summary="Get a dataset", responses=error_responses(404, 422))
def get_dataset(dataset_id: DatasetId, services: ServicesDep) -> DatasetView:
    """Get a dataset's size, columns and classes; or the progress of its upload."""
    return _view(services, services.datasets.resolve(dataset_id))


@router.delete(
    "/v1/datasets/{dataset_id}", status_code=204, summary="Delete a dataset", responses=error_responses(404, 409, 422)
)
def delete_dataset(dataset_id: DatasetId, services: ServicesDep) -> None:
    """Delete a dataset, or stop reading it.

    409 while an unfinished job or batch prediction needs it, and for a name that several datasets have.
    """
    dataset = services.datasets.resolve_single(dataset_id)
    if isinstance(dataset, Upload):
        services.datasets.delete_upload(dataset)
    else:
        services.datasets.delete_dataset(dataset)


@router.post(
    "/v1/datasets/{dataset_id}/rows",
    status_code=201,
    summary="Append rows to an open dataset",
    response_model=DatasetView,
    responses=error_responses(404, 409, 413, 415, 422),
    openapi_extra={"requestBody": {"required": True, "content": _ROWS_CONTENT}},
)
async def append_rows(
    dataset_id: DatasetId, request: Request, services: ServicesDep, idempotent: IdempotentDep, digest: Digest = None
) -> Response:
    """Append rows, as a file in any format that creating a dataset accepts.

    All files must have the same columns. They are on disk when the response arrives, and are read when the dataset is
    closed.
    """
    require_content_type(request, tuple(_ROWS_CONTENT))
    try:
        upload = services.datasets.require_open(dataset_id, "rows")
    except NablaError:
        return await _replay_append(request, services, idempotent, dataset_id)
    async with _received_chunk(request, services, upload) as chunk:
        append = partial(services.datasets.append_chunk, upload, chunk)
        return await _create(services, idempotent, chunk.sha256.encode(), append)


async def _replay_append(
    request: Request, services: Services, idempotent: IdempotentRequest, dataset_id: str
) -> Response:
    """Respond to a repeated request whose dataset has been closed since; reject a new request."""
    digest = hashlib.sha256()
    async for block in stream_body(request):
        digest.update(block)
    content = digest.hexdigest().encode()
    return await _create(services, idempotent, content, lambda key: services.datasets.require_open(dataset_id, "rows"))


@router.get("/v1/datasets/{dataset_id}/rows", summary="Get rows of a dataset", responses=error_responses(404, 409, 422))
def get_rows(
    dataset_id: DatasetId,
    services: ServicesDep,
    offset: Annotated[int, Query(ge=0, description="Index of the first row, from 0.")] = 0,
    limit: Limit = 20,
) -> RowsView:
    """Get rows as they were uploaded, with all columns."""
    dataset = services.datasets.resolve_ready(dataset_id)
    columns, data = services.dataset_analysis.rows(dataset, offset, limit)
    return RowsView.of(columns, data, offset, dataset.rows)


@router.put(
    "/v1/datasets/{dataset_id}/chunks/{number}",
    summary="Upload a chunk of a file",
    responses=error_responses(404, 409, 413, 415, 422),
    openapi_extra={"requestBody": FILE_BODY},
)
async def put_chunk(
    dataset_id: DatasetId,
    number: Annotated[int, Path(ge=1, le=100_000, description="Position of the chunk in the file, from 1.")],
    request: Request,
    services: ServicesDep,
    digest: Digest = None,
) -> DatasetView:
    """Upload a chunk of a file. Chunks may come in any order and be sent again while the dataset is open.

    `chunks` of the dataset shows which have arrived, with their digests. They are joined when the dataset is closed.
    """
    upload = services.datasets.require_open(dataset_id, "file")
    if request.headers.get("content-type", "").lower().startswith(MULTIPART_FORM):
        raise HTTPException(415, "The body is a form; a chunk is the body itself, as application/octet-stream.")
    async with _received_chunk(request, services, upload) as chunk:
        changed = await to_thread.run_sync(services.datasets.put_chunk, upload, replace(chunk, number=number))
        return _view(services, changed)


@asynccontextmanager
async def _received_chunk(request: Request, services: Services, upload: Upload) -> AsyncIterator[UploadChunk]:
    """Store the body as a chunk; it is removed at the end of the block unless the upload has recorded it."""
    chunk = await receive_file(request, services.datasets, upload)
    try:
        yield chunk
    finally:
        await to_thread.run_sync(services.datasets.discard_chunk, upload, chunk)


@router.post(
    "/v1/datasets/{dataset_id}/close",
    summary="Close an open dataset",
    response_model=DatasetView,
    responses={**_ACCEPTED_RESPONSE, **error_responses(404, 409, 422)},
)
async def close_dataset(dataset_id: DatasetId, services: ServicesDep, prefer: Prefer = None) -> Response:
    """Close a dataset to further rows and chunks, and read those received.

    If the data is invalid, the response says why, and the dataset remains as failed, with the same reason.
    """
    dataset = services.datasets.resolve(dataset_id)
    if isinstance(dataset, Upload) and dataset.state == "receiving":
        close = partial(services.datasets.close_upload, dataset, parse_prefer_wait(prefer))
        dataset = await to_thread.run_sync(close, limiter=services.upload_threads)
    body = _view(services, dataset).model_dump_json()
    return Response(body, 202 if _is_being_read(dataset) else 200, media_type="application/json")


@router.get(
    "/v1/datasets/{dataset_id}/profile",
    summary="Profile a dataset",
    response_model=ProfileView,
    responses=error_responses(404, 409, 413, 422),
)
async def get_profile(dataset_id: DatasetId, services: ServicesDep) -> Response:
    """Get statistics of each column: missing and distinct values, range, mean, deviation and a histogram.

    The profile also has the number of rows of each class, and warnings about what may impair training. It is computed
    on the first request, which takes a while for large data.
    """
    dataset = services.datasets.resolve_ready(dataset_id)

    def profile() -> Response:  # serializing thousands of columns takes long too
        view = ProfileView.of(dataset.id, services.dataset_analysis.profile(dataset))
        return Response(view.model_dump_json(), media_type="application/json")

    return await to_thread.run_sync(profile, limiter=services.upload_threads)


@router.post(
    "/v1/datasets/{dataset_id}/proposal",
    summary="Propose a network for a dataset",
    responses=error_responses(400, 404, 409, 422),
)
def propose_network(dataset_id: DatasetId, new: NewProposal, services: ServicesDep) -> ProposalView:
    """Get a network that fits a dataset, and the settings of a job that trains it, with the reasons.

    Both are request bodies: `network` for `POST /v1/networks`, `job` for `POST /v1/jobs`. Nothing is created.
    """
    return propose_training(services.datasets.resolve_ready(dataset_id), new.hidden_units, new.epochs)


@router.post(
    "/v1/datasets/{dataset_id}/split",
    status_code=201,
    summary="Split a dataset",
    response_model=SplitsView,
    responses=error_responses(400, 404, 409, 422),
)
async def split_dataset(
    dataset_id: DatasetId, new: NewSplit, services: ServicesDep, idempotent: IdempotentDep
) -> Response:
    """Split a dataset into new datasets. Which row goes where depends on the seed alone."""
    shares = [(split.name, split.share) for split in new.splits]

    def split() -> Response:
        with idempotent.claim(new.model_dump_json().encode()):
            datasets = idempotent.replay(lambda *ids: tuple(map(services.registry.datasets.get, ids)))
            if datasets is None:
                dataset = services.datasets.resolve_ready(dataset_id)
                key = idempotent.key(201)
                datasets = services.dataset_analysis.split(dataset, shares, new.seed, new.stratified, key)
            view = SplitsView(data=[_view(services, dataset) for dataset in datasets])
            return idempotent.response(201, view, f"/v1/datasets/{datasets[0].id}")

    return await to_thread.run_sync(split, limiter=services.upload_threads)
