"""Models of the Open Inference Protocol: which networks are loaded, and the tensors of their versions."""

from collections.abc import Iterator
from dataclasses import dataclass

from nabla.engine.data.schema import ColumnType
from nabla.engine.errors import Conflict
from nabla.engine.literals import DtypeName
from nabla.engine.nn.architecture import Architecture
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.storage.registry import Registry
from nabla.engine.training.metrics import gives_probabilities

INPUTS, OUTPUTS, LABELS, PROBABILITIES = "inputs", "outputs", "labels", "probabilities"
_FLOAT_DATATYPES: dict[DtypeName, str] = {"float32": "FP32", "float64": "FP64"}
_COLUMN_DATATYPES: dict[ColumnType, str] = {"number": "FP64", "boolean": "BOOL", "category": "BYTES", "date": "BYTES"}
# Classes of one version have one type.
_LABEL_DATATYPES: dict[type, str] = {bool: "BOOL", int: "INT64", float: "FP64", str: "BYTES"}


class ModelRepository:
    """Every network is a model, loaded until it is unloaded; a restart loads all. Thread-safe."""

    def __init__(self, registry: Registry) -> None:
        self._networks = registry.networks
        self._unloaded: set[str] = set()

    def get(self, name: str) -> NetworkRecord:
        """Return a model by id or name.

        Raises:
            NotFound: There is no such network.
            Conflict: It is unloaded.
        """
        network = self._networks.resolve(name)
        if network.id in self._unloaded:
            raise Conflict(f"The model {name} is unloaded; POST /v2/repository/models/{name}/load loads it.")
        return network

    def unavailable_reason(self, network: NetworkRecord, version: Version) -> str:
        """Return why a version cannot predict; empty if it can."""
        if network.id in self._unloaded:
            return "unloaded"
        if network.preprocessing.has_scaling and version.origin == "drawn":
            return "its inputs or targets are scaled, and it has not been trained"
        return ""

    def list_models(self) -> Iterator[tuple[str, NetworkRecord]]:
        """Yield all networks, each with its name; or with its id if it has no name, or a newer network has the same."""
        for network in self._networks:
            is_newest = network.name is not None and self._networks.resolve_or_none(network.name) is network
            yield (network.name or network.id) if is_newest else network.id, network

    def load(self, name: str) -> None:
        """Load a model.

        Raises:
            NotFound: There is no such network.
        """
        self._unloaded.discard(self._networks.resolve(name).id)

    def unload(self, name: str) -> None:
        """Unload a model.

        Raises:
            NotFound: There is no such network.
        """
        self._unloaded.add(self._networks.resolve(name).id)


@dataclass(frozen=True)
class TensorSpec:
    """Metadata of a tensor; -1 in the shape stands for any number of rows."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def input_specs(architecture: Architecture, version: Version) -> list[TensorSpec]:
    """Return the inputs of a version: one matrix, or one vector for each column of the table it was trained on."""
    if version.columns is None:
        return [TensorSpec(INPUTS, _FLOAT_DATATYPES[architecture.dtype], (-1, architecture.inputs))]
    return [TensorSpec(name, _COLUMN_DATATYPES[type_], (-1,)) for name, type_ in version.columns]


def output_specs(architecture: Architecture, version: Version) -> list[TensorSpec]:
    """Return the outputs of a version: the outputs of the network, and for classes labels and probabilities."""
    datatype = _FLOAT_DATATYPES[architecture.dtype]
    specs = [TensorSpec(OUTPUTS, datatype, (-1, architecture.outputs))]
    if version.classes is not None:
        specs.append(TensorSpec(LABELS, _LABEL_DATATYPES[type(version.classes[0])], (-1,)))
    if gives_probabilities(architecture, version.classes):
        specs.append(TensorSpec(PROBABILITIES, datatype, (-1, len(version.classes or ()))))
    return specs
