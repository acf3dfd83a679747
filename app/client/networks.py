"""Networks, as a client creates them, copies them out and takes them in."""

from pathlib import Path
from typing import Any

from app.client.connection import Connection, as_text, check
from app.schemas.networks import NetworkView
from app.schemas.versions import TagView, VersionView
from engine.exchange.portable import FormatName
from engine.jobs.network import VersionReference


class Networks(Connection):
    def create_network(self, **fields: Any) -> NetworkView:
        """Fields as in POST /v1/networks."""
        return self._ask(NetworkView, "POST", "/v1/networks", json=fields)

    def network(self, network: str) -> NetworkView:
        """Its layers, and the number of its current version."""
        return self._ask(NetworkView, "GET", f"/v1/networks/{network}")

    def change_network(self, network: str, **fields: Any) -> NetworkView:
        """Fields as in PATCH /v1/networks/{network}: `version`, the one to predict from now on, and `name`."""
        return self._ask(NetworkView, "PATCH", f"/v1/networks/{network}", json=fields)

    def clone_network(
        self, network: str, name: str | None = None, version: VersionReference | None = None
    ) -> NetworkView:
        """A network of its own, which starts with a version of this one, by default the current one."""
        return self._ask(NetworkView, "POST", f"/v1/networks/{network}/clones", json={"name": name, "version": version})

    def version(self, network: str, version: VersionReference = "current") -> VersionView:
        return self._ask(VersionView, "GET", f"/v1/networks/{network}/versions/{version}")

    def tag_version(self, network: str, tag: str, version: VersionReference = "current") -> TagView:
        """Give a tag to a version, or move it there."""
        return self._ask(TagView, "PUT", f"/v1/networks/{network}/tags/{tag}", json={"version": version})

    def untag_version(self, network: str, tag: str) -> None:
        """Remove a tag; its version stays."""
        check(self._http.delete(f"/v1/networks/{network}/tags/{tag}"))

    def import_network(self, path: Path, **options: Any) -> NetworkView:
        """A network in a file: safetensors, npz or ONNX. Options are those of a file in POST /v1/networks, such as
        `layers=[{"activation": "relu"}, {"activation": "softmax"}]` for plain arrays."""
        with path.open("rb") as file:
            files = {"file": (path.name, file)}
            return self._ask(
                NetworkView, "POST", "/v1/networks", files=files, data=as_text(options), timeout=self._patience
            )

    def export_network(
        self,
        network: str,
        path: Path,
        *,
        version: VersionReference = "current",
        format: FormatName = "safetensors",
    ) -> Path:
        """A version of it, by default the current one, as a file at `path`, which is there when all of it has
        arrived."""
        address = f"/v1/networks/{network}/versions/{version}/file"
        return self._download(address, path, format=format)
