"""Datasets: creation from files, tables and arrays, inspection, splits and chunked uploads."""

import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self

from nabla.app.client._async.http import AsyncConnection
from nabla.app.client._async.resource import AsyncResource, poll_while
from nabla.app.client.concurrency import to_thread
from nabla.app.client.errors import Conflict, ConnectionFailed, InvalidInput, NablaError
from nabla.app.client.frames import Frame, encode_arrow_stream
from nabla.app.client.request_encoding import (
    ARROW_STREAM,
    OCTET_STREAM,
    content_digest,
    encode_options,
    infer_from_filename,
    open_npy,
)
from nabla.app.client.retries import idempotency_key
from nabla.app.schemas.datasets import DatasetView, PreviewView, ProfileView, ProposalView, RowsView, SplitsView
from nabla.engine.data.schema import ClassLabel

if TYPE_CHECKING:
    import numpy.typing as npt

CHUNK_BYTES = 2**24
_READ_BYTES = 2**18
_MAX_WAIT_SECONDS = 30.0


class AsyncDataset(AsyncResource[DatasetView]):
    """A dataset to train on, to evaluate with or to predict.

    Example:
        ```python
        dataset = await client.upload("people.csv", label="pays", imputation="mean")
        train, test = await dataset.split({"train": 0.8, "test": 0.2})
        ```
    """

    _view_type = DatasetView
    _collection = "/v1/datasets"

    @property
    def state(self) -> str:
        """One of `receiving` (open for rows or chunks), `reading` (being ingested), `ready` and `failed`."""
        return self.view.state

    @property
    def inputs(self) -> int | None:
        """Number of inputs of a network for this dataset; None until the dataset is ready."""
        return self.view.inputs

    @property
    def outputs(self) -> int | None:
        """Number of targets or classes, the outputs of a network; None until the dataset is ready."""
        return self.view.targets

    @property
    def classes(self) -> list[ClassLabel] | None:
        """The classes in order; None for numeric targets, or until the dataset is ready."""
        return self.view.classes

    async def wait(self) -> Self:
        """Wait until the dataset is ready, even across restarts of the service.

        Raises:
            InvalidInput: The data were rejected; `errors` says where and why.
            Conflict: The dataset is still open for rows or chunks.
        """
        await poll_while(self, "reading")
        if self.view.state == "failed":
            errors = [error.model_dump() for error in self.view.errors or ()]
            raise InvalidInput(422, {"detail": " ".join(error["message"] for error in errors), "errors": errors})
        if self.view.state == "receiving":
            raise Conflict(409, {"detail": f"The dataset {self.id} is still open. Close it first."})
        return self

    async def profile(self) -> ProfileView:
        """Compute statistics of each column, and warnings about what may impair training.

        There is no read timeout, because the time grows with the dataset.

        Raises:
            Conflict: The dataset is not ready.
        """
        return await self._connection.request(
            ProfileView, "GET", f"{self._path}/profile", timeout=self._connection.no_read_timeout
        )

    async def propose(self, *, hidden_units: Sequence[int] | None = None, epochs: int | None = None) -> ProposalView:
        """Fetch a proposed network for the dataset, and proposed settings of a job that trains it.

        Args:
            hidden_units: Units of each hidden layer; by default they are proposed.
            epochs: Maximum number of epochs; by default it is proposed.

        Returns:
            `network`, fields for `client.create_network`; `job`, fields for `client.create_job`; and `reasons`.

        Raises:
            InvalidInput: The dataset is unlabeled.
            Conflict: The dataset is not ready.
        """
        fields = {"hidden_units": None if hidden_units is None else list(hidden_units), "epochs": epochs}
        return await self._connection.request(
            ProposalView, "POST", f"{self._path}/proposal", json=fields, repeatable=True
        )

    async def get_rows(self, *, offset: int = 0, limit: int = 20) -> RowsView:
        """Fetch some rows as they were uploaded.

        Args:
            offset: Index of the first row, from 0.
            limit: Maximum number of rows, up to 1,000.

        Raises:
            Conflict: The dataset is not ready.
        """
        query = {"offset": offset, "limit": limit}
        return await self._connection.request(RowsView, "GET", f"{self._path}/rows", params=query)

    async def split(
        self, shares: Mapping[str, float], *, seed: int = 0, stratified: bool = True
    ) -> list["AsyncDataset"]:
        """Split the rows at random into new datasets without common rows.

        There is no read timeout, because the time grows with the dataset.

        Args:
            shares: Share of the rows by the name of the new dataset, such as `{"train": 0.8, "test": 0.2}`.
            seed: Seed of the random split.
            stratified: Whether to preserve the proportions of the classes in each split.

        Returns:
            The new datasets, in the order of `shares`.

        Raises:
            Conflict: The dataset is not ready.
            InvalidInput: The shares add up to more than 1, or another argument is invalid.
        """
        splits = [{"name": name, "share": share} for name, share in shares.items()]
        response = await self._connection.request(
            SplitsView,
            "POST",
            f"{self._path}/split",
            json={"splits": splits, "seed": seed, "stratified": stratified},
            headers=idempotency_key(),
            timeout=self._connection.no_read_timeout,
        )
        return [AsyncDataset(self._connection, view) for view in response.data]

    async def append(self, rows: Path | str | Frame) -> Self:
        """Append rows to a dataset opened with `open_dataset("rows")`.

        Each call appends exactly once, even if the connection breaks and the rows are sent again.

        Args:
            rows: The path of a file, or a table; all must have the same columns.

        Raises:
            Conflict: The dataset is not open for rows.
        """
        media_type = OCTET_STREAM if isinstance(rows, Path | str) else ARROW_STREAM
        async with open_body(rows) as body:
            headers = {
                "Content-Type": media_type,
                "Content-Length": str(await body.size()),
                "Content-Digest": content_digest(await body.sha256()),
                **idempotency_key(),
            }
            self.view = await self._connection.request(
                DatasetView, "POST", f"{self._path}/rows", content=body, headers=headers
            )
        return self

    async def send_chunks(self, path: Path | str, *, chunk_size: int = CHUNK_BYTES) -> Self:
        """Send a file in chunks to a dataset opened with `open_dataset("file")`.

        Chunks that the service already has are skipped, so that the same call resumes an interrupted upload.

        Args:
            path: The file.
            chunk_size: Bytes per chunk; a resumed upload needs the same size.

        Raises:
            ValueError: The dataset has more chunks than the file.
            Conflict: The dataset is not open for chunks.
        """
        path = Path(path)
        await self.refresh()
        stored = {chunk.number: chunk.sha256 for chunk in self.view.chunks or ()}
        number = 0
        with await to_thread(path.open, "rb") as file:
            while chunk := await to_thread(file.read, chunk_size):
                number += 1
                digest = await to_thread(hashlib.sha256, chunk)
                if stored.pop(number, None) != digest.hexdigest():
                    await self._send_chunk(number, chunk, digest.digest())
        if stored:
            raise ValueError(f"{path.name} has {number} chunks, but the dataset {self.id} has chunk {max(stored)}.")
        return self

    async def _send_chunk(self, number: int, chunk: bytes, sha256: bytes) -> None:
        headers = {"Content-Type": OCTET_STREAM, "Content-Digest": content_digest(sha256)}
        path = f"{self._path}/chunks/{number}"
        self.view = await self._connection.request(DatasetView, "PUT", path, content=chunk, headers=headers)

    async def close(self, *, wait: bool = True) -> Self:
        """Close an open dataset: the service then ingests its rows or chunks. Closing it again has no effect.

        Args:
            wait: Whether to wait until the dataset is ready.

        Raises:
            InvalidInput: The data were rejected; `errors` says where and why.
        """
        self.view = await self._connection.request(
            DatasetView, "POST", f"{self._path}/close", headers=_prefer(wait, self._connection), repeatable=True
        )
        return await self.wait() if wait else self

    async def delete(self) -> None:
        """Delete the dataset; an upload or ingest in progress is aborted.

        Raises:
            Conflict: An unfinished job or batch prediction needs the dataset.
        """
        await self._connection.delete(self._path)

    def __repr__(self) -> str:
        """Return the id, the name, the state and the number of rows."""
        rows = "" if self.view.rows is None else f", {self.view.rows:,} rows"
        return f"<Dataset {self._label}: {self.view.state}{rows}>"


class AsyncDatasetFactory:
    """Base class of the client: the methods that create datasets.

    They return when the dataset is ready, or with `wait=False` as soon as its data have arrived; then
    `AsyncDataset.wait` waits for the ingest. Options are the fields of POST /v1/datasets, such as `label="pays"`,
    `imputation={"age": "mean"}`, or `unlabeled=True` for rows without targets.
    """

    _connection: AsyncConnection

    async def create_dataset(self, *, wait: bool = True, **fields: Any) -> AsyncDataset:
        """Create a dataset from values in the request, for small data.

        Args:
            wait: Whether to wait until the dataset is ready.
            fields: Fields of POST /v1/datasets: `inputs` with `targets` or `labels`, or `rows` with `target` or
                `label`.

        Raises:
            InvalidInput: The data were rejected; `errors` says where and why.

        Example:
            ```python
            xor = await client.create_dataset(
                name="xor", inputs=[[0, 0], [0, 1], [1, 0], [1, 1]], labels=["no", "yes", "yes", "no"]
            )
            ```
        """
        return await self._create(wait, json=fields, headers=idempotency_key())

    async def open_dataset(self, kind: Literal["rows", "file"], **options: Any) -> AsyncDataset:
        """Open a dataset that receives its data in several requests, until it is closed.

        Args:
            kind: `"rows"` for files or tables of rows (`AsyncDataset.append`), `"file"` for the chunks of one file
                (`AsyncDataset.send_chunks`).
            options: Fields of POST /v1/datasets.

        Example:
            ```python
            dataset = await client.open_dataset("rows", label="pays")
            for file in files:
                await dataset.append(file)
            await dataset.close()
            ```
        """
        return await self._create(False, json={"upload": kind, **options}, headers=idempotency_key())

    async def upload(self, data: Path | str | Frame, *, wait: bool = True, **options: Any) -> AsyncDataset:
        """Create a dataset from a file or a table.

        A file of more than 16 MiB is sent in chunks; its upload resumes after a failure of connection or service.
        A table is sent batch by batch, and never encoded in memory as a whole; it cannot be sent again if the
        connection breaks.

        Args:
            data: The path of a CSV, TSV, Parquet, Arrow, NDJSON, JSON or .npz file; or a table of pandas, Polars,
                PyArrow or another library with the Arrow PyCapsule protocol.
            wait: Whether to wait until the dataset is ready.
            options: Fields of POST /v1/datasets, such as `target`, `label`, `features` and `imputation`; `name` is by
                default the name of the file.

        Raises:
            InvalidInput: The data were rejected; `errors` says where and why. No dataset remains.
            ConnectionFailed: The connection broke while a table was being sent, or longer than retries last.

        Example:
            ```python
            dataset = await client.upload("people.csv", label="pays", imputation="mean")
            ```
        """
        if not isinstance(data, Path | str):
            body, headers = iterate_in_thread(encode_arrow_stream(data)), {"Content-Type": ARROW_STREAM}
            return await self._create(wait, content=body, params=encode_options(options), headers=headers)
        path = Path(data)
        if (await to_thread(path.stat)).st_size > CHUNK_BYTES:
            dataset = await self.open_dataset("file", **{**infer_from_filename(path.name), **options})
            async with _delete_on_error(dataset):
                await dataset.send_chunks(path)
                return await dataset.close(wait=wait)
        with await to_thread(path.open, "rb") as file:
            files = {"file": (path.name, file)}
            return await self._create(wait, files=files, data=encode_options(options), headers=idempotency_key())

    async def preview(self, data: Path | str | Frame, **options: Any) -> PreviewView:
        """Read a table as `upload` would, without creating a dataset.

        Args:
            data: The path of a file, or a table.
            options: Fields of POST /v1/datasets. Without `target` and `label`, the likely target is used.

        Returns:
            The options that were detected, the first rows, what the dataset would be, and why it would be rejected.

        Raises:
            InvalidInput: The file cannot be read at all.

        Example:
            ```python
            preview = client.preview("people.csv", cleaning="auto")
            dataset = client.upload("people.csv", cleaning="auto", target=preview.options.target)
            ```
        """
        media_type = OCTET_STREAM if isinstance(data, Path | str) else ARROW_STREAM
        if isinstance(data, Path | str):
            options = {**infer_from_filename(Path(data).name), **options}
        async with open_body(data) as body:
            return await self._connection.request(
                PreviewView,
                "POST",
                "/v1/datasets/preview",
                content=body,
                params=encode_options(options),
                headers={"Content-Type": media_type, "Content-Length": str(await body.size())},
                repeatable=True,
            )

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
        """Create a dataset from NumPy arrays, or from .npy or IDX files.

        Args:
            inputs: Shape (rows, inputs).
            targets: Shape (rows, outputs): numbers to predict.
            labels: Shape (rows,): classes to predict, instead of targets.
            weights: Shape (rows,): sample weights.
            wait: Whether to wait until the dataset is ready.
            options: Fields of POST /v1/datasets; `unlabeled=True` for inputs alone.

        Raises:
            InvalidInput: The data were rejected; `errors` says where and why. No dataset remains.
            InvalidArgument: An array contains neither numbers nor text, or has missing values.

        Example:
            ```python
            dataset = await client.upload_arrays(inputs=x_train, labels=y_train, name="digits")
            ```
        """
        arrays = {"inputs": inputs, "targets": targets, "labels": labels, "weights": weights}
        with ExitStack() as stack:
            files = {
                field: (field, await to_thread(stack.enter_context, open_npy(array, field)))
                for field, array in arrays.items()
                if array is not None
            }
            return await self._create(wait, files=files, data=encode_options(options), headers=idempotency_key())

    async def _create(self, wait: bool, headers: Mapping[str, str], **request: Any) -> AsyncDataset:
        headers = {**headers, **_prefer(wait, self._connection)}
        view = await self._connection.request(DatasetView, "POST", "/v1/datasets", headers=headers, **request)
        dataset = AsyncDataset(self._connection, view)
        async with _delete_on_error(dataset):
            return await dataset.wait() if wait else dataset


class AsyncFileBody:
    """A file as a request body, which can be iterated repeatedly and so sent again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the content from its beginning."""
        await to_thread(self._file.seek, 0)
        while chunk := await to_thread(self._file.read, _READ_BYTES):
            yield chunk

    async def size(self) -> int:
        """Return the number of bytes."""
        return await to_thread(self._file.seek, 0, 2)

    async def sha256(self) -> bytes:
        """Return the digest of the content."""
        digest = hashlib.sha256()
        async for chunk in self:
            digest.update(chunk)
        return digest.digest()


@asynccontextmanager
async def open_body(rows: Path | str | Frame) -> AsyncIterator[AsyncFileBody]:
    """Open a file as a body; a table is first spooled to a temporary file, to compute its digest before it is sent."""
    if isinstance(rows, Path | str):
        with await to_thread(Path(rows).open, "rb") as file:
            yield AsyncFileBody(file)
        return
    with tempfile.TemporaryFile() as spool:
        await to_thread(spool.writelines, encode_arrow_stream(rows))
        yield AsyncFileBody(spool)


async def iterate_in_thread(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Iterate over chunks, each produced when the previous one has been sent. Such a body cannot be sent again."""
    while (chunk := await to_thread(next, chunks, None)) is not None:
        yield chunk


def _prefer(wait: bool, connection: AsyncConnection) -> dict[str, str]:
    # The service has to respond before this client times out.
    return {"Prefer": f"wait={min(_MAX_WAIT_SECONDS, connection.timeout / 2):g}" if wait else "respond-async"}


@asynccontextmanager
async def _delete_on_error(dataset: AsyncDataset) -> AsyncIterator[None]:
    """Delete a dataset if its creation fails or is interrupted, because the caller does not get its id."""
    try:
        yield
    except ConnectionFailed:  # a deletion would fail as well
        raise
    except BaseException:
        with suppress(NablaError):
            await dataset.delete()
        raise
