"""Model bundles: a network with its preprocessing and classes, as named tensors and metadata.

All export formats have the same contents: tensors `layers.N.weights`, `layers.N.biases`, … and those of the
preprocessor; and the metadata `architecture` (JSON), `classes` (JSON) and the entries of `preprocessor_format`.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import msgspec
import numpy as np

from nabla.engine.data import preprocessor_format
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column, class_names
from nabla.engine.errors import Damaged, InvalidInput, TooLarge, quote, shorten
from nabla.engine.literals import ActivationName, CostName, NetworkFormat, ScalingName
from nabla.engine.model_io.tensors import (
    LazyTensor,
    TensorFile,
    check_finite,
    check_model_size,
    check_variances,
    format_tensor_names,
    invalid_file,
    load_into,
)
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import TrainedClasses, decode_classes, encode_classes, named_tensors
from nabla.engine.typing import AnyArray, Float64Array

_ARCHITECTURE_KEY = "architecture"
METADATA_KEYS = preprocessor_format.METADATA_KEYS | {_ARCHITECTURE_KEY, "classes"}

_MAX_COLUMNS = 100_000
"""Columns of a preprocessor, as for tables."""
_MAX_NAME_LENGTH = 1_000


@dataclass(frozen=True)
class ImportHints:
    """Statements of a client about a model file.

    Attributes:
        format: The file's format; None detects it.
        activations: Activation of each layer, for files that do not state them.
        cost: Likewise; by default the one that fits the output activation.
        classes: Likewise, the names of the classes.
    """

    format: NetworkFormat | None = None
    activations: tuple[ActivationName, ...] | None = None
    cost: CostName | None = None
    classes: TrainedClasses = None


@dataclass(frozen=True, eq=False)
class ModelBundle:
    """A version of a network, complete enough to predict elsewhere.

    Attributes:
        preprocessor: Fitted to the training data; None for a version that has not been trained.
        classes: Names of the classes; None if the targets are numbers.
    """

    network: Network
    preprocessing: PreprocessingConfig
    preprocessor: Preprocessor | None = None
    classes: TrainedClasses = None

    @property
    def tensors(self) -> dict[str, AnyArray]:
        """Views of the network's tensors, and those of the preprocessor."""
        tensors: dict[str, AnyArray] = dict(named_tensors(self.network))
        if self.preprocessor is not None:
            tensors |= preprocessor_format.encode_preprocessor(self.preprocessor)[0]
        return tensors

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata entries, each a text."""
        metadata = {
            _ARCHITECTURE_KEY: msgspec.json.encode(self.network.architecture).decode(),
            **preprocessor_format.encode_config(self.preprocessing),
            **encode_classes(self.classes),
        }
        if self.preprocessor is not None:
            metadata |= preprocessor_format.encode_preprocessor(self.preprocessor)[1]
        return metadata


def is_bundle(file: TensorFile) -> bool:
    """Return whether a file was exported as a bundle: it states its architecture."""
    return _ARCHITECTURE_KEY in file.metadata


def decode_bundle(file: TensorFile, max_parameters: int) -> ModelBundle:
    """Return the bundle of an untrusted file.

    Raises:
        InvalidInput: The file is incomplete or inconsistent.
        TooLarge: The network has more than `max_parameters` parameters.
    """
    file = _upgrade(file)
    with _invalid_metadata(_ARCHITECTURE_KEY):
        architecture = _decode_architecture(file.metadata)
        check_model_size(architecture, max_parameters)
    with _invalid_metadata():
        preprocessing = preprocessor_format.decode_config(file.metadata)
    with _invalid_metadata(preprocessor_format.CONFIG_KEY):
        preprocessing.check_cost(architecture.cost)
    try:
        classes = decode_classes(dict(file.metadata))
    except Damaged as error:
        raise invalid_file("The metadata entry classes is not a JSON array of texts, numbers or booleans.") from error
    with _invalid_metadata("classes"):
        check_classes(classes, architecture, preprocessing)
    preprocessor = _load_preprocessor(file, architecture)
    if preprocessor is not None:
        _check_preprocessor(preprocessor, architecture, preprocessing)
    return ModelBundle(_load_network(file, architecture), preprocessing, preprocessor, classes)


def decode_weights(
    file: TensorFile, architecture: Architecture, preprocessing: PreprocessingConfig, classes: TrainedClasses
) -> ModelBundle:
    """Return the bundle of a stored weights file, whose network is known. Raises InvalidInput."""
    file = _upgrade(file)
    return ModelBundle(
        _load_network(file, architecture), preprocessing, _load_preprocessor(file, architecture), classes
    )


def check_classes(classes: TrainedClasses, architecture: Architecture, preprocessing: PreprocessingConfig) -> None:
    """Raise InvalidInput (field `classes`) unless there is one class per output, or two for a single output."""
    if classes is None:
        return
    expected = max(2, architecture.outputs)
    if len(classes) != expected:
        raise InvalidInput(
            "classes",
            f"There are {len(classes)} classes; a network with {architecture.outputs} outputs needs {expected}.",
        )
    names = class_names(classes)
    duplicate = _find_duplicate(names)
    if duplicate is not None:
        raise InvalidInput("classes", f"The class {quote(duplicate)} is listed twice.")
    if any(len(name) > _MAX_NAME_LENGTH for name in names):
        raise InvalidInput("classes", f"The name of a class has at most {_MAX_NAME_LENGTH} characters.")
    preprocessing.check_classes(classes)


def _upgrade(file: TensorFile) -> TensorFile:
    with _invalid_metadata():
        return TensorFile(*preprocessor_format.upgrade(file.tensors, file.metadata))


def _decode_architecture(metadata: Mapping[str, str]) -> Architecture:
    try:
        return msgspec.json.decode(metadata[_ARCHITECTURE_KEY], type=Architecture)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput(_ARCHITECTURE_KEY, f"{error}.") from error


@contextmanager
def _invalid_metadata(key: str | None = None) -> Iterator[None]:
    """Turn an error in a metadata entry into one about the file. `key`: the entry; None for the field of the error."""
    try:
        yield
    except TooLarge:
        raise
    except InvalidInput as error:
        field, message = error.problems[0]
        entry = field if key in (None, field) else f"{key} ({field})"
        raise invalid_file(f"The metadata entry {entry} is invalid: {message}") from error


def _load_network(file: TensorFile, architecture: Architecture) -> Network:
    """Return a network with the tensors of a file, which must be exactly those of the architecture."""
    network = Network.blank(architecture)
    expected = dict(named_tensors(network))
    tensors = {name: tensor for name, tensor in file.tensors.items() if not name.startswith(preprocessor_format.PREFIX)}
    missing = expected.keys() - tensors.keys()
    if missing:
        raise invalid_file(f"The tensor {min(missing)} is missing. The file has: {format_tensor_names(tensors)}.")
    extra = tensors.keys() - expected.keys()
    if extra:
        raise invalid_file(f"The tensor {quote(min(extra))} is unknown. Accepted: {format_tensor_names(expected)}.")
    for name, view in expected.items():
        load_into(view, name, tensors[name])
    for index, (_, _, variances) in network.normalizations.items():
        check_variances(variances, f"layers.{index}.variances")
    return network


def _load_preprocessor(file: TensorFile, architecture: Architecture) -> Preprocessor | None:
    tensors = {name: tensor for name, tensor in file.tensors.items() if name.startswith(preprocessor_format.PREFIX)}
    max_length = max(architecture.inputs, architecture.outputs)
    for name, tensor in tensors.items():
        _check_vector(name, tensor, max_length)
    arrays = {name: tensor.read() for name, tensor in tensors.items()}
    for name, values in arrays.items():
        if name != preprocessor_format.IMPUTATION_TENSOR:  # NaN there stands for no imputation
            check_finite(values, name)
    if preprocessor_format.IMPUTATION_TENSOR not in arrays:
        arrays[preprocessor_format.IMPUTATION_TENSOR] = _decode_imputation_values(file.metadata)
    with _invalid_metadata():
        return preprocessor_format.decode_preprocessor(arrays, file.metadata)


def _check_vector(name: str, tensor: LazyTensor, max_length: int) -> None:
    if tensor.dtype != np.float64 or len(tensor.shape) != 1 or tensor.shape[0] > max_length:
        raise invalid_file(
            f"The tensor {shorten(name)} is {tensor}; expected float64 of one dimension, with at most {max_length} "
            "elements."
        )


def _decode_imputation_values(metadata: Mapping[str, str]) -> Float64Array:
    """Return the imputation values of a file without a tensor for them: ONNX has metadata, .npz omits empty tensors."""
    key = preprocessor_format.IMPUTATION_KEY
    try:
        values = msgspec.json.decode(metadata.get(key, "[]"), type=list[float | None])
    except (msgspec.DecodeError, UnicodeError) as error:
        raise invalid_file(f"The metadata entry {key} is not a JSON array of numbers and nulls.") from error
    return np.array([np.nan if value is None else value for value in values], np.float64)


def _check_preprocessor(
    preprocessor: Preprocessor, architecture: Architecture, preprocessing: PreprocessingConfig
) -> None:
    """Raise InvalidInput if a preprocessor does not fit its network."""
    if preprocessor.config != preprocessing:
        raise invalid_file(
            f"The metadata entries {preprocessor_format.PREPROCESSOR_KEY} and {preprocessor_format.CONFIG_KEY} "
            "contain different configurations."
        )
    if preprocessor.columns is not None:
        _check_columns(preprocessor.columns, architecture)
        for value, column in zip(preprocessor.imputation_values, preprocessor.columns, strict=True):
            _check_imputation(float(value), column)
    _check_scaling(preprocessing.inputs, preprocessor.input_scaling, architecture.inputs, "inputs")
    _check_scaling(preprocessing.targets, preprocessor.target_scaling, architecture.outputs, "targets")


def _check_columns(columns: Sequence[Column], architecture: Architecture) -> None:
    inputs = sum(column.inputs for column in columns)
    if inputs != architecture.inputs:
        raise invalid_file(f"The columns take {inputs} inputs; the network has {architecture.inputs}.")
    if len(columns) > _MAX_COLUMNS:
        raise invalid_file(f"The preprocessor has {len(columns)} columns; at most {_MAX_COLUMNS} are accepted.")
    duplicate = _find_duplicate([column.name for column in columns])
    if duplicate is not None:
        raise invalid_file(f"There is more than one column {quote(duplicate)}.")
    for column in columns:
        if not column.name or max(map(len, (column.name, *column.categories))) > _MAX_NAME_LENGTH:
            raise invalid_file(
                f"The names of columns and categories have at most {_MAX_NAME_LENGTH} characters, those of columns at "
                "least 1."
            )
        if (column.periods and column.type != "date") or len(set(column.periods)) != len(column.periods):
            raise invalid_file(f"The column {quote(column.name)} has periods, which only dates have, each once.")
        if column.other is not None and column.other not in column.categories:
            raise invalid_file(f"The column {quote(column.name)} has no category {quote(column.other)}.")
        if bool(column.categories) != (column.type == "category") or _find_duplicate(column.categories) is not None:
            raise invalid_file(
                f"The column {quote(column.name)} is a {column.type}; a category column has distinct categories, and "
                "other columns have none."
            )


def _check_imputation(value: float, column: Column) -> None:
    """Raise InvalidInput unless a value is NaN (no imputation), a finite number or, in a category, one of its codes."""
    codes = range(len(column.categories))
    if not np.isnan(value) and not (value in codes if column.type == "category" else np.isfinite(value)):
        raise invalid_file(f"{value:g} cannot be the imputation value of the column {quote(column.name)}.")


def _check_scaling(method: ScalingName, scaling: Scaling | None, width: int, part: str) -> None:
    if (scaling is None) != (method == "none"):
        raise invalid_file(
            f"The scaling of the {part} is {method}, but their offsets and scales are "
            f"{'missing' if scaling is None else 'present'}."
        )
    if scaling is None:
        return
    if len(scaling.offsets) != width or len(scaling.scales) != width:
        raise invalid_file(f"There are {width} {part}; as many offsets and scales are expected.")
    with np.errstate(divide="ignore", over="ignore"):
        if not np.isfinite(1 / scaling.scales).all():
            raise invalid_file(f"A scale of the {part} has no finite reciprocal; scales are finite and not 0.")


def _find_duplicate(names: Sequence[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
