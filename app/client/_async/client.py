"""The client: what there is in one service, and what can be made there."""

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from nabla.app.client._async.batch_predictions import AsyncBatchPrediction
from nabla.app.client._async.datasets import AsyncDataset, AsyncUploads
from nabla.app.client._async.http import AsyncConnection
from nabla.app.client._async.jobs import AsyncJob
from nabla.app.client._async.networks import AsyncNetwork
from nabla.app.client._async.resource import pages
from nabla.app.client.concurrency import aside
from nabla.app.client.request_encoding import as_text, by_id
from nabla.app.client.retries import new_key
from nabla.app.schemas.common import DevicesView, Page
from nabla.app.schemas.datasets import DatasetView
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.networks import NetworkView
from nabla.app.schemas.predictions import BatchPredictionView


class AsyncClient(AsyncUploads):
    """Speaks to one service. Use it as a context manager, so that its connections are closed."""

    def __init__(self, url: str, *, timeout: float = 60.0, patience: float = 30.0) -> None:
        """`timeout`: seconds without any sign of the service after which it is taken for gone; `patience`: how long
        what can safely be sent again is sent again then."""
        self._connection = AsyncConnection(url, timeout, patience)

    @property
    def url(self) -> str:
        return self._connection.url

    async def close(self) -> None:
        await self._connection.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def devices(self) -> DevicesView:
        """What the service can train on."""
        return await self._connection.ask(DevicesView, "GET", "/v1/devices")

    async def create_network(self, **fields: Any) -> AsyncNetwork:
        """Fields as in POST /v1/networks."""
        view = await self._connection.ask(NetworkView, "POST", "/v1/networks", json=fields, headers=new_key())
        return AsyncNetwork(self._connection, view)

    async def import_network(self, path: Path | str, **options: Any) -> AsyncNetwork:
        """A network in a file: safetensors, npz or ONNX. Options are those of a file in POST /v1/networks, such as
        `layers=[{"activation": "relu"}, {"activation": "softmax"}]` for plain arrays."""
        with await aside(Path(path).open, "rb") as file:
            view = await self._connection.ask(
                NetworkView,
                "POST",
                "/v1/networks",
                files={"file": (Path(path).name, file)},
                data=as_text(options),
                headers=new_key(),
                timeout=self._connection.as_long_as_it_takes,
            )
        return AsyncNetwork(self._connection, view)

    async def network(self, network: str) -> AsyncNetwork:
        """By its id, or its name."""
        return AsyncNetwork(self._connection, await self._connection.ask(NetworkView, "GET", f"/v1/networks/{network}"))

    async def networks(self) -> AsyncIterator[AsyncNetwork]:
        """All of them, newest first."""
        async for view in pages(self._connection, Page[NetworkView], "/v1/networks"):
            yield AsyncNetwork(self._connection, view)

    async def dataset(self, dataset: str) -> AsyncDataset:
        """By its id, or its name; ready or not."""
        return AsyncDataset(self._connection, await self._connection.ask(DatasetView, "GET", f"/v1/datasets/{dataset}"))

    async def datasets(self) -> AsyncIterator[AsyncDataset]:
        """All of them, newest first, also those that are not ready."""
        async for view in pages(self._connection, Page[DatasetView], "/v1/datasets"):
            yield AsyncDataset(self._connection, view)

    async def create_job(self, network: AsyncNetwork | str, dataset: AsyncDataset | str, **fields: Any) -> AsyncJob:
        """Train a network on a dataset; other fields as in POST /v1/jobs."""
        fields = by_id({"network_id": network, "dataset_id": dataset, **fields})
        view = await self._connection.ask(JobView, "POST", "/v1/jobs", json=fields, headers=new_key())
        return AsyncJob(self._connection, view)

    async def job(self, job: str) -> AsyncJob:
        """By its id, or its name."""
        return AsyncJob(self._connection, await self._connection.ask(JobView, "GET", f"/v1/jobs/{job}"))

    async def jobs(self) -> AsyncIterator[AsyncJob]:
        """All of them, newest first."""
        async for view in pages(self._connection, Page[JobView], "/v1/jobs"):
            yield AsyncJob(self._connection, view)

    async def batch_prediction(self, batch: str) -> AsyncBatchPrediction:
        """By its id, or its name."""
        path = f"/v1/batch-predictions/{batch}"
        return AsyncBatchPrediction(self._connection, await self._connection.ask(BatchPredictionView, "GET", path))

    async def batch_predictions(self) -> AsyncIterator[AsyncBatchPrediction]:
        """All of them, newest first."""
        async for view in pages(self._connection, Page[BatchPredictionView], "/v1/batch-predictions"):
            yield AsyncBatchPrediction(self._connection, view)

    def __repr__(self) -> str:
        return f"<Client of {self.url}>"
