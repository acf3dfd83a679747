"""Networks of other makers: dense layers one after the other, and what stands between them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from engine.data.preparation import PreparationRule
from engine.errors import InvalidInput
from engine.exchange.portable import Hints, Portable
from engine.exchange.sound import check_classes
from engine.exchange.tensors import (
    FIELD,
    Tensor,
    check_finite,
    check_size,
    check_variances,
    copy_into,
    floating_type,
    refused,
    shortened,
)
from engine.names import ActivationName, CostName, DtypeName
from engine.nn.architecture import Architecture, Layer
from engine.nn.network import Network

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
    check_classes(hints.classes, architecture, PreparationRule())
    network = Network.blank(architecture)
    for index, (layer, (w, b)) in enumerate(zip(layers, network.layers, strict=True)):
        copy_into(w, *layer.weights, transposed=layer.transposed)
        if layer.biases is not None:
            copy_into(b, *layer.biases)
        if layer.normalization is not None:
            _normalize(network, index, layer.normalization)
    return Portable(network, PreparationRule(), None, hints.classes)


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
