"""What a version of a network looks like in the protocol: its tensors, by name, type and shape."""

from dataclasses import dataclass

from engine.data.columns import ColumnType
from engine.jobs.network import Version
from engine.names import DtypeName
from engine.nn.architecture import Architecture
from engine.training.probabilities import gives_probabilities

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
