# Generated from client.py in _async by scripts/generate_sync_client.py. Change that one.
"""The client: what there is in one service, and what can be made there."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nabla.app.client._sync.batch_predictions import BatchPrediction
from nabla.app.client._sync.datasets import Dataset, Uploads
from nabla.app.client._sync.http import Connection
from nabla.app.client._sync.jobs import Job
from nabla.app.client._sync.networks import Network
from nabla.app.client._sync.resource import pages
from nabla.app.client.concurrency import here
from nabla.app.client.request_encoding import as_text, by_id
from nabla.app.client.retries import new_key
from nabla.app.schemas.common import DevicesView, Page
from nabla.app.schemas.datasets import DatasetView
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.networks import NetworkView
from nabla.app.schemas.predictions import BatchPredictionView


class Client(Uploads):
    """Speaks to one service. Use it as a context manager, so that its connections are closed."""

    def __init__(self, url: str, *, timeout: float = 60.0, patience: float = 30.0) -> None:
        """`timeout`: seconds without any sign of the service after which it is taken for gone; `patience`: how long
        what can safely be sent again is sent again then."""
        self._connection = Connection(url, timeout, patience)

    @property
    def url(self) -> str:
        return self._connection.url

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def devices(self) -> DevicesView:
        """What the service can train on."""
        return self._connection.ask(DevicesView, "GET", "/v1/devices")

    def create_network(self, **fields: Any) -> Network:
        """Fields as in POST /v1/networks."""
        view = self._connection.ask(NetworkView, "POST", "/v1/networks", json=fields, headers=new_key())
        return Network(self._connection, view)

    def import_network(self, path: Path | str, **options: Any) -> Network:
        """A network in a file: safetensors, npz or ONNX. Options are those of a file in POST /v1/networks, such as
        `layers=[{"activation": "relu"}, {"activation": "softmax"}]` for plain arrays."""
        with here(Path(path).open, "rb") as file:
            view = self._connection.ask(
                NetworkView,
                "POST",
                "/v1/networks",
                files={"file": (Path(path).name, file)},
                data=as_text(options),
                headers=new_key(),
                timeout=self._connection.as_long_as_it_takes,
            )
        return Network(self._connection, view)

    def network(self, network: str) -> Network:
        """By its id, or its name."""
        return Network(self._connection, self._connection.ask(NetworkView, "GET", f"/v1/networks/{network}"))

    def networks(self) -> Iterator[Network]:
        """All of them, newest first."""
        for view in pages(self._connection, Page[NetworkView], "/v1/networks"):
            yield Network(self._connection, view)

    def dataset(self, dataset: str) -> Dataset:
        """By its id, or its name; ready or not."""
        return Dataset(self._connection, self._connection.ask(DatasetView, "GET", f"/v1/datasets/{dataset}"))

    def datasets(self) -> Iterator[Dataset]:
        """All of them, newest first, also those that are not ready."""
        for view in pages(self._connection, Page[DatasetView], "/v1/datasets"):
            yield Dataset(self._connection, view)

    def create_job(self, network: Network | str, dataset: Dataset | str, **fields: Any) -> Job:
        """Train a network on a dataset; other fields as in POST /v1/jobs."""
        fields = by_id({"network_id": network, "dataset_id": dataset, **fields})
        view = self._connection.ask(JobView, "POST", "/v1/jobs", json=fields, headers=new_key())
        return Job(self._connection, view)

    def job(self, job: str) -> Job:
        """By its id, or its name."""
        return Job(self._connection, self._connection.ask(JobView, "GET", f"/v1/jobs/{job}"))

    def jobs(self) -> Iterator[Job]:
        """All of them, newest first."""
        for view in pages(self._connection, Page[JobView], "/v1/jobs"):
            yield Job(self._connection, view)

    def batch_prediction(self, batch: str) -> BatchPrediction:
        """By its id, or its name."""
        path = f"/v1/batch-predictions/{batch}"
        return BatchPrediction(self._connection, self._connection.ask(BatchPredictionView, "GET", path))

    def batch_predictions(self) -> Iterator[BatchPrediction]:
        """All of them, newest first."""
        for view in pages(self._connection, Page[BatchPredictionView], "/v1/batch-predictions"):
            yield BatchPrediction(self._connection, view)

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"
