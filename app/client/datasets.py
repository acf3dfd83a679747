"""Datasets, as a client hands them in and looks at them."""

import base64
import hashlib
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from app.client.connection import Connection, ServiceError, as_text, check, persistently
from app.client.frames import Frame, stream
from app.schemas.datasets import DatasetView
from app.schemas.profiles import PartsView, ProfileView, RowsView

T = TypeVar("T")
Rows = Path | Frame
Array = Path | npt.ArrayLike

_ARROW_STREAM = "application/vnd.apache.arrow.stream"
_BYTES = "application/octet-stream"
# Between two looks at what is being read: the first, and the longest.
_SOON, _SECONDS_BETWEEN_LOOKS = 0.02, 1.0


class Datasets(Connection):
    """What hands in a dataset waits until that is ready, or with `wait=False` until all of it has arrived; then `ready`
    waits for the rest. Options are those of POST /v1/datasets: `label="pays"`, `missing={"age": "mean"}`; or
    `unlabeled=True`, for rows without answers."""

    def create_dataset(self, **fields: Any) -> DatasetView:
        """Fields as in POST /v1/datasets. With `upload` it takes rows or parts, until it is closed."""
        return self._ask(DatasetView, "POST", "/v1/datasets", json=fields)

    def upload_dataset(self, path: Path, *, wait: bool = True, **options: Any) -> DatasetView:
        """A table of any kind that the service reads, or an .npz file."""
        with path.open("rb") as file:
            return self._hand_in(wait, files={"file": (path.name, file)}, data=as_text(options))

    def upload_arrays(
        self,
        *,
        inputs: Array,
        targets: Array | None = None,
        labels: Array | None = None,
        weights: Array | None = None,
        wait: bool = True,
        **options: Any,
    ) -> DatasetView:
        """`inputs` (rows, inputs) with `targets` (rows, outputs) or `labels` (rows,), and `weights` (rows,): arrays of
        NumPy, or paths of .npy or IDX files. `inputs` alone go with `unlabeled=True`."""
        given = {"inputs": inputs, "targets": targets, "labels": labels, "weights": weights}
        with ExitStack() as stack:
            files = {
                field: (field, stack.enter_context(_array_file(array)))
                for field, array in given.items()
                if array is not None
            }
            return self._hand_in(wait, files=files, data=as_text(options))

    def upload_frame(self, frame: Frame, *, wait: bool = True, **options: Any) -> DatasetView:
        """A table of pandas, Polars or PyArrow; it goes out batch by batch, and is never in memory as a whole here, if
        it is not so already."""
        headers = {"Content-Type": _ARROW_STREAM}
        return self._hand_in(wait, content=stream(frame), params=as_text(options), headers=headers)

    def append_rows(self, dataset: str, rows: Rows) -> DatasetView:
        """A file or a frame, as one more of the `pieces` of a dataset that is open for rows. It is there once, also if
        the connection breaks and it has to be sent again."""
        with _rows_file(rows) as file:
            headers = {
                "Content-Type": _BYTES if isinstance(rows, Path) else _ARROW_STREAM,
                "Content-Digest": _digest(hashlib.file_digest(file, "sha256").digest()),
                "Idempotency-Key": uuid.uuid4().hex,
            }

            def send() -> DatasetView:
                file.seek(0)
                return self._ask(DatasetView, "POST", f"/v1/datasets/{dataset}/rows", content=file, headers=headers)

            return persistently(send)

    def send_parts(self, dataset: str, path: Path, *, bytes_of_a_part: int = 2**24) -> DatasetView:
        """A file, in parts, to a dataset that is open for them; those that it has are not sent again. After whatever
        has broken it off the same call goes on.

        Raises ValueError if the dataset has parts that are not of this file.
        """
        view = persistently(self.dataset, dataset)
        there = {piece.number: piece.sha256 for piece in view.pieces or ()}
        number = 0
        with path.open("rb") as file:
            while part := file.read(bytes_of_a_part):
                number += 1
                digest = hashlib.sha256(part)
                if there.pop(number, None) != digest.hexdigest():
                    view = self._send_part(view.id, number, part, digest.digest())
        if there:
            raise ValueError(f"{path.name} has {number} parts; the dataset {view.id} has parts up to {max(there)}.")
        return view

    def _send_part(self, dataset: str, number: int, part: bytes, digest: bytes) -> DatasetView:
        headers = {"Content-Type": _BYTES, "Content-Digest": _digest(digest)}
        path = f"/v1/datasets/{dataset}/parts/{number}"
        return persistently(self._ask, DatasetView, "PUT", path, content=part, headers=headers)

    def close_dataset(self, dataset: str, *, wait: bool = True) -> DatasetView:
        """All rows or parts have been sent."""
        path = f"/v1/datasets/{dataset}/close"
        view = persistently(self._ask, DatasetView, "POST", path, headers=self._prefer(wait))
        return self._awaited(view, wait)

    def dataset(self, dataset: str) -> DatasetView:
        """Ready or not: its `state`, and how far it is."""
        return self._ask(DatasetView, "GET", f"/v1/datasets/{dataset}")

    def ready(self, dataset: str) -> DatasetView:
        """Wait until it has been read, also across a restart of the service.

        Raises ServiceError, with the service's sentences, if it could not be read; and if it is not closed.
        """
        pause = _SOON
        while (view := persistently(self.dataset, dataset)).state == "reading":
            dataset = view.id  # there may be a newer one of this name by now
            time.sleep(pause)
            pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS)
        if view.state == "failed":
            errors = [error.model_dump() for error in view.errors or ()]
            raise ServiceError(422, {"detail": " ".join(error["message"] for error in errors), "errors": errors})
        if view.state == "receiving":
            raise ServiceError(409, {"detail": f"The dataset {view.id} is not closed yet."})
        return view

    def delete_dataset(self, dataset: str) -> None:
        """One that is not ready is not read any further; one that a job needs is refused."""
        check(self._http.delete(f"/v1/datasets/{dataset}"))

    def profile(self, dataset: str) -> ProfileView:
        """What each column holds, and warnings. However long it takes to make it."""
        return self._ask(ProfileView, "GET", f"/v1/datasets/{dataset}/profile", timeout=self._patience)

    def rows(self, dataset: str, *, offset: int = 0, limit: int = 20) -> RowsView:
        """`limit` rows, up to 1,000, beginning with number `offset`, counted from 0."""
        return self._ask(RowsView, "GET", f"/v1/datasets/{dataset}/rows", params={"offset": offset, "limit": limit})

    def split(
        self, dataset: str, parts: Mapping[str, float], *, seed: int = 0, stratified: bool = True
    ) -> list[DatasetView]:
        """New datasets, by their names and shares: `{"train": 0.8, "test": 0.2}`. However long it takes."""
        shares = [{"name": name, "share": share} for name, share in parts.items()]
        fields = {"parts": shares, "seed": seed, "stratified": stratified}
        path = f"/v1/datasets/{dataset}/split"
        return self._ask(PartsView, "POST", path, json=fields, timeout=self._patience).data

    def _hand_in(self, wait: bool, headers: Mapping[str, str] | None = None, **request: Any) -> DatasetView:
        headers = {**(headers or {}), **self._prefer(wait)}
        return self._awaited(self._ask(DatasetView, "POST", "/v1/datasets", headers=headers, **request), wait)

    def _prefer(self, wait: bool) -> dict[str, str]:
        """The service answers before this client would think it dead."""
        return {"Prefer": f"wait={min(30.0, self._timeout / 2):g}" if wait else "respond-async"}

    def _awaited(self, view: DatasetView, wait: bool) -> DatasetView:
        return self.ready(view.id) if wait and view.state != "ready" else view


def _digest(sha256: bytes) -> str:
    """Content-Digest, RFC 9530."""
    return f"sha-256=:{base64.b64encode(sha256).decode()}:"


@contextmanager
def _file(given: Path | T, write: Callable[[T, BufferedIOBase], object]) -> Iterator[BufferedIOBase]:
    """At its beginning: the file at a path; or what `write` writes of anything else, which is on disk for that time."""
    if isinstance(given, Path):
        with given.open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as file:
        write(given, file)
        file.seek(0)
        yield file


def _array_file(array: Array) -> AbstractContextManager[BufferedIOBase]:
    """So that it is not in memory twice."""
    return _file(array, lambda numbers, file: np.save(file, np.asarray(numbers), allow_pickle=False))


def _rows_file(rows: Rows) -> AbstractContextManager[BufferedIOBase]:
    """The digest goes before the content, and it may be sent twice."""
    return _file(rows, lambda frame, file: file.writelines(stream(frame)))
