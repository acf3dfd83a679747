"""Serialization of preprocessing in weights files, checkpoints and exported models.

A file holds named tensors and metadata, which maps keys to texts. Format version 2 has these entries:

    format_version                      "2"
    preprocessing_config                `PreprocessingConfig`, as JSON
    preprocessor                        config and columns of the fitted `Preprocessor`, as JSON
    preprocessor.imputation_values      tensor (columns), float64
    preprocessor.inputs.offsets         tensor (inputs), float64, if inputs are scaled; likewise `.scales`
    preprocessor.inputs.smallest        tensor (inputs), float64, if known: smallest training values; also `.largest`
    preprocessor.targets.offsets        tensor (targets), float64, if targets are scaled; likewise `.scales`

A file without `format_version` has version 1. `upgrade` converts it, and all other functions know version 2 only.
"""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column, ColumnType, ImputationStrategy
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ScalingName

T = TypeVar("T")

FORMAT_VERSION = "2"
VERSION_KEY = "format_version"
CONFIG_KEY = "preprocessing_config"
PREPROCESSOR_KEY = "preprocessor"
IMPUTATION_KEY = "imputation_values"
"""Metadata key of the imputation values in formats that have no tensor for them."""

PREFIX = "preprocessor."
"""Prefix of the tensor names."""
IMPUTATION_TENSOR = f"{PREFIX}imputation_values"

_PREFIX_V1 = "preparation."
_KEYS_V1 = {"rule": CONFIG_KEY, "preparation": PREPROCESSOR_KEY, "fills": IMPUTATION_KEY}
_TENSORS_V1 = {"preparation.fills": IMPUTATION_TENSOR}

METADATA_KEYS = frozenset((VERSION_KEY, *_KEYS_V1, *_KEYS_V1.values()))
PREFIXES = (PREFIX, _PREFIX_V1)


class _Fitted(msgspec.Struct, frozen=True):
    config: PreprocessingConfig
    columns: tuple[Column, ...] | None


class _ConfigV1(msgspec.Struct, frozen=True, rename={"handle_unknown": "unseen"}):
    inputs: ScalingName = "none"
    targets: ScalingName = "none"
    handle_unknown: Literal["refuse", "ignore"] = "refuse"

    def upgrade(self) -> PreprocessingConfig:
        return PreprocessingConfig(self.inputs, self.targets, "ignore" if self.handle_unknown == "ignore" else "error")


class _ColumnV1(msgspec.Struct, frozen=True, rename={"imputation": "fill"}):
    name: str
    type: ColumnType
    categories: tuple[str, ...] = ()
    missing: int = 0
    imputation: ImputationStrategy | None = None
    constant: float | str | None = None

    def upgrade(self) -> Column:
        return Column(self.name, self.type, self.categories, self.missing, self.imputation, self.constant)


class _FittedV1(msgspec.Struct, frozen=True, rename={"config": "rule"}):
    config: _ConfigV1
    columns: tuple[_ColumnV1, ...] | None

    def upgrade(self) -> _Fitted:
        columns = None if self.columns is None else tuple(column.upgrade() for column in self.columns)
        return _Fitted(self.config.upgrade(), columns)


def upgrade(tensors: Mapping[str, T], metadata: Mapping[str, str]) -> tuple[dict[str, T], dict[str, str]]:
    """Convert the tensor names and the metadata of a file to the current format version.

    Raises InvalidInput (field: the metadata key) if a version 1 entry cannot be decoded, or the version is unknown.
    """
    version = metadata.get(VERSION_KEY)
    if version == FORMAT_VERSION:
        return dict(tensors), dict(metadata)
    if version is not None:
        raise InvalidInput(VERSION_KEY, f"Version {version[:20]!r} is unknown; accepted: {FORMAT_VERSION}.")
    upgraded = {_KEYS_V1.get(key, key): text for key, text in metadata.items()}
    if "rule" in metadata:
        upgraded[CONFIG_KEY] = _encode(_decode(metadata, "rule", _ConfigV1).upgrade())
    if "preparation" in metadata:
        upgraded[PREPROCESSOR_KEY] = _encode(_decode(metadata, "preparation", _FittedV1).upgrade())
    return {_upgrade_name(name): tensor for name, tensor in tensors.items()}, upgraded | {VERSION_KEY: FORMAT_VERSION}


def _upgrade_name(name: str) -> str:
    if name.startswith(_PREFIX_V1):
        return _TENSORS_V1.get(name, PREFIX + name.removeprefix(_PREFIX_V1))
    return name


def encode_config(config: PreprocessingConfig) -> dict[str, str]:
    """Return the metadata of a configuration."""
    return {VERSION_KEY: FORMAT_VERSION, CONFIG_KEY: _encode(config)}


def decode_config(metadata: Mapping[str, str]) -> PreprocessingConfig:
    """Return the configuration in the metadata of a file. Raises InvalidInput if it is missing or malformed."""
    return _decode(metadata, CONFIG_KEY, PreprocessingConfig)


def encode_preprocessor(preprocessor: Preprocessor) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    """Return the tensors and the metadata of a fitted preprocessor."""
    tensors: dict[str, npt.NDArray[Any]] = {IMPUTATION_TENSOR: preprocessor.imputation_values}
    for part, scaling in (("inputs", preprocessor.input_scaling), ("targets", preprocessor.target_scaling)):
        if scaling is not None:
            tensors |= {f"{PREFIX}{part}.offsets": scaling.offsets, f"{PREFIX}{part}.scales": scaling.scales}
    if preprocessor.input_scaling is not None and preprocessor.input_scaling.ranges is not None:
        smallest, largest = preprocessor.input_scaling.ranges
        tensors |= {f"{PREFIX}inputs.smallest": smallest, f"{PREFIX}inputs.largest": largest}
    fitted = _Fitted(preprocessor.config, preprocessor.columns)
    return tensors, {VERSION_KEY: FORMAT_VERSION, PREPROCESSOR_KEY: _encode(fitted)}


def decode_preprocessor(tensors: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, str]) -> Preprocessor | None:
    """Return the fitted preprocessor of a file; None if it has none.

    Tensors without the preprocessor's prefix are ignored. Raises InvalidInput if an entry is missing, malformed or left
    over.
    """
    if PREPROCESSOR_KEY not in metadata:
        return None
    fitted = _decode(metadata, PREPROCESSOR_KEY, _Fitted)
    remaining = {name: tensor for name, tensor in tensors.items() if name.startswith(PREFIX)}
    try:
        imputation_values = remaining.pop(IMPUTATION_TENSOR)
        inputs, targets = (_pop_scaling(remaining, part) for part in ("inputs", "targets"))
    except KeyError as error:
        raise InvalidInput(PREPROCESSOR_KEY, f"The tensor {error} is missing.") from error
    if remaining:
        raise InvalidInput(PREPROCESSOR_KEY, f"The tensor {min(remaining)[:60]!r} is unknown.")
    columns = len(fitted.columns or ())
    if imputation_values.shape != (columns,) or imputation_values.dtype != np.float64:
        raise InvalidInput(
            PREPROCESSOR_KEY,
            f"The imputation values are {imputation_values.dtype} of shape {list(imputation_values.shape)}; expected "
            f"float64 of shape [{columns}], one for each column.",
        )
    return Preprocessor(fitted.config, fitted.columns, imputation_values, inputs, targets)


def _pop_scaling(tensors: dict[str, npt.NDArray[Any]], part: str) -> Scaling | None:
    names = (f"{PREFIX}{part}.offsets", f"{PREFIX}{part}.scales")
    if not any(name in tensors for name in names):
        return None
    offsets, scales = (tensors.pop(name) for name in names)
    range_names = (f"{PREFIX}{part}.smallest", f"{PREFIX}{part}.largest")
    if not any(name in tensors for name in range_names):
        return Scaling(offsets, scales)
    return Scaling(offsets, scales, np.stack([tensors.pop(name) for name in range_names]))


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(metadata: Mapping[str, str], key: str, type_: type[T]) -> T:
    if key not in metadata:
        raise InvalidInput(key, "It is missing.")
    try:
        return msgspec.json.decode(metadata[key], type=type_)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise InvalidInput(key, f"{error}.") from error
