"""Networks, as a client creates them, copies them out and takes them in."""

from pathlib import Path
from typing import Any

from app.client.connection import Connection, as_text, check
from app.schemas.networks import NetworkView
from engine.exchange.portable import FormatName

# Of a file that arrives; what has not is not taken for the file.
_UNFINISHED = ".part"


class Networks(Connection):
    def create_network(self, **fields: Any) -> NetworkView:
        """Fields as in POST /v1/networks."""
        return self._ask(NetworkView, "POST", "/v1/networks", json=fields)

    def network(self, network: str) -> NetworkView:
        """Its layers, and the number of its current version."""
        return self._ask(NetworkView, "GET", f"/v1/networks/{network}")

    def import_network(self, path: Path, **options: Any) -> NetworkView:
        """A network in a file: safetensors, npz or ONNX. Options are those of a file in POST /v1/networks, such as
        `layers=[{"activation": "relu"}, {"activation": "softmax"}]` for plain arrays."""
        with path.open("rb") as file:
            files = {"file": (path.name, file)}
            return self._ask(
                NetworkView, "POST", "/v1/networks", files=files, data=as_text(options), timeout=self._patience
            )

    def export_network(
        self, network: str, path: Path, *, version: int | None = None, format: FormatName = "safetensors"
    ) -> Path:
        """A version of it, by default the current one, as a file at `path`, which is there when all of it has
        arrived."""
        view = self.network(network)
        number = view.version if version is None else version
        address = f"/v1/networks/{view.id}/versions/{number}/file"
        unfinished = path.with_name(path.name + _UNFINISHED)
        try:
            with self._http.stream("GET", address, params={"format": format}, timeout=self._patience) as answer:
                check(answer)
                with unfinished.open("wb") as file:
                    for part in answer.iter_bytes():
                        file.write(part)
            return unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
