"""Datasets, as a program hands them in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from app.client._async.connection import AsyncConnection
from app.client._async.content import made
from app.client._async.datasets import BYTES_OF_A_PART, AsyncDataset, prefer
from app.client.arrays import array_file
from app.client.encoding import ARROW_STREAM, as_text, told_by_name
from app.client.errors import ConnectionLost, NablaError
from app.client.frames import Frame, stream
from app.client.pausing import aside
from app.client.tries import new_key
from app.schemas.datasets import DatasetView

if TYPE_CHECKING:
    import numpy.typing as npt


class AsyncUploads:
    """What hands in a dataset waits until that is ready, or with `wait=False` until all of it has arrived; then its
    `ready` waits for the rest. Options are those of POST /v1/datasets: `label="pays"`, `missing={"age": "mean"}`; or
    `unlabeled=True`, for rows without answers."""

    _connection: AsyncConnection

    async def create_dataset(self, *, wait: bool = True, **fields: Any) -> AsyncDataset:
        """Small data, in the request itself; fields as in POST /v1/datasets."""
        return await self._hand_in(wait, json=fields, headers=new_key())

    async def open_dataset(self, kind: Literal["rows", "file"], **options: Any) -> AsyncDataset:
        """One that takes files of rows (`append`), or the parts of one file (`send_parts`), until it is closed."""
        return await self._hand_in(False, json={"upload": kind, **options}, headers=new_key())

    async def upload(self, data: Path | str | Frame, *, wait: bool = True, **options: Any) -> AsyncDataset:
        """A file, of any kind that the service reads; or a table of pandas, Polars or PyArrow.

        A file that is large goes in parts, and goes on where it was when the connection or the service breaks. A table
        goes out batch by batch, and is never in memory as a whole here, if it is not so already; when the connection
        breaks, ConnectionLost is raised: it cannot be made again.
        """
        if not isinstance(data, Path | str):
            headers, parameters = {"Content-Type": ARROW_STREAM}, as_text(options)
            return await self._hand_in(wait, content=made(stream(data)), params=parameters, headers=headers)
        path = Path(data)
        if (await aside(path.stat)).st_size > BYTES_OF_A_PART:
            opened = await self.open_dataset("file", **{**told_by_name(path.name), **options})
            async with _discarded(opened):
                await opened.send_parts(path)
                return await opened.close(wait=wait)
        with await aside(path.open, "rb") as file:
            files = {"file": (path.name, file)}
            return await self._hand_in(wait, files=files, data=as_text(options), headers=new_key())

    async def upload_arrays(
        self,
        *,
        inputs: "Path | npt.ArrayLike",
        targets: "Path | npt.ArrayLike | None" = None,
        labels: "Path | npt.ArrayLike | None" = None,
        weights: "Path | npt.ArrayLike | None" = None,
        wait: bool = True,
        **options: Any,
    ) -> AsyncDataset:
        """`inputs` (rows, inputs) with `targets` (rows, outputs) or `labels` (rows,), and `weights` (rows,): arrays of
        NumPy, or paths of .npy or IDX files. `inputs` alone go with `unlabeled=True`."""
        given = {"inputs": inputs, "targets": targets, "labels": labels, "weights": weights}
        with ExitStack() as stack:
            files = {
                field: (field, await aside(stack.enter_context, array_file(array, field)))
                for field, array in given.items()
                if array is not None
            }
            return await self._hand_in(wait, files=files, data=as_text(options), headers=new_key())

    async def _hand_in(self, wait: bool, headers: Mapping[str, str], **request: Any) -> AsyncDataset:
        headers = {**headers, **prefer(wait, self._connection.timeout)}
        view = await self._connection.ask(DatasetView, "POST", "/v1/datasets", headers=headers, **request)
        dataset = AsyncDataset(self._connection, view)
        async with _discarded(dataset):
            return await dataset.ready() if wait else dataset


@asynccontextmanager
async def _discarded(dataset: AsyncDataset) -> AsyncIterator[None]:
    """Nothing is left of what cannot be read, or is broken off: nobody but these lines knows of it."""
    try:
        yield
    except ConnectionLost:
        raise
    except BaseException:
        with suppress(NablaError):
            await dataset.delete()
        raise
