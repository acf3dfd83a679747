"""Which networks are models at the moment: all, but for those that were unloaded since the service started."""

from collections.abc import Iterator
from dataclasses import dataclass

from nabla.engine.data.schema import ColumnType
from nabla.engine.errors import Conflict
from nabla.engine.literals import DtypeName
from nabla.engine.nn.architecture import Architecture
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.storage.registry import Registry
from nabla.engine.training.metrics import gives_probabilities


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
        if network.preprocessing.scales and version.origin == "drawn":
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


INPUTS, OUTPUTS, LABELS, PROBABILITIES = "inputs", "outputs", "labels", "probabilities"
REALS: dict[DtypeName, str] = {"float32": "FP32", "float64": "FP64"}
# Of a column of a table. Dates are text as in JSON.
_OF_COLUMNS: dict[ColumnType, str] = {"number": "FP64", "boolean": "BOOL", "category": "BYTES", "date": "BYTES"}


@dataclass(frozen=True)
class Described:
    """-1 stands for any number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def inputs_of(architecture: Architecture, version: Version) -> list[Described]:
    """A matrix of plain numbers; or, where it was trained on a table, a vector for each of its columns."""
    if version.columns is None:
        return [Described(INPUTS, REALS[architecture.dtype], (-1, architecture.inputs))]
    return [Described(name, _OF_COLUMNS[type_], (-1,)) for name, type_ in version.columns]


def outputs_of(architecture: Architecture, version: Version) -> list[Described]:
    """The labels of the classes come with them, and what is probable, where the outputs tell that."""
    reals = REALS[architecture.dtype]
    found = [Described(OUTPUTS, reals, (-1, architecture.outputs))]
    if version.classes is not None:
        found.append(Described(LABELS, "BYTES", (-1,)))
    if gives_probabilities(architecture, version.classes):
        found.append(Described(PROBABILITIES, reals, (-1, len(version.classes or ()))))
    return found
