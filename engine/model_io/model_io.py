"""Import and export of networks as files: safetensors, npz and ONNX."""

from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.extras import requires_extra
from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io import foreign_weights, npz_format, safetensors_format
from nabla.engine.model_io.bundle import ImportHints, ModelBundle, decode_bundle, decode_weights, is_bundle
from nabla.engine.model_io.tensors import PICKLE_REJECTED, TensorFile, invalid_file
from nabla.engine.nn.architecture import Architecture
from nabla.engine.training.checkpoint import TrainedClasses

_SNIFF_BYTES = 16
# Protocols 2 to 5; older ones have no magic.
_PICKLE_MAGICS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))


def export_model(path: Path, bundle: ModelBundle, format: NetworkFormat) -> None:
    """Write a bundle to a file for immediate download, so it is not synced to the disk.

    Raises:
        InvalidInput, Conflict: The bundle cannot be represented in this format.
        StorageFailed: The file cannot be written.
    """
    with durable_files.storage_errors("the network's file"), path.open("wb") as file:
        match format:
            case "safetensors":
                safetensors_format.write_safetensors(file, bundle)
            case "npz":
                npz_format.write_npz(file, bundle)
            case "onnx":
                # onnx takes time and memory to load, and most processes never need it.
                with requires_extra("format", "ONNX files"):
                    from nabla.engine.model_io import onnx_export

                onnx_export.write_onnx(file, bundle)


def import_model(path: Path, hints: ImportHints, max_parameters: int) -> tuple[NetworkFormat, ModelBundle]:
    """Return the format and the contents of an untrusted model file.

    Raises:
        InvalidInput: The file is damaged or unsupported, or contradicts the hints.
        TooLarge: The network has more than `max_parameters` parameters.
    """
    format = _detect_format(path)
    if hints.format not in (None, format):
        raise InvalidInput("format", f"The file is {format}, not {hints.format}; omit the format to detect it.")
    match format:
        case "safetensors":
            with safetensors_format.open_safetensors(path) as file:
                return format, _import_tensors(file, hints, max_parameters)
        case "npz":
            with npz_format.open_npz(path) as file:
                return format, _import_tensors(file, hints, max_parameters)
        case "onnx":
            return format, _import_onnx(path, hints, max_parameters)


def save_version(path: Path, bundle: ModelBundle) -> Path:
    """Store a bundle as the weights of a version and return the path of the file. Raises StorageFailed."""
    return durable_files.write_file(path, lambda sink: safetensors_format.write_safetensors(sink, bundle))


def load_version(
    path: Path, architecture: Architecture, preprocessing: PreprocessingConfig, classes: TrainedClasses
) -> ModelBundle:
    """Return a stored version as a bundle. Raises Damaged."""
    durable_files.verify(path)
    try:
        with safetensors_format.open_safetensors(path) as file:
            return decode_weights(file, architecture, preprocessing, classes)
    except InvalidInput as error:
        raise Damaged(f"The weights file {path.name} does not fit its network: {error}") from error


def _detect_format(path: Path) -> NetworkFormat:
    with path.open("rb") as file:
        start = file.read(_SNIFF_BYTES)
    if not start:
        raise invalid_file("The file is empty; accepted: safetensors, npz, onnx.")
    if safetensors_format.is_safetensors(start):
        return "safetensors"
    if npz_format.is_npz(start):
        return "npz"
    if start.startswith(_PICKLE_MAGICS):
        raise invalid_file(PICKLE_REJECTED)
    return "onnx"


def _import_tensors(file: TensorFile, hints: ImportHints, max_parameters: int) -> ModelBundle:
    if is_bundle(file):
        return _import_bundle(file, hints, max_parameters)
    layers = foreign_weights.apply_activations(foreign_weights.parse_layers(file), hints)
    return foreign_weights.build_bundle(layers, hints, max_parameters)


def _import_onnx(path: Path, hints: ImportHints, max_parameters: int) -> ModelBundle:
    with requires_extra("file", "ONNX files"):
        from nabla.engine.model_io import onnx_import

    model = onnx_import.parse_model(path)
    file = onnx_import.read_tensors(model)
    if is_bundle(file):
        return _import_bundle(file, hints, max_parameters)
    if hints.activations is not None:
        raise InvalidInput("layers", "An ONNX graph states its activations; omit layers.")
    return foreign_weights.build_bundle(onnx_import.parse_layers(model.graph), hints, max_parameters)


def _import_bundle(file: TensorFile, hints: ImportHints, max_parameters: int) -> ModelBundle:
    for field, value in (("layers", hints.activations), ("cost", hints.cost), ("classes", hints.classes)):
        if value is not None:
            raise InvalidInput(field, f"The file was exported by Nabla and states this itself; omit {field}.")
    return decode_bundle(file, max_parameters)
