"""Networks: their versions, predictions and evaluations."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar, overload

from nabla.app.client._async.batch_predictions import AsyncBatchPrediction
from nabla.app.client._async.datasets import AsyncDataset
from nabla.app.client._async.resource import AsyncResource
from nabla.app.client.frames import Frame
from nabla.app.client.request_encoding import (
    decode_predictions,
    encode_prediction_request,
    infer_network_format,
    resource_id,
    warn_about_rows,
)
from nabla.app.client.retries import idempotency_key
from nabla.app.schemas.networks import NetworkView, TagView, VersionsView, VersionView
from nabla.app.schemas.predictions import BatchPredictionView, EvaluationView, PredictionView
from nabla.engine.literals import RowSelection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

FrameT = TypeVar("FrameT", bound=Frame)
Version = int | str


class AsyncNetwork(AsyncResource[NetworkView]):
    """A network with all its published versions.

    A `version` argument is a number, a tag, or `"current"` for the version that predicts by default.

    Example:
        ```python
        network = await client.get_network("people")
        prediction = await network.predict([{"age": 31, "job": "clerk"}])
        prediction.labels
        ```
    """

    _view_type = NetworkView
    _collection = "/v1/networks"

    @property
    def version(self) -> int:
        """The number of the current version."""
        return self.view.version

    @overload
    async def predict(
        self,
        rows: Sequence[Sequence[Any] | Mapping[str, Any]] | Mapping[str, Any],
        *,
        version: Version | None = None,
        top_k: int | None = None,
        probabilities: bool = False,
    ) -> PredictionView: ...

    @overload
    async def predict(
        self, rows: "npt.NDArray[Any]", *, version: Version | None = None, probabilities: bool = False
    ) -> "npt.NDArray[np.floating[Any]]": ...

    @overload
    async def predict(
        self,
        rows: FrameT,
        *,
        version: Version | None = None,
        top_k: int | None = None,
        probabilities: bool = False,
    ) -> FrameT: ...

    async def predict(
        self, rows: Any, *, version: Version | None = None, top_k: int | None = None, probabilities: bool = False
    ) -> Any:
        """Predict raw rows, which the service preprocesses like the training data.

        Args:
            rows: A list of rows, each a list of values or a mapping of column names to values; a NumPy array of
                shape (rows, inputs); a table of pandas, Polars or PyArrow; or one row as a mapping or a pandas Series.
                None, NaN and pandas' NA are missing values, which the network imputes if it was trained to.
            version: The version that predicts, by default the current one.
            top_k: Number of most likely classes to return for each row; not for arrays.
            probabilities: Whether to return the probability of each class. The cost must be a cross-entropy.

        Returns:
            For lists, a `PredictionView` with `outputs`, with `labels` for classes, and with `top` or `probabilities`
            if requested. For an array, an array of shape (rows, outputs) of the outputs or the probabilities. For a
            table, a table of the same library with the columns `output_1`, …, and `label` for classes.

        Warns:
            UnusualRowsWarning: Rows of an array or a table have categories that did not occur in training, or numbers
                far outside the range of the training rows. A `PredictionView` has these sentences in `warnings`.

        Raises:
            NotFound: There is no such version.
            InvalidInput: A row does not fit the network.
            InvalidArgument: A row has a value that cannot be sent.
        """
        options = {"version": version, "top_k": top_k, "probabilities": probabilities or None}
        request = encode_prediction_request(rows, options)
        # Repeatable: predictions do not change the service.
        response = await self._connection.send("POST", f"{self._path}/predictions", repeatable=True, **request)
        warn_about_rows(response.headers.get("Nabla-Warnings"))
        return decode_predictions(rows, response.content)

    async def evaluate(
        self,
        dataset: AsyncDataset | str | None = None,
        version: Version | None = None,
        *,
        rows: RowSelection | None = None,
    ) -> EvaluationView:
        """Compute the cost and the metrics of a version on rows that it was not trained on.

        There is no read timeout, because the time grows with the dataset.

        Args:
            dataset: A dataset with targets, or its id or name. By default the other part of the split that the version
                was trained on, else its validation dataset, else the rows that were held out for validation.
            version: The version to evaluate, by default the current one.
            rows: `unseen` or `all`. By default the unseen rows of a dataset that the version was trained on, and all
                rows of other datasets.

        Returns:
            The cost (loss); accuracy, precision, recall and F1 for classes; R² and errors for numeric targets;
            `trained_rows` and `warnings`.

        Raises:
            InvalidInput: The dataset does not fit the network, or there are no such rows.
        """
        fields = {"dataset_id": resource_id(dataset), "version": version, "rows": rows}
        return await self._connection.request(
            EvaluationView,
            "POST",
            f"{self._path}/evaluations",
            json={name: value for name, value in fields.items() if value is not None},
            timeout=self._connection.no_read_timeout,
            repeatable=True,
        )

    async def predict_dataset(self, dataset: AsyncDataset | str, **fields: Any) -> AsyncBatchPrediction:
        """Start a batch prediction of all rows of a dataset.

        Args:
            dataset: A dataset whose columns fit the network, or its id or name; it may be unlabeled.
            fields: Other fields of POST /v1/networks/{network}/batch-predictions: `format` (`csv`, `parquet`, `arrow`
                or `npy`), `probabilities`, `version`, `name` and `owned_datasets`.

        Returns:
            The queued batch prediction, which is created exactly once even if the connection breaks.

        Raises:
            InvalidInput: The dataset does not fit the network.
            TooManyRequests: The queue of batch predictions is full.
        """
        view = await self._connection.request(
            BatchPredictionView,
            "POST",
            f"{self._path}/batch-predictions",
            json={"dataset_id": resource_id(dataset), **fields},
            headers=idempotency_key(),
        )
        return AsyncBatchPrediction(self._connection, view)

    async def download(self, path: Path | str, *, version: Version = "current", format: str | None = None) -> Path:
        """Download a version with its preprocessing and its classes.

        The file appears under its name when it is complete. An interrupted download is retried.

        Args:
            path: The file to write.
            version: The version.
            format: `safetensors`, `npz` or `onnx`; by default that of the file's suffix, else safetensors.

        Returns:
            The path of the file.

        Raises:
            NotFound: There is no such version.
            InvalidArgument: No format has the suffix, and `format` is not set.
        """
        format = format or infer_network_format(Path(path))
        return await self._connection.download(f"{self._path}/versions/{version}/file", Path(path), format=format)

    async def update(self, **fields: Any) -> Self:
        """Rename the network, or make another version current.

        Args:
            fields: Fields of PATCH /v1/networks/{network}: `name`, `version`.
        """
        self.view = await self._connection.request(NetworkView, "PATCH", self._path, json=fields)
        return self

    async def clone(self, name: str | None = None, version: Version | None = None) -> "AsyncNetwork":
        """Create an independent network from a version of this one, with its weights, classes and preprocessing.

        Args:
            name: The name of the new network.
            version: The version that becomes its version 0, by default the current one.
        """
        fields = {"name": name, "version": version}
        view = await self._connection.request(
            NetworkView, "POST", f"{self._path}/clones", json=fields, headers=idempotency_key()
        )
        return AsyncNetwork(self._connection, view)

    async def get_version(self, version: Version = "current") -> VersionView:
        """Fetch the metadata of a version: its number, tags, preprocessing, classes and the job that trained it.

        Raises:
            NotFound: There is no such version.
        """
        return await self._connection.request(VersionView, "GET", f"{self._path}/versions/{version}")

    async def list_versions(self) -> AsyncIterator[VersionView]:
        """Iterate over all versions, newest first."""
        query: dict[str, int] = {}
        while True:
            page = await self._connection.request(VersionsView, "GET", f"{self._path}/versions", params=query)
            for view in page.data:
                yield view
            if not page.has_more:
                return
            query = {"before": page.data[-1].version}

    async def tag(self, tag: str, version: Version = "current") -> TagView:
        """Assign a tag to a version, or move it there from another one.

        Args:
            tag: The tag, such as `"production"`.
            version: The version that gets it.
        """
        return await self._connection.request(TagView, "PUT", f"{self._path}/tags/{tag}", json={"version": version})

    async def untag(self, tag: str) -> None:
        """Remove a tag; its version stays.

        Raises:
            NotFound: There is no such tag.
        """
        await self._connection.delete(f"{self._path}/tags/{tag}")

    async def delete(self) -> None:
        """Delete the network with all its versions.

        Raises:
            Conflict: An unfinished job or batch prediction needs the network.
        """
        await self._connection.delete(self._path)

    def __repr__(self) -> str:
        """Return the id, the name, the units of all layers and the number of the current version."""
        units = " → ".join(str(count) for count in (self.view.inputs, *(layer.units for layer in self.view.layers)))
        return f"<Network {self._label}: {units}, version {self.view.version}>"
