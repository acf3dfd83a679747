"""/v1/datasets"""

import hashlib
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.openapi.constants import REF_TEMPLATE
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from app.bodies import parse
from app.context import After, Context, DatasetId, Here, Limit
from app.idempotency import Once, ToCreate
from app.routes import problems
from app.schemas.base import Name, Page
from app.schemas.datasets import EXAMPLE, DatasetFile, DatasetView, NewDataset
from engine.data.examples import Examples, examples, from_rows
from engine.data.readers import Reading, read_arrays, read_file
from engine.errors import InvalidInput

router = APIRouter(prefix="/v1/datasets", tags=["2 datasets"])


_BYTES_AT_ONCE = 2**20
_NAME: TypeAdapter[str] = TypeAdapter(Name)


def _schema(model: type[BaseModel]) -> dict[str, Any]:
    return model.model_json_schema(ref_template=REF_TEMPLATE)


_BODY = {
    "required": True,
    "content": {
        "application/json": {"schema": _schema(NewDataset), "example": EXAMPLE},
        "multipart/form-data": {"schema": _schema(DatasetFile)},
    },
}


@router.post(
    "",
    status_code=201,
    summary="Create a dataset",
    response_model=DatasetView,
    responses=problems(400, 409, 413, 415, 422),
    openapi_extra={"requestBody": _BODY},
)
async def create_dataset(request: Request, here: Here, once: ToCreate) -> Response:
    """Hand in training data: as JSON, or as a file in a form.

    - **JSON**: `inputs` with `targets` (numbers) or `labels` (classes).
    - **.npz** in the field `file`, with arrays `inputs` and `targets` or `labels`.
    - **.npy** files in the fields `inputs` and `targets` or `labels`.
    - **.csv** in the field `file`, with a header; `target` names the columns to learn as numbers, or `label` the one
      that holds the class. All other columns are inputs.

    Rows may have weights, which say how much each counts: `weights` in JSON, an array `weights` in .npz, a third .npy
    file in the field `weights`, or a column of the .csv that `weight` names.

    Everything is checked before anything is stored.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        return await _from_json(request, here, once)
    if kind == "multipart/form-data":
        return await _from_form(request, here, once)
    raise HTTPException(
        415, f"The body is {kind or 'of no stated kind'}; accepted: application/json, multipart/form-data."
    )


def _create(
    here: Context, once: Once, content: Callable[[], bytes], read: Callable[[], Examples], name: str | None
) -> Response:
    """`read` is called if the request was not carried out before."""
    return once.create(
        content,
        lambda receipt: here.catalog.create_dataset(read(), name, receipt),
        DatasetView.of,
        lambda dataset: f"/v1/datasets/{dataset.id}",
    )


async def _from_json(request: Request, here: Context, once: Once) -> Response:
    new = await parse(request, NewDataset)

    def read() -> Examples:
        return examples(
            from_rows(new.inputs, "inputs"),
            targets=None if new.targets is None else from_rows(new.targets, "targets"),
            labels=new.labels,
            classes=new.classes,
            weights=None if new.weights is None else np.array(new.weights, np.float64),
        )

    body = await request.body()
    return await run_in_threadpool(_create, here, once, lambda: body, read, new.name)


async def _from_form(request: Request, here: Context, once: Once) -> Response:
    async with request.form(max_files=4, max_fields=20) as form:
        files = {field: value for field, value in form.items() if isinstance(value, UploadFile)}
        options = DatasetFile.model_validate(
            {field: value.filename or "" if isinstance(value, UploadFile) else value for field, value in form.items()}
        )
        return await run_in_threadpool(_read_form, files, options, here, once)


def _name_for(options: DatasetFile) -> str | None:
    """As asked for; or that of the file, where it can be one."""
    if options.name is not None or options.file is None:
        return options.name
    try:
        return _NAME.validate_python(PurePath(options.file).stem)
    except ValidationError:
        return None


def _read_form(files: dict[str, UploadFile], options: DatasetFile, here: Context, once: Once) -> Response:
    reading = Reading(
        target=_listed(options.target),
        label=options.label,
        weight=options.weight or None,
        classes=_listed(options.classes) or None,
        largest=here.settings.max_upload_bytes,
    )
    fields = frozenset(files)

    def read() -> Examples:
        if fields == {"file"}:
            return read_file(files["file"].file, options.file or "", reading)
        if fields - {"weights"} in ({"inputs", "targets"}, {"inputs", "labels"}):
            return read_arrays({field: upload.file for field, upload in files.items()}, reading)
        raise InvalidInput(
            "file",
            "Send one file in the field file (.npz or .csv), or .npy files in inputs and targets or labels, and in "
            f"weights if rows have them; got {' and '.join(sorted(fields)) or 'no file'}.",
        )

    return _create(here, once, lambda: _content(files, options), read, _name_for(options))


def _content(files: dict[str, UploadFile], options: DatasetFile) -> bytes:
    """A digest of the form, whatever the boundaries between its parts."""
    hashed = hashlib.sha256(options.model_dump_json().encode())
    for field, upload in sorted(files.items()):
        hashed.update(field.encode() + b"\0")
        while part := upload.file.read(_BYTES_AT_ONCE):
            hashed.update(part)
        upload.file.seek(0)
    return hashed.digest()


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",")) if text else ()


@router.get("", summary="List datasets", responses=problems(422))
def list_datasets(here: Here, limit: Limit = 20, after: After = None) -> Page[DatasetView]:
    """Newest first."""
    datasets, has_more = here.registry.datasets.page(after, limit)
    return Page(data=[DatasetView.of(dataset) for dataset in datasets], has_more=has_more)


@router.get("/{dataset_id}", summary="Get a dataset", responses=problems(404, 422))
def get_dataset(dataset_id: DatasetId, here: Here) -> DatasetView:
    """Its size and its classes."""
    return DatasetView.of(here.registry.datasets.find(dataset_id))


@router.delete("/{dataset_id}", status_code=204, summary="Delete a dataset", responses=problems(404, 409, 422))
def delete_dataset(dataset_id: DatasetId, here: Here) -> None:
    """Refused while a job that is not finished needs it."""
    here.catalog.delete_dataset(here.registry.datasets.find(dataset_id))
