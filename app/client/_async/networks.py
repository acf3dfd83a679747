"""A network, as a program holds it. A version is a number, a tag, or `current`."""

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nabla.app.client._async.batch_predictions import AsyncBatchPrediction
from nabla.app.client._async.datasets import AsyncDataset
from nabla.app.client._async.resource import AsyncHandle
from nabla.app.client.retries import new_key
from nabla.app.client.tabular import Frame, answer_for, request_for
from nabla.app.schemas.networks import NetworkView, TagView, VersionsView, VersionView
from nabla.app.schemas.predictions import BatchPredictionView, EvaluationView, PredictionView

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Table = TypeVar("Table", bound=Frame)
Version = int | str
# Of files that say by their names what they are.
_FORMATS = {".safetensors": "safetensors", ".npz": "npz", ".onnx": "onnx"}


class AsyncNetwork(AsyncHandle[NetworkView]):
    """A network, all its versions, and what they predict."""

    @property
    def version(self) -> int:
        """The number of the current one."""
        return self.view.version

    async def refresh(self) -> "AsyncNetwork":
        """Ask how it is now."""
        self.view = await self._connection.ask(NetworkView, "GET", self._path)
        return self

    @overload
    async def predict(
        self,
        rows: Sequence[Sequence[Any] | Mapping[str, Any]],
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
        rows: Table,
        *,
        version: Version | None = None,
        top_k: int | None = None,
        probabilities: bool = False,
    ) -> Table: ...

    async def predict(
        self, rows: Any, *, version: Version | None = None, top_k: int | None = None, probabilities: bool = False
    ) -> Any:
        """Work raw rows through the current version, or another one, and answer in kind: to lists of values, or objects
        with the values of columns, a PredictionView; to an array of NumPy an array (rows, outputs), of outputs or of
        probabilities; to a table of pandas, Polars or PyArrow such a table, with labels where there are classes."""
        options = {"version": version, "top_k": top_k, "probabilities": probabilities or None}
        request = request_for(rows, options)
        # It leaves nothing behind, and may well be asked for twice.
        answer = await self._connection.send("POST", f"{self._path}/predictions", repeatable=True, **request)
        return answer_for(rows, answer.content)

    async def evaluate(self, dataset: AsyncDataset | str, version: Version | None = None) -> EvaluationView:
        """The current version, or another one, on a dataset, however long it takes."""
        reference = dataset if isinstance(dataset, str) else dataset.id
        return await self._connection.ask(
            EvaluationView,
            "POST",
            f"{self._path}/evaluations",
            json={"dataset_id": reference, "version": version},
            timeout=self._connection.as_long_as_it_takes,
            repeatable=True,
        )

    async def predict_dataset(self, dataset: AsyncDataset | str, **fields: Any) -> AsyncBatchPrediction:
        """Begin a batch prediction; other fields as in POST /v1/networks/{network}/batch-predictions. It is begun once,
        also if the connection breaks."""
        reference = dataset if isinstance(dataset, str) else dataset.id
        path = f"{self._path}/batch-predictions"
        fields = {"dataset_id": reference, **fields}
        view = await self._connection.ask(BatchPredictionView, "POST", path, json=fields, headers=new_key())
        return AsyncBatchPrediction(self._connection, view)

    async def download(self, path: Path | str, *, version: Version = "current", format: str | None = None) -> Path:
        """A version as a file at `path`, which is there when all of it has arrived: safetensors, npz or onnx, by
        default as the file's name says."""
        kind = format or _FORMATS.get(Path(path).suffix.lower(), "safetensors")
        return await self._connection.download(f"{self._path}/versions/{version}/file", Path(path), format=kind)

    async def change(self, **fields: Any) -> "AsyncNetwork":
        """Fields as in PATCH /v1/networks/{network}: `version`, the one to predict from now on, and `name`."""
        self.view = await self._connection.ask(NetworkView, "PATCH", self._path, json=fields)
        return self

    async def clone(self, name: str | None = None, version: Version | None = None) -> "AsyncNetwork":
        """A network of its own, which starts with a version of this one, by default the current one."""
        fields = {"name": name, "version": version}
        view = await self._connection.ask(NetworkView, "POST", f"{self._path}/clones", json=fields, headers=new_key())
        return AsyncNetwork(self._connection, view)

    async def published(self, version: Version = "current") -> VersionView:
        """What is known of a version."""
        return await self._connection.ask(VersionView, "GET", f"{self._path}/versions/{version}")

    async def versions(self) -> AsyncIterator[VersionView]:
        """All of them, newest first."""
        query: dict[str, int] = {}
        while True:
            page = await self._connection.ask(VersionsView, "GET", f"{self._path}/versions", params=query)
            for view in page.data:
                yield view
            if not page.has_more:
                return
            query = {"before": page.data[-1].version}

    async def tag(self, tag: str, version: Version = "current") -> TagView:
        """Give a tag to a version, or move it there."""
        return await self._connection.ask(TagView, "PUT", f"{self._path}/tags/{tag}", json={"version": version})

    async def untag(self, tag: str) -> None:
        """Remove a tag; its version stays."""
        await self._connection.delete(f"{self._path}/tags/{tag}")

    async def delete(self) -> None:
        """With all its versions. Refused while a job needs it."""
        await self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/networks/{self.id}"

    def __repr__(self) -> str:
        sizes = " → ".join(str(size) for size in (self.view.inputs, *(layer.units for layer in self.view.layers)))
        return f"<Network {self._called()}: {sizes}, version {self.view.version}>"
