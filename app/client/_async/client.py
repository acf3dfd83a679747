"""The client: entry point to all resources of a service."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nabla.app.client._async.batch_predictions import AsyncBatchPrediction
from nabla.app.client._async.datasets import AsyncDataset, AsyncDatasetFactory
from nabla.app.client._async.http import AsyncConnection
from nabla.app.client._async.jobs import AsyncJob
from nabla.app.client._async.networks import AsyncNetwork
from nabla.app.client._async.resource import paginate
from nabla.app.client.concurrency import to_thread
from nabla.app.client.request_encoding import encode_options, resource_id
from nabla.app.client.retries import idempotency_key
from nabla.app.schemas.common import DevicesView, Page
from nabla.app.schemas.datasets import DatasetView
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.networks import NetworkView
from nabla.app.schemas.predictions import BatchPredictionView


class AsyncClient(AsyncDatasetFactory):
    """Client of a Nabla service.

    It holds a connection pool: use it as a context manager, or call `close`. Requests that are safe to repeat are
    retried when the connection breaks; so are those that create something, with an idempotency key. All
    methods raise a `StatusError` if the service rejects the request, and `ConnectionFailed` if no response arrives.

    Args:
        url: The address of the service, such as `"http://localhost:8000"`.
        timeout: Seconds without receiving anything after which a request fails.
        retry_timeout: Seconds for which requests are retried before they fail, for example while a service restarts.

    Raises:
        ConnectionFailed: The URL is malformed, or needs a proxy that httpx does not support as installed.

    Example:
        ```python
        from nabla import AsyncClient

        async with AsyncClient("http://localhost:8000") as client:
            dataset = await client.upload("people.csv", label="pays", imputation="mean")
            network = await client.create_network(
                inputs=dataset.inputs,
                layers=[{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
                cost="binary_cross_entropy",
            )
            job = await client.create_job(network, dataset, epochs=200)
            await job.wait()
            prediction = await network.predict([{"age": 31, "job": "clerk"}])
            print(prediction.labels)
        ```
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retry_timeout: float = 30.0) -> None:
        self._connection = AsyncConnection(url, timeout, retry_timeout)

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._connection.url

    async def close(self) -> None:
        """Close all connections."""
        await self._connection.close()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()

    async def get_devices(self) -> DevicesView:
        """Fetch the devices that the service can train on, and the state of their slots."""
        return await self._connection.request(DevicesView, "GET", "/v1/devices")

    async def create_network(self, **fields: Any) -> AsyncNetwork:
        """Create a network with initial weights as version 0.

        Args:
            fields: Fields of POST /v1/networks: `inputs`, `layers`, `cost`, `name`, `preprocessing` and others.

        Raises:
            InvalidInput: A field is invalid.

        Example:
            ```python
            network = await client.create_network(
                name="digits",
                inputs=784,
                layers=[{"units": 128, "activation": "relu"}, {"units": 10, "activation": "softmax"}],
                cost="categorical_cross_entropy",
            )
            ```
        """
        view = await self._connection.request(
            NetworkView, "POST", "/v1/networks", json=fields, headers=idempotency_key()
        )
        return AsyncNetwork(self._connection, view)

    async def import_network(self, path: Path | str, **options: Any) -> AsyncNetwork:
        """Create a network from a file.

        Args:
            path: A safetensors, npz or ONNX file: one downloaded from a service, or one of another framework.
            options: Fields of POST /v1/networks for files, such as `name`, `classes`, or
                `layers=[{"activation": "relu"}, {"activation": "softmax"}]` for files that contain weights only.

        Raises:
            InvalidInput: The file does not contain a network that the service supports.
        """
        with await to_thread(Path(path).open, "rb") as file:
            view = await self._connection.request(
                NetworkView,
                "POST",
                "/v1/networks",
                files={"file": (Path(path).name, file)},
                data=encode_options(options),
                headers=idempotency_key(),
                timeout=self._connection.no_read_timeout,
            )
        return AsyncNetwork(self._connection, view)

    async def get_network(self, network: str) -> AsyncNetwork:
        """Fetch a network.

        Args:
            network: Its id, or a name, which stands for the newest network of that name.

        Raises:
            NotFound: There is no such network.
        """
        view = await self._connection.request(NetworkView, "GET", f"/v1/networks/{network}")
        return AsyncNetwork(self._connection, view)

    async def list_networks(self) -> AsyncIterator[AsyncNetwork]:
        """Iterate over all networks, newest first."""
        async for view in paginate(self._connection, Page[NetworkView], "/v1/networks"):
            yield AsyncNetwork(self._connection, view)

    async def get_dataset(self, dataset: str) -> AsyncDataset:
        """Fetch a dataset, whether it is ready or not.

        Args:
            dataset: Its id, or a name, which stands for the newest dataset of that name.

        Raises:
            NotFound: There is no such dataset.
        """
        view = await self._connection.request(DatasetView, "GET", f"/v1/datasets/{dataset}")
        return AsyncDataset(self._connection, view)

    async def list_datasets(self) -> AsyncIterator[AsyncDataset]:
        """Iterate over all datasets, newest first, including those that are not ready."""
        async for view in paginate(self._connection, Page[DatasetView], "/v1/datasets"):
            yield AsyncDataset(self._connection, view)

    async def create_job(self, network: AsyncNetwork | str, dataset: AsyncDataset | str, **fields: Any) -> AsyncJob:
        """Queue a job that trains a network on a dataset.

        Args:
            network: The network, or its id or name.
            dataset: The dataset, or its id or name.
            fields: Other fields of POST /v1/jobs: `epochs`, `batch_size`, `learning_rate`, `optimizer`, `validation`,
                `early_stopping`, `depends_on` and others.

        Raises:
            NotFound: There is no such network or dataset; `field` says which.
            InvalidInput: A field is invalid, or the dataset does not fit the network.
            TooManyRequests: The queue is full.

        Example:
            ```python
            job = await client.create_job("digits", "digits-train", epochs=30, validation={"fraction": 0.1})
            await job.wait()
            ```
        """
        fields = {"network_id": resource_id(network), "dataset_id": resource_id(dataset), **fields}
        view = await self._connection.request(JobView, "POST", "/v1/jobs", json=fields, headers=idempotency_key())
        return AsyncJob(self._connection, view)

    async def get_job(self, job: str) -> AsyncJob:
        """Fetch a job.

        Args:
            job: Its id, or a name, which stands for the newest job of that name.

        Raises:
            NotFound: There is no such job.
        """
        return AsyncJob(self._connection, await self._connection.request(JobView, "GET", f"/v1/jobs/{job}"))

    async def list_jobs(self) -> AsyncIterator[AsyncJob]:
        """Iterate over all jobs, newest first."""
        async for view in paginate(self._connection, Page[JobView], "/v1/jobs"):
            yield AsyncJob(self._connection, view)

    async def get_batch_prediction(self, batch_prediction: str) -> AsyncBatchPrediction:
        """Fetch a batch prediction.

        Args:
            batch_prediction: Its id, or a name, which stands for the newest batch prediction of that name.

        Raises:
            NotFound: There is no such batch prediction.
        """
        path = f"/v1/batch-predictions/{batch_prediction}"
        return AsyncBatchPrediction(self._connection, await self._connection.request(BatchPredictionView, "GET", path))

    async def list_batch_predictions(self) -> AsyncIterator[AsyncBatchPrediction]:
        """Iterate over all batch predictions, newest first."""
        async for view in paginate(self._connection, Page[BatchPredictionView], "/v1/batch-predictions"):
            yield AsyncBatchPrediction(self._connection, view)

    def __repr__(self) -> str:
        """Return the address of the service."""
        return f"<Client of {self.url}>"
