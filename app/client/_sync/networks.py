# Generated from networks.py in _async by scripts/generate_sync_client.py. Change that one.
"""A network, as a program holds it. A version is a number, a tag, or `current`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, overload

from nabla.app.client._sync.batch_predictions import BatchPrediction
from nabla.app.client._sync.datasets import Dataset
from nabla.app.client._sync.resource import Handle
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


class Network(Handle[NetworkView]):
    """A network, all its versions, and what they predict."""

    @property
    def version(self) -> int:
        """The number of the current one."""
        return self.view.version

    def refresh(self) -> "Network":
        """Ask how it is now."""
        self.view = self._connection.ask(NetworkView, "GET", self._path)
        return self

    @overload
    def predict(
        self,
        rows: Sequence[Sequence[Any] | Mapping[str, Any]],
        *,
        version: Version | None = None,
        top_k: int | None = None,
        probabilities: bool = False,
    ) -> PredictionView: ...

    @overload
    def predict(
        self, rows: "npt.NDArray[Any]", *, version: Version | None = None, probabilities: bool = False
    ) -> "npt.NDArray[np.floating[Any]]": ...

    @overload
    def predict(
        self,
        rows: Table,
        *,
        version: Version | None = None,
        top_k: int | None = None,
        probabilities: bool = False,
    ) -> Table: ...

    def predict(
        self, rows: Any, *, version: Version | None = None, top_k: int | None = None, probabilities: bool = False
    ) -> Any:
        """Work raw rows through the current version, or another one, and answer in kind: to lists of values, or objects
        with the values of columns, a PredictionView; to an array of NumPy an array (rows, outputs), of outputs or of
        probabilities; to a table of pandas, Polars or PyArrow such a table, with labels where there are classes."""
        options = {"version": version, "top_k": top_k, "probabilities": probabilities or None}
        request = request_for(rows, options)
        # It leaves nothing behind, and may well be asked for twice.
        answer = self._connection.send("POST", f"{self._path}/predictions", repeatable=True, **request)
        return answer_for(rows, answer.content)

    def evaluate(self, dataset: Dataset | str, version: Version | None = None) -> EvaluationView:
        """The current version, or another one, on a dataset, however long it takes."""
        reference = dataset if isinstance(dataset, str) else dataset.id
        return self._connection.ask(
            EvaluationView,
            "POST",
            f"{self._path}/evaluations",
            json={"dataset_id": reference, "version": version},
            timeout=self._connection.as_long_as_it_takes,
            repeatable=True,
        )

    def predict_dataset(self, dataset: Dataset | str, **fields: Any) -> BatchPrediction:
        """Begin a batch prediction; other fields as in POST /v1/networks/{network}/batch-predictions. It is begun once,
        also if the connection breaks."""
        reference = dataset if isinstance(dataset, str) else dataset.id
        path = f"{self._path}/batch-predictions"
        fields = {"dataset_id": reference, **fields}
        view = self._connection.ask(BatchPredictionView, "POST", path, json=fields, headers=new_key())
        return BatchPrediction(self._connection, view)

    def download(self, path: Path | str, *, version: Version = "current", format: str | None = None) -> Path:
        """A version as a file at `path`, which is there when all of it has arrived: safetensors, npz or onnx, by
        default as the file's name says."""
        kind = format or _FORMATS.get(Path(path).suffix.lower(), "safetensors")
        return self._connection.download(f"{self._path}/versions/{version}/file", Path(path), format=kind)

    def change(self, **fields: Any) -> "Network":
        """Fields as in PATCH /v1/networks/{network}: `version`, the one to predict from now on, and `name`."""
        self.view = self._connection.ask(NetworkView, "PATCH", self._path, json=fields)
        return self

    def clone(self, name: str | None = None, version: Version | None = None) -> "Network":
        """A network of its own, which starts with a version of this one, by default the current one."""
        fields = {"name": name, "version": version}
        view = self._connection.ask(NetworkView, "POST", f"{self._path}/clones", json=fields, headers=new_key())
        return Network(self._connection, view)

    def published(self, version: Version = "current") -> VersionView:
        """What is known of a version."""
        return self._connection.ask(VersionView, "GET", f"{self._path}/versions/{version}")

    def versions(self) -> Iterator[VersionView]:
        """All of them, newest first."""
        query: dict[str, int] = {}
        while True:
            page = self._connection.ask(VersionsView, "GET", f"{self._path}/versions", params=query)
            yield from page.data
            if not page.has_more:
                return
            query = {"before": page.data[-1].version}

    def tag(self, tag: str, version: Version = "current") -> TagView:
        """Give a tag to a version, or move it there."""
        return self._connection.ask(TagView, "PUT", f"{self._path}/tags/{tag}", json={"version": version})

    def untag(self, tag: str) -> None:
        """Remove a tag; its version stays."""
        self._connection.delete(f"{self._path}/tags/{tag}")

    def delete(self) -> None:
        """With all its versions. Refused while a job needs it."""
        self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/networks/{self.id}"

    def __repr__(self) -> str:
        sizes = " → ".join(str(size) for size in (self.view.inputs, *(layer.units for layer in self.view.layers)))
        return f"<Network {self._called()}: {sizes}, version {self.view.version}>"
