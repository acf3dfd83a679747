"""Which networks are models at the moment: all, but for those that were unloaded since the service started."""

from collections.abc import Iterator

from engine.errors import Conflict
from engine.jobs.network import NetworkRecord, Version
from engine.jobs.registry import Registry


class Repository:
    """Its methods may be called from any thread."""

    def __init__(self, registry: Registry) -> None:
        self._networks = registry.networks
        self._unloaded: set[str] = set()

    def find(self, name: str) -> NetworkRecord:
        """By id or name. Raises NotFound, and Conflict if it is unloaded."""
        network = self._networks.find(name)
        if network.id in self._unloaded:
            raise Conflict(f"The model {name} is unloaded; POST /v2/repository/models/{name}/load brings it back.")
        return network

    def is_ready(self, network: NetworkRecord, version: Version) -> bool:
        return network.id not in self._unloaded and self.reason(network, version) == ""

    def reason(self, network: NetworkRecord, version: Version) -> str:
        """Why it cannot predict; empty if it can."""
        if network.id in self._unloaded:
            return "unloaded"
        if network.preparation.scales and version.origin == "drawn":
            return "it scales, and has not been trained"
        return ""

    def models(self) -> Iterator[tuple[str, NetworkRecord]]:
        """By their names; by ids, where a newer network has the name or there is none."""
        for network in self._networks:
            known = network.name is not None and self._networks.look(network.name) is network
            yield (network.name or network.id) if known else network.id, network

    def load(self, name: str) -> None:
        """Raises NotFound."""
        self._unloaded.discard(self._networks.find(name).id)

    def unload(self, name: str) -> None:
        """Raises NotFound."""
        self._unloaded.add(self._networks.find(name).id)
