"""Networks written to files, and read from files that anybody may have made."""

from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io import npz_format, safetensors_format
from nabla.engine.model_io.bundle import Hints, Portable, is_own, network_with, preparation_of, restore
from nabla.engine.model_io.foreign_weights import described, layers_in, network_of
from nabla.engine.model_io.tensors import NO_PICKLES, Found, refused
from nabla.engine.nn.architecture import Architecture
from nabla.engine.training.checkpoint import Classes

_START = 16
# Of the protocols that are in use.
_PICKLES = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def write(path: Path, portable: Portable, format: NetworkFormat) -> None:
    """For those who fetch it at once: it need not survive a loss of power. Raises StorageFailed, and InvalidInput or
    Conflict if it cannot be in this format."""
    with durable_files.reporting("the network's file"), path.open("wb") as file:
        match format:
            case "safetensors":
                safetensors_format.write(file, portable)
            case "npz":
                npz_format.write(file, portable)
            case "onnx":
                # It takes time and memory to load, and most processes never need it.
                from nabla.engine.model_io import onnx_export

                onnx_export.write(file, portable)


def keep(path: Path, portable: Portable) -> Path:
    """As weights of a version; where they are. Raises StorageFailed."""
    return durable_files.write_file(path, lambda sink: safetensors_format.write(sink, portable))


def stored(path: Path, architecture: Architecture, rule: PreprocessingConfig, classes: Classes) -> Portable:
    """A version as it is kept here. Raises Damaged."""
    durable_files.check(path)
    try:
        with safetensors_format.opened(path) as found:
            return Portable(network_with(found, architecture), rule, preparation_of(found, architecture), classes)
    except InvalidInput as problem:
        raise Damaged(f"The weights file {path.name} does not fit its network: {problem}") from problem


def read(path: Path, hints: Hints, most: int) -> tuple[NetworkFormat, Portable]:
    """What it is, and what is in it. Raises InvalidInput, TooLarge if that has more than `most` parameters."""
    format = _format_of(path)
    if hints.format not in (None, format):
        raise InvalidInput("format", f"The file is {format}, not {hints.format}; leave the format out to find out.")
    match format:
        case "safetensors":
            with safetensors_format.opened(path) as found:
                return format, _network(found, hints, most)
        case "npz":
            with npz_format.opened(path) as found:
                return format, _network(found, hints, most)
        case "onnx":
            return format, _from_onnx(path, hints, most)


def _format_of(path: Path) -> NetworkFormat:
    with path.open("rb") as file:
        start = file.read(_START)
    if not start:
        raise refused("The file is empty; accepted: safetensors, npz, onnx.")
    if safetensors_format.is_one(start):
        return "safetensors"
    if npz_format.is_one(start):
        return "npz"
    if start.startswith(_PICKLES):
        raise refused(NO_PICKLES)
    return "onnx"


def _network(found: Found, hints: Hints, most: int) -> Portable:
    if is_own(found):
        return _own(found, hints, most)
    return network_of(described(layers_in(found), hints), hints, most)


def _from_onnx(path: Path, hints: Hints, most: int) -> Portable:
    from nabla.engine.model_io import onnx_import

    model = onnx_import.model_in(path)
    found = onnx_import.found_in(model)
    if is_own(found):
        return _own(found, hints, most)
    if hints.activations is not None:
        raise InvalidInput("layers", "The graph says what its activations are; leave layers out.")
    return network_of(onnx_import.layers_in(model.graph), hints, most)


def _own(found: Found, hints: Hints, most: int) -> Portable:
    for field, given in (("layers", hints.activations), ("cost", hints.cost), ("classes", hints.classes)):
        if given is not None:
            raise InvalidInput(field, f"The file says it itself, as it was copied out; leave {field} out.")
    return restore(found, most)
