# Generated from _async/client.py by scripts/generate_sync_client.py. Do not edit.
"""The client: entry point to all resources of a service."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nabla.app.client._sync.batch_predictions import BatchPrediction
from nabla.app.client._sync.datasets import Dataset, DatasetFactory
from nabla.app.client._sync.http import Connection
from nabla.app.client._sync.jobs import Job
from nabla.app.client._sync.networks import Network
from nabla.app.client._sync.resource import paginate
from nabla.app.client.concurrency import run_inline
from nabla.app.client.request_encoding import encode_options, resource_id
from nabla.app.client.retries import idempotency_key
from nabla.app.schemas.common import DevicesView, Page
from nabla.app.schemas.datasets import DatasetView
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.networks import NetworkView
from nabla.app.schemas.predictions import BatchPredictionView


class Client(DatasetFactory):
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
        from nabla import Client

        with Client("http://localhost:8000") as client:
            dataset = client.upload("people.csv", label="pays", imputation="mean")
            network = client.create_network(
                inputs=dataset.inputs,
                layers=[{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
                cost="binary_cross_entropy",
            )
            job = client.create_job(network, dataset, epochs=200)
            job.wait()
            prediction = network.predict([{"age": 31, "job": "clerk"}])
            print(prediction.labels)
        ```
    """

    def __init__(self, url: str, *, timeout: float = 60.0, retry_timeout: float = 30.0) -> None:
        self._connection = Connection(url, timeout, retry_timeout)

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._connection.url

    def close(self) -> None:
        """Close all connections."""
        self._connection.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()

    def get_devices(self) -> DevicesView:
        """Fetch the devices that the service can train on, and the state of their slots."""
        return self._connection.request(DevicesView, "GET", "/v1/devices")

    def create_network(self, **fields: Any) -> Network:
        """Create a network with initial weights as version 0.

        Args:
            fields: Fields of POST /v1/networks: `inputs`, `layers`, `cost`, `name`, `preprocessing` and others.

        Raises:
            InvalidInput: A field is invalid.

        Example:
            ```python
            network = client.create_network(
                name="digits",
                inputs=784,
                layers=[{"units": 128, "activation": "relu"}, {"units": 10, "activation": "softmax"}],
                cost="categorical_cross_entropy",
            )
            ```
        """
        view = self._connection.request(NetworkView, "POST", "/v1/networks", json=fields, headers=idempotency_key())
        return Network(self._connection, view)

    def import_network(self, path: Path | str, **options: Any) -> Network:
        """Create a network from a file.

        Args:
            path: A safetensors, npz or ONNX file: one downloaded from a service, or one of another framework.
            options: Fields of POST /v1/networks for files, such as `name`, `classes`, or
                `layers=[{"activation": "relu"}, {"activation": "softmax"}]` for files that contain weights only.

        Raises:
            InvalidInput: The file does not contain a network that the service supports.
        """
        with run_inline(Path(path).open, "rb") as file:
            view = self._connection.request(
                NetworkView,
                "POST",
                "/v1/networks",
                files={"file": (Path(path).name, file)},
                data=encode_options(options),
                headers=idempotency_key(),
                timeout=self._connection.no_read_timeout,
            )
        return Network(self._connection, view)

    def get_network(self, network: str) -> Network:
        """Fetch a network.

        Args:
            network: Its id, or a name, which stands for the newest network of that name.

        Raises:
            NotFound: There is no such network.
        """
        view = self._connection.request(NetworkView, "GET", f"/v1/networks/{network}")
        return Network(self._connection, view)

    def list_networks(self) -> Iterator[Network]:
        """Iterate over all networks, newest first."""
        for view in paginate(self._connection, Page[NetworkView], "/v1/networks"):
            yield Network(self._connection, view)

    def get_dataset(self, dataset: str) -> Dataset:
        """Fetch a dataset, whether it is ready or not.

        Args:
            dataset: Its id, or a name, which stands for the newest dataset of that name.

        Raises:
            NotFound: There is no such dataset.
        """
        view = self._connection.request(DatasetView, "GET", f"/v1/datasets/{dataset}")
        return Dataset(self._connection, view)

    def list_datasets(self) -> Iterator[Dataset]:
        """Iterate over all datasets, newest first, including those that are not ready."""
        for view in paginate(self._connection, Page[DatasetView], "/v1/datasets"):
            yield Dataset(self._connection, view)

    def create_job(self, network: Network | str, dataset: Dataset | str, **fields: Any) -> Job:
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
            job = client.create_job("digits", "digits-train", epochs=30, validation={"fraction": 0.1})
            job.wait()
            ```
        """
        fields = {"network_id": resource_id(network), "dataset_id": resource_id(dataset), **fields}
        view = self._connection.request(JobView, "POST", "/v1/jobs", json=fields, headers=idempotency_key())
        return Job(self._connection, view)

    def get_job(self, job: str) -> Job:
        """Fetch a job.

        Args:
            job: Its id, or a name, which stands for the newest job of that name.

        Raises:
            NotFound: There is no such job.
        """
        return Job(self._connection, self._connection.request(JobView, "GET", f"/v1/jobs/{job}"))

    def list_jobs(self) -> Iterator[Job]:
        """Iterate over all jobs, newest first."""
        for view in paginate(self._connection, Page[JobView], "/v1/jobs"):
            yield Job(self._connection, view)

    def get_batch_prediction(self, batch_prediction: str) -> BatchPrediction:
        """Fetch a batch prediction.

        Args:
            batch_prediction: Its id, or a name, which stands for the newest batch prediction of that name.

        Raises:
            NotFound: There is no such batch prediction.
        """
        path = f"/v1/batch-predictions/{batch_prediction}"
        return BatchPrediction(self._connection, self._connection.request(BatchPredictionView, "GET", path))

    def list_batch_predictions(self) -> Iterator[BatchPrediction]:
        """Iterate over all batch predictions, newest first."""
        for view in paginate(self._connection, Page[BatchPredictionView], "/v1/batch-predictions"):
            yield BatchPrediction(self._connection, view)

    def __repr__(self) -> str:
        """Return the address of the service."""
        return f"<Client of {self.url}>"
