# Generated from datasets.py in _async by scripts/generate_sync_client.py. Change that one.
"""A dataset, as a program holds it."""

import hashlib
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

from nabla.app.client._sync.http import Connection
from nabla.app.client._sync.resource import Handle
from nabla.app.client.concurrency import here, sleep
from nabla.app.client.errors import Conflict, ConnectionLost, Invalid, NablaError
from nabla.app.client.request_encoding import ARROW_STREAM, BYTES, as_text, content_digest, told_by_name
from nabla.app.client.retries import new_key
from nabla.app.client.tabular import Frame, array_file, stream
from nabla.app.schemas.datasets import DatasetView, ProfileView, RowsView, SplitsView

_BYTES_AT_ONCE = 2**18


class Content:
    """A file, as a body that may be sent more than once."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __iter__(self) -> Iterator[bytes]:
        here(self._file.seek, 0)
        while part := here(self._file.read, _BYTES_AT_ONCE):
            yield part

    def length(self) -> int:
        return here(self._file.seek, 0, 2)

    def sha256(self) -> bytes:
        digest = hashlib.sha256()
        for part in self:
            digest.update(part)
        return digest.digest()


@contextmanager
def content_of(rows: Path | str | Frame) -> Iterator[Content]:
    """The file at a path; or a frame, which is on disk for that time: its digest goes before it, and it may be sent
    twice."""
    if isinstance(rows, Path | str):
        with here(Path(rows).open, "rb") as file:
            yield Content(file)
        return
    with tempfile.TemporaryFile() as written:
        here(written.writelines, stream(rows))
        yield Content(written)


def made(parts: Iterator[bytes]) -> Iterator[bytes]:
    """As they are made, each when the one before has been sent. Such a body can be sent once."""
    while (part := here(next, parts, None)) is not None:
        yield part


BYTES_OF_A_PART = 2**24
# Between two looks at what is being read: the first, and the longest.
_SOON, _SECONDS_BETWEEN_LOOKS = 0.02, 1.0


class Dataset(Handle[DatasetView]):
    """Data to train on, to measure with or to predict."""

    @property
    def state(self) -> str:
        return self.view.state

    @property
    def inputs(self) -> int | None:
        """Of a network for it."""
        return self.view.inputs

    @property
    def outputs(self) -> int | None:
        """Of a network for it; with classes their number."""
        return self.view.targets

    @property
    def classes(self) -> list[str] | None:
        return self.view.classes

    def refresh(self) -> "Dataset":
        """Ask how it is now."""
        self.view = self._connection.ask(DatasetView, "GET", self._path)
        return self

    def ready(self) -> "Dataset":
        """Wait until it has been read, also across a restart of the service.

        Raises Invalid, with the service's sentences, if it could not be read; Conflict if it is not closed.
        """
        pause = _SOON
        while self.view.state == "reading":
            sleep(pause)
            pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS)
            self.refresh()
        if self.view.state == "failed":
            errors = [error.model_dump() for error in self.view.errors or ()]
            raise Invalid(422, {"detail": " ".join(error["message"] for error in errors), "errors": errors})
        if self.view.state == "receiving":
            raise Conflict(409, {"detail": f"The dataset {self.id} is not closed yet."})
        return self

    def profile(self) -> ProfileView:
        """What each column holds, and warnings. However long it takes to make it."""
        patience = self._connection.as_long_as_it_takes
        return self._connection.ask(ProfileView, "GET", f"{self._path}/profile", timeout=patience)

    def rows(self, *, offset: int = 0, limit: int = 20) -> RowsView:
        """`limit` rows, up to 1,000, beginning with number `offset`, counted from 0."""
        return self._connection.ask(RowsView, "GET", f"{self._path}/rows", params={"offset": offset, "limit": limit})

    def split(self, parts: dict[str, float], *, seed: int = 0, stratified: bool = True) -> list["Dataset"]:
        """New datasets, by their names and shares: `{"train": 0.8, "test": 0.2}`. However long it takes."""
        shares = [{"name": name, "share": share} for name, share in parts.items()]
        fields = {"splits": shares, "seed": seed, "stratified": stratified}
        patience = self._connection.as_long_as_it_takes
        found = self._connection.ask(
            SplitsView, "POST", f"{self._path}/split", json=fields, headers=new_key(), timeout=patience
        )
        return [Dataset(self._connection, view) for view in found.data]

    def append(self, rows: Path | str | Frame) -> "Dataset":
        """A file or a frame, as one more of the `chunks` of a dataset that is open for rows. It is there once, also if
        the connection breaks and it has to be sent again."""
        is_path = isinstance(rows, Path | str)
        with content_of(rows) as content:
            headers = {
                "Content-Type": BYTES if is_path else ARROW_STREAM,
                "Content-Length": str(content.length()),
                "Content-Digest": content_digest(content.sha256()),
                **new_key(),
            }
            self.view = self._connection.ask(
                DatasetView, "POST", f"{self._path}/rows", content=content, headers=headers
            )
        return self

    def send_chunks(self, path: Path | str, *, bytes_of_a_part: int = BYTES_OF_A_PART) -> "Dataset":
        """A file, in parts, to a dataset that is open for them; those that it has are not sent again. After whatever
        has broken it off the same call goes on.

        Raises ValueError if the dataset has parts that are not of this file.
        """
        path = Path(path)
        self.refresh()
        there = {piece.number: piece.sha256 for piece in self.view.chunks or ()}
        number = 0
        with here(path.open, "rb") as file:
            while part := here(file.read, bytes_of_a_part):
                number += 1
                digest = here(hashlib.sha256, part)
                if there.pop(number, None) != digest.hexdigest():
                    self._send_chunk(number, part, digest.digest())
        if there:
            raise ValueError(f"{path.name} has {number} parts; the dataset {self.id} has parts up to {max(there)}.")
        return self

    def _send_chunk(self, number: int, part: bytes, digest: bytes) -> None:
        headers = {"Content-Type": BYTES, "Content-Digest": content_digest(digest)}
        path = f"{self._path}/chunks/{number}"
        self.view = self._connection.ask(DatasetView, "PUT", path, content=part, headers=headers)

    def close(self, *, wait: bool = True) -> "Dataset":
        """All rows or parts have been sent. One that is closed already stays so: it is safe to ask again."""
        headers = prefer(wait, self._connection.timeout)
        self.view = self._connection.ask(DatasetView, "POST", f"{self._path}/close", headers=headers, repeatable=True)
        return self.ready() if wait else self

    def delete(self) -> None:
        """One that is not ready is not read any further; one that a job needs is refused."""
        self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/datasets/{self.id}"

    def __repr__(self) -> str:
        rows = "" if self.view.rows is None else f", {self.view.rows:,} rows"
        return f"<Dataset {self._called()}: {self.view.state}{rows}>"


def prefer(wait: bool, timeout: float) -> dict[str, str]:
    """The service answers before this client would think it dead."""
    return {"Prefer": f"wait={min(30.0, timeout / 2):g}" if wait else "respond-async"}


if TYPE_CHECKING:
    import numpy.typing as npt


class Uploads:
    """What hands in a dataset waits until that is ready, or with `wait=False` until all of it has arrived; then its
    `ready` waits for the rest. Options are those of POST /v1/datasets: `label="pays"`, `imputation={"age": "mean"}`; or
    `unlabeled=True`, for rows without answers."""

    _connection: Connection

    def create_dataset(self, *, wait: bool = True, **fields: Any) -> Dataset:
        """Small data, in the request itself; fields as in POST /v1/datasets."""
        return self._hand_in(wait, json=fields, headers=new_key())

    def open_dataset(self, kind: Literal["rows", "file"], **options: Any) -> Dataset:
        """One that takes files of rows (`append`), or the parts of one file (`send_chunks`), until it is closed."""
        return self._hand_in(False, json={"upload": kind, **options}, headers=new_key())

    def upload(self, data: Path | str | Frame, *, wait: bool = True, **options: Any) -> Dataset:
        """A file, of any kind that the service reads; or a table of pandas, Polars or PyArrow.

        A file that is large goes in parts, and goes on where it was when the connection or the service breaks. A table
        goes out batch by batch, and is never in memory as a whole here, if it is not so already; when the connection
        breaks, ConnectionLost is raised: it cannot be made again.
        """
        if not isinstance(data, Path | str):
            headers, parameters = {"Content-Type": ARROW_STREAM}, as_text(options)
            return self._hand_in(wait, content=made(stream(data)), params=parameters, headers=headers)
        path = Path(data)
        if (here(path.stat)).st_size > BYTES_OF_A_PART:
            opened = self.open_dataset("file", **{**told_by_name(path.name), **options})
            with _discarded(opened):
                opened.send_chunks(path)
                return opened.close(wait=wait)
        with here(path.open, "rb") as file:
            files = {"file": (path.name, file)}
            return self._hand_in(wait, files=files, data=as_text(options), headers=new_key())

    def upload_arrays(
        self,
        *,
        inputs: "Path | npt.ArrayLike",
        targets: "Path | npt.ArrayLike | None" = None,
        labels: "Path | npt.ArrayLike | None" = None,
        weights: "Path | npt.ArrayLike | None" = None,
        wait: bool = True,
        **options: Any,
    ) -> Dataset:
        """`inputs` (rows, inputs) with `targets` (rows, outputs) or `labels` (rows,), and `weights` (rows,): arrays of
        NumPy, or paths of .npy or IDX files. `inputs` alone go with `unlabeled=True`."""
        given = {"inputs": inputs, "targets": targets, "labels": labels, "weights": weights}
        with ExitStack() as stack:
            files = {
                field: (field, here(stack.enter_context, array_file(array, field)))
                for field, array in given.items()
                if array is not None
            }
            return self._hand_in(wait, files=files, data=as_text(options), headers=new_key())

    def _hand_in(self, wait: bool, headers: Mapping[str, str], **request: Any) -> Dataset:
        headers = {**headers, **prefer(wait, self._connection.timeout)}
        view = self._connection.ask(DatasetView, "POST", "/v1/datasets", headers=headers, **request)
        dataset = Dataset(self._connection, view)
        with _discarded(dataset):
            return dataset.ready() if wait else dataset


@contextmanager
def _discarded(dataset: Dataset) -> Iterator[None]:
    """Nothing is left of what cannot be read, or is broken off: nobody but these lines knows of it."""
    try:
        yield
    except ConnectionLost:
        raise
    except BaseException:
        with suppress(NablaError):
            dataset.delete()
        raise
