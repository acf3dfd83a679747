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
            return self._ask(NetworkView, "POST", "/v1/networks", files=files, data=as_text(options))

    def export_network(
        self, network: str, path: Path, *, version: int | None = None, format: FormatName = "safetensors"
    ) -> Path:
        """A version of it, by default the current one, as a file at `path`, which is there when all of it has
        arrived."""
        number = self.network(network).version if version is None else version
        unfinished = path.with_name(path.name + _UNFINISHED)
        address = f"/v1/networks/{network}/versions/{number}/file"
        try:
            with self._http.stream("GET", address, params={"format": format}) as answer, unfinished.open("wb") as file:
                check(answer)
                for part in answer.iter_bytes():
                    file.write(part)
            return unfinished.rename(path)
        finally:
            unfinished.unlink(missing_ok=True)
