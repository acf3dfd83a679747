# Generated from uploads.py in _async by tests/synchronous.py. Change that one.
"""Datasets, as a program hands them in."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.client._sync.connection import Connection
from app.client._sync.content import made
from app.client._sync.datasets import BYTES_OF_A_PART, Dataset, prefer
from app.client.arrays import array_file
from app.client.encoding import ARROW_STREAM, as_text, told_by_name
from app.client.errors import ConnectionLost, NablaError
from app.client.frames import Frame, stream
from app.client.pausing import here
from app.client.tries import new_key
from app.schemas.datasets import DatasetView

if TYPE_CHECKING:
    import numpy.typing as npt


class Uploads:
    """What hands in a dataset waits until that is ready, or with `wait=False` until all of it has arrived; then its
    `ready` waits for the rest. Options are those of POST /v1/datasets: `label="pays"`, `missing={"age": "mean"}`; or
    `unlabeled=True`, for rows without answers."""

    _connection: Connection

    def create_dataset(self, *, wait: bool = True, **fields: Any) -> Dataset:
        """Small data, in the request itself; fields as in POST /v1/datasets."""
        return self._hand_in(wait, json=fields, headers=new_key())

    def open_dataset(self, kind: Literal["rows", "file"], **options: Any) -> Dataset:
        """One that takes files of rows (`append`), or the parts of one file (`send_parts`), until it is closed."""
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
                opened.send_parts(path)
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
