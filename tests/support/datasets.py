"""Datasets from files: their bytes, uploads of any kind, and what the service has of them on disk."""

import io
from contextlib import suppress
from typing import Any

import numpy as np

from tests.support.service import RunningService


def to_npy(array: Any) -> bytes:
    """Return the bytes of an npy file."""
    file = io.BytesIO()
    np.save(file, np.array(array), allow_pickle=False)
    return file.getvalue()


def to_npz(**arrays: Any) -> bytes:
    """Return the bytes of an npz file."""
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **arrays)
    return file.getvalue()


def post_dataset(service: RunningService, status: int = 201, **request: Any) -> dict[str, Any]:
    """Send a request to create a dataset that gets this status, and return the JSON of the response.

    Args:
        service: The service.
        status: The expected status.
        request: Arguments of httpx's `post`: files and data, content and headers, or json.
    """
    response = service.http.post("/v1/datasets", **request)
    assert response.status_code == status, response.text
    return dict(response.json())


def content_fields(view: dict[str, Any]) -> dict[str, Any]:
    """Return what of a dataset does not depend on the format of its file."""
    fields = ("state", "rows", "inputs", "targets", "columns", "target_columns", "classes")
    return {field: view[field] for field in fields}


def list_uploads(service: RunningService) -> list[str]:
    """Return the names in the directory of unfinished uploads."""
    return [path.name for path in (service.data_dir / "uploads").iterdir()]


def has_received_bytes(service: RunningService) -> bool:
    """Return whether any bytes of an upload are on disk."""
    with suppress(FileNotFoundError):  # files are renamed meanwhile
        return any(path.stat().st_size for path in (service.data_dir / "uploads").glob("ds_*/*"))
    return False
