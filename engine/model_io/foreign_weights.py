"""Import of networks from other libraries: chains of dense layers with activations and batch normalization.

The weights of scikit-learn's MLPClassifier and MLPRegressor and of PyTorch's Sequential are recognized by their names.
ONNX graphs are converted to the same `DenseLayer` (see `onnx_import`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.errors import InvalidInput, quote, shorten
from nabla.engine.literals import ActivationName, CostName, DtypeName
from nabla.engine.model_io.bundle import ImportHints, ModelBundle, check_classes
from nabla.engine.model_io.tensors import (
    FIELD,
    LazyTensor,
    TensorFile,
    check_finite,
    check_model_size,
    check_variances,
    common_dtype,
    format_tensor_names,
    invalid_file,
    load_into,
)
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network

NamedTensor = tuple[str, LazyTensor]

# The cost that matches an output activation; quadratic for all others.
_COSTS: dict[ActivationName, CostName] = {"softmax": "categorical_cross_entropy", "sigmoid": "binary_cross_entropy"}

_SCIKIT_LEARN_NAME = re.compile(r"(coefs|intercepts)_(0|[1-9][0-9]{0,4})", re.ASCII)
# A tensor of module N of a Sequential, which may itself be a submodule.
_PYTORCH_NAME = re.compile(
    r"(?:(.*)\.)?(0|[1-9][0-9]{0,4})\.(weight|bias|running_mean|running_var|num_batches_tracked)", re.ASCII
)


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalization right after the weights of a layer. Missing scales are 1, a missing shift is 0."""

    means: NamedTensor
    variances: NamedTensor
    scales: NamedTensor | None
    shift: NamedTensor | None

    @property
    def tensors(self) -> list[NamedTensor]:
        """All tensors that are present."""
        optional = [tensor for tensor in (self.scales, self.shift) if tensor is not None]
        return [self.means, self.variances, *optional]


@dataclass(frozen=True)
class DenseLayer:
    """A dense layer of a file. `weights` are (units, inputs), or (inputs, units) if `transposed`."""

    weights: NamedTensor
    biases: NamedTensor | None
    transposed: bool = False
    batch_norm: BatchNorm | None = None
    activation: ActivationName | None = None

    @property
    def tensors(self) -> list[NamedTensor]:
        """All tensors that are present."""
        biases = [] if self.biases is None else [self.biases]
        return [self.weights, *biases, *([] if self.batch_norm is None else self.batch_norm.tensors)]

    @property
    def shape(self) -> tuple[int, int]:
        """(units, inputs). Raises InvalidInput."""
        name, tensor = self.weights
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise invalid_file(
                f"The tensor {shorten(name)} is {tensor}; the weights of a dense layer have two dimensions."
            )
        first, second = tensor.shape
        return (second, first) if self.transposed else (first, second)


def parse_layers(file: TensorFile) -> list[DenseLayer]:
    """Return the layers of a file from scikit-learn or PyTorch. Raises InvalidInput for any other tensors."""
    names = file.tensors.keys()
    if any(_SCIKIT_LEARN_NAME.fullmatch(name) for name in names):
        return _parse_scikit_learn(file.tensors)
    if any(_PYTORCH_NAME.fullmatch(name) for name in names):
        return _parse_pytorch(file.tensors)
    raise invalid_file(
        f"The file has the tensors {format_tensor_names(names)}. Accepted: a network exported by Nabla; coefs_0, "
        "intercepts_0, … of scikit-learn's MLP; 0.weight, 0.bias, … of PyTorch's Sequential."
    )


def apply_activations(layers: Sequence[DenseLayer], hints: ImportHints) -> list[DenseLayer]:
    """Return the layers with the activations of the hints. Raises InvalidInput (field `layers`)."""
    if hints.activations is None:
        raise InvalidInput(
            "layers",
            f"The file has {len(layers)} layers and does not state their activations. Expected a list with one object "
            'per layer, such as [{"activation": "relu"}, {"activation": "softmax"}].',
        )
    if len(hints.activations) != len(layers):
        raise InvalidInput(
            "layers", f"The file has {len(layers)} layers, but {len(hints.activations)} activations were sent."
        )
    return [replace(layer, activation=name) for layer, name in zip(layers, hints.activations, strict=True)]


def build_bundle(layers: Sequence[DenseLayer], hints: ImportHints, max_parameters: int) -> ModelBundle:
    """Load the layers into a network without preprocessing.

    Raises:
        InvalidInput: The layers do not fit each other or the hints.
        TooLarge: The network has more than `max_parameters` parameters.
    """
    tensors = {name: tensor for layer in layers for name, tensor in layer.tensors}
    dtype: DtypeName = "float32" if common_dtype(tensors) == np.float32 else "float64"
    for before, after in pairwise(layers):
        if after.shape[1] != before.shape[0]:
            raise invalid_file(
                f"The tensor {shorten(after.weights[0])} takes {after.shape[1]} inputs; the layer before it has "
                f"{before.shape[0]} outputs."
            )
    architecture = _build_architecture(layers, hints, dtype)
    check_model_size(architecture, max_parameters)
    check_classes(hints.classes, architecture, PreprocessingConfig())
    network = Network.blank(architecture)
    for index, (layer, (w, b)) in enumerate(zip(layers, network.layers, strict=True)):
        load_into(w, *layer.weights, transpose=layer.transposed)
        if layer.biases is not None:
            load_into(b, *layer.biases)
        if layer.batch_norm is not None:
            _load_batch_norm(network, index, layer.batch_norm)
    return ModelBundle(network, PreprocessingConfig(), None, hints.classes)


def _build_architecture(layers: Sequence[DenseLayer], hints: ImportHints, dtype: DtypeName) -> Architecture:
    activations = [layer.activation or "identity" for layer in layers]
    try:
        return Architecture(
            layers[0].shape[1],
            tuple(
                Layer(layer.shape[0], name, batch_norm=layer.batch_norm is not None)
                for layer, name in zip(layers, activations, strict=True)
            ),
            hints.cost or _COSTS.get(activations[-1], "quadratic"),
            dtype=dtype,
        )
    except InvalidInput as error:
        field, message = error.problems[0]
        if (
            hints.activations is None
        ):  # the activations are from the file, so the error is about the cost, if the client sent one
            field = FIELD if hints.cost is None else "cost"
        raise InvalidInput(field, message) from error


def _load_batch_norm(network: Network, index: int, batch_norm: BatchNorm) -> None:
    """Load batch normalization. A bias before it only moves the means; the network's own bias is the shift after it."""
    scales, means, variances = network.normalizations[index]
    b = network.layers[index][1]
    bias_before = b.astype(np.float64)
    load_into(means, *batch_norm.means)
    means[:] = means - bias_before
    check_finite(means, batch_norm.means[0])
    load_into(variances, *batch_norm.variances)
    check_variances(variances, batch_norm.variances[0])
    scales[:], b[:] = 1, 0
    if batch_norm.scales is not None:
        load_into(scales, *batch_norm.scales)
    if batch_norm.shift is not None:
        load_into(b, *batch_norm.shift)


def _parse_scikit_learn(tensors: Mapping[str, LazyTensor]) -> list[DenseLayer]:
    """Return the layers of an MLP, whose weights are (inputs, units)."""
    unknown = [name for name in tensors if not _SCIKIT_LEARN_NAME.fullmatch(name)]
    if unknown:
        raise invalid_file(f"The tensor {quote(unknown[0])} is unknown. Accepted: coefs_N and intercepts_N.")
    layers = []
    for number in range((len(tensors) + 1) // 2):
        names = (f"coefs_{number}", f"intercepts_{number}")
        for name in names:
            if name not in tensors:
                raise invalid_file(f"The tensor {name} is missing. The file has: {format_tensor_names(tensors)}.")
        weights, biases = ((name, tensors[name]) for name in names)
        layers.append(DenseLayer(weights, biases, transposed=True))
    return layers


def _parse_pytorch(tensors: Mapping[str, LazyTensor]) -> list[DenseLayer]:
    """Return a layer per Linear; a BatchNorm1d belongs to the Linear right before it."""
    layers: dict[int, DenseLayer] = {}
    for number, module in _group_by_module(tensors).items():
        if "running_mean" in module:
            before = layers.get(number - 1)
            if before is None:
                raise invalid_file(
                    f"{shorten(module['running_mean'][0])}: batch normalization is supported right after a Linear, "
                    "before its activation, and nowhere else."
                )
            layers[number - 1] = replace(before, batch_norm=_parse_batch_norm(module))
        elif "weight" in module and len(module["weight"][1].shape) == 1:
            raise invalid_file(
                f"The module {number} has {module['weight'][1]} and no running_mean: a LayerNorm or another "
                "normalization of each row, which is not supported. Batch normalization is (batch_norm of a layer)."
            )
        else:
            layers[number] = _parse_linear(module)
    return list(layers.values())


def _group_by_module(tensors: Mapping[str, LazyTensor]) -> dict[int, dict[str, NamedTensor]]:
    """Return the tensors of each module of a Sequential by their names, in the order of the modules."""
    modules: dict[int, dict[str, NamedTensor]] = {}
    prefixes = set()
    for name, tensor in tensors.items():
        match = _PYTORCH_NAME.fullmatch(name)
        if match is None:
            raise invalid_file(f"The tensor {quote(name)} is unknown. Accepted: the tensors of one Sequential.")
        prefixes.add(match[1])
        modules.setdefault(int(match[2]), {})[match[3]] = (name, tensor)
    if len(prefixes) > 1:
        raise invalid_file(f"The file has tensors of {len(prefixes)} modules; one Sequential is accepted.")
    return dict(sorted(modules.items()))


def _parse_linear(module: Mapping[str, NamedTensor]) -> DenseLayer:
    if "weight" not in module:
        name = next(iter(module.values()))[0]
        raise invalid_file(
            f"The file has the tensor {shorten(name)} and no weight of the same module; a Linear has one."
        )
    if module.keys() - {"weight", "bias"}:
        raise invalid_file(
            f"The module of {shorten(module['weight'][0])} is not supported; accepted: Linear and BatchNorm1d."
        )
    return DenseLayer(module["weight"], module.get("bias"))


def _parse_batch_norm(module: Mapping[str, NamedTensor]) -> BatchNorm:
    if "running_var" not in module:
        name = module["running_mean"][0]
        raise invalid_file(f"The file has the tensor {shorten(name)} and no running_var of the same module.")
    return BatchNorm(module["running_mean"], module["running_var"], module.get("weight"), module.get("bias"))
