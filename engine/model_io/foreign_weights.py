"""Networks of other makers: dense layers one after the other, and what stands between them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ActivationName, CostName, DtypeName
from nabla.engine.model_io.bundle import Hints, Portable, check_classes
from nabla.engine.model_io.tensors import (
    FIELD,
    Found,
    Tensor,
    check_finite,
    check_size,
    check_variances,
    copy_into,
    floating_type,
    listed,
    refused,
    shortened,
)
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network

Named = tuple[str, Tensor]
"""An array, and what it is called in its file."""

# The cost that goes with an output activation; with all others quadratic.
_COSTS: dict[ActivationName, CostName] = {"softmax": "categorical_cross_entropy", "sigmoid": "binary_cross_entropy"}


@dataclass(frozen=True)
class Normalization:
    """Batch normalization right behind the products of a layer. What is None is 1, or 0 for the shift."""

    means: Named
    variances: Named
    scales: Named | None
    shift: Named | None

    @property
    def arrays(self) -> list[Named]:
        return [one for one in (self.means, self.variances, self.scales, self.shift) if one is not None]


@dataclass(frozen=True)
class Dense:
    """A layer as it is in a file. `weights` are (units, inputs), or (inputs, units) if they are `transposed`."""

    weights: Named
    biases: Named | None
    transposed: bool = False
    normalization: Normalization | None = None
    activation: ActivationName | None = None

    @property
    def arrays(self) -> list[Named]:
        own = [self.weights] if self.biases is None else [self.weights, self.biases]
        return own if self.normalization is None else own + self.normalization.arrays

    @property
    def shape(self) -> tuple[int, int]:
        """(units, inputs). Raises InvalidInput."""
        name, tensor = self.weights
        if len(tensor.shape) != 2 or 0 in tensor.shape:
            raise refused(f"The array {shortened(name)} is {tensor}; the weights of a dense layer have two dimensions.")
        first, second = tensor.shape
        return (second, first) if self.transposed else (first, second)


def described(layers: Sequence[Dense], hints: Hints) -> list[Dense]:
    """With the activations that the sender names. Raises InvalidInput (field `layers`)."""
    if hints.activations is None:
        raise InvalidInput(
            "layers",
            f"The file has {len(layers)} layers, and does not say what their activations are. Expected a list with "
            'one object for each, such as [{"activation": "relu"}, {"activation": "softmax"}].',
        )
    if len(hints.activations) != len(layers):
        raise InvalidInput(
            "layers", f"The file has {len(layers)} layers; here are {len(hints.activations)}. One for each is expected."
        )
    return [replace(layer, activation=name) for layer, name in zip(layers, hints.activations, strict=True)]


def network_of(layers: Sequence[Dense], hints: Hints, most: int) -> Portable:
    """Raises InvalidInput, TooLarge if it has more than `most` parameters."""
    arrays = {name: tensor for layer in layers for name, tensor in layer.arrays}
    dtype: DtypeName = "float32" if floating_type(arrays) == np.float32 else "float64"
    for before, after in pairwise(layers):
        if after.shape[1] != before.shape[0]:
            raise refused(
                f"The array {shortened(after.weights[0])} takes {after.shape[1]} inputs; the layer before it has "
                f"{before.shape[0]} outputs."
            )
    architecture = _architecture(layers, hints, dtype)
    check_size(architecture, most)
    check_classes(hints.classes, architecture, PreprocessingConfig())
    network = Network.blank(architecture)
    for index, (layer, (w, b)) in enumerate(zip(layers, network.layers, strict=True)):
        copy_into(w, *layer.weights, transposed=layer.transposed)
        if layer.biases is not None:
            copy_into(b, *layer.biases)
        if layer.normalization is not None:
            _normalize(network, index, layer.normalization)
    return Portable(network, PreprocessingConfig(), None, hints.classes)


def _architecture(layers: Sequence[Dense], hints: Hints, dtype: DtypeName) -> Architecture:
    activations = [layer.activation or "identity" for layer in layers]
    try:
        return Architecture(
            layers[0].shape[1],
            tuple(
                Layer(layer.shape[0], name, batch_norm=layer.normalization is not None)
                for layer, name in zip(layers, activations, strict=True)
            ),
            hints.cost or _COSTS.get(activations[-1], "quadratic"),
            dtype=dtype,
        )
    except InvalidInput as problem:
        field, sentence = problem.problems[0]
        if hints.activations is None:  # then those of the file are given, and it is about the cost if that was named
            field = FIELD if hints.cost is None else "cost"
        raise InvalidInput(field, sentence) from problem


def _normalize(network: Network, index: int, normalization: Normalization) -> None:
    """A bias before batch normalization only moves the means; behind it stands the bias of the network here."""
    scales, means, variances = network.normalizations[index]
    b = network.layers[index][1]
    before = b.astype(np.float64)
    copy_into(means, *normalization.means)
    means[:] = means - before
    check_finite(means, normalization.means[0])
    copy_into(variances, *normalization.variances)
    check_variances(variances, normalization.variances[0])
    scales[:], b[:] = 1, 0
    if normalization.scales is not None:
        copy_into(scales, *normalization.scales)
    if normalization.shift is not None:
        copy_into(b, *normalization.shift)


_SCIKIT_LEARN = re.compile(r"(coefs|intercepts)_(0|[1-9][0-9]{0,4})", re.ASCII)
# The arrays of a module in a Sequential, which may itself be a part of something.
_PYTORCH = re.compile(
    r"(?:(.*)\.)?(0|[1-9][0-9]{0,4})\.(weight|bias|running_mean|running_var|num_batches_tracked)", re.ASCII
)
_NORMALIZED = "running_mean"


def layers_in(found: Found) -> Sequence[Dense]:
    """Raises InvalidInput if they are none that is known."""
    names = found.tensors.keys()
    if any(_SCIKIT_LEARN.fullmatch(name) for name in names):
        return _scikit_learn(found.tensors)
    if any(_PYTORCH.fullmatch(name) for name in names):
        return _pytorch(found.tensors)
    raise refused(
        f"The file has the arrays {listed(names)}. Accepted: a network as it was copied out here; coefs_0, "
        "intercepts_0, … as scikit-learn's MLP has them; 0.weight, 0.bias, … as PyTorch's Sequential has them."
    )


def _scikit_learn(tensors: Mapping[str, Tensor]) -> list[Dense]:
    """Weights are (inputs, units) there."""
    others = [name for name in tensors if not _SCIKIT_LEARN.fullmatch(name)]
    if others:
        raise refused(f"The file also has the array {shortened(others[0])!r}. Accepted: coefs_N and intercepts_N.")
    layers = []
    for number in range((len(tensors) + 1) // 2):
        names = (f"coefs_{number}", f"intercepts_{number}")
        for name in names:
            if name not in tensors:
                raise refused(f"The file lacks the array {name}. It has: {listed(tensors)}.")
        (weights, biases) = ((name, tensors[name]) for name in names)
        layers.append(Dense(weights, biases, transposed=True))
    return layers


def _pytorch(tensors: Mapping[str, Tensor]) -> list[Dense]:
    """A layer for every Linear; a BatchNorm1d belongs to the Linear right before it."""
    modules = _modules(tensors)
    layers: dict[int, Dense] = {}
    for number, parts in modules.items():
        if _NORMALIZED in parts:
            before = layers.get(number - 1)
            if before is None:
                raise refused(
                    f"{parts[_NORMALIZED][0]}: batch normalization is accepted right behind a Linear, before its "
                    "activation; elsewhere a network here cannot have it."
                )
            layers[number - 1] = Dense(before.weights, before.biases, normalization=_normalization(parts))
        else:
            layers[number] = _linear(parts)
    return list(layers.values())


def _modules(tensors: Mapping[str, Tensor]) -> dict[int, dict[str, Named]]:
    """In their order."""
    found: dict[int, dict[str, Named]] = {}
    prefixes = set()
    for name, tensor in tensors.items():
        match = _PYTORCH.fullmatch(name)
        if match is None:
            raise refused(f"The file also has the array {shortened(name)!r}. Accepted: those of one Sequential.")
        prefixes.add(match[1])
        found.setdefault(int(match[2]), {})[match[3]] = (name, tensor)
    if len(prefixes) > 1:
        raise refused(f"The file has arrays of {len(prefixes)} modules; one Sequential is accepted.")
    return dict(sorted(found.items()))


def _linear(parts: Mapping[str, Named]) -> Dense:
    if "weight" not in parts:
        name = next(iter(parts.values()))[0]
        raise refused(f"The file has the array {shortened(name)}, and no weight beside it; a Linear has one.")
    if parts.keys() - {"weight", "bias"}:
        raise refused(f"What {shortened(parts['weight'][0])} belongs to is no Linear; only Linear and BatchNorm1d are.")
    return Dense(parts["weight"], parts.get("bias"))


def _normalization(parts: Mapping[str, Named]) -> Normalization:
    if "running_var" not in parts:
        raise refused(f"The file has the array {shortened(parts[_NORMALIZED][0])}, and no running_var beside it.")
    return Normalization(parts[_NORMALIZED], parts["running_var"], parts.get("weight"), parts.get("bias"))
