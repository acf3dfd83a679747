"""Activations as operators of ONNX.

onnxruntime has some of them for float32 alone; for float64 they are put together from others that it has for both. What
is missing there as well is erf: gelu of float64 takes that of float32, which is right to 10⁻⁷.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from engine.exchange.onnx_graph import Graph, element_type
from engine.names import ActivationName, DtypeName
from engine.nn.activations import LEAK, SELU_ALPHA, SELU_SCALE

_Make = Callable[["_Layer", str], str]


def activate(graph: Graph, name: ActivationName, z: str, dtype: DtypeName) -> str:
    """a = σ(z), by its name in the graph."""
    make = _OF_BOTH.get(name) or (_OF_FLOAT32 if dtype == "float32" else _OF_FLOAT64)[name]
    return make(_Layer(graph, dtype), z)


class _Layer:
    """Formulas over numbers of one type."""

    def __init__(self, graph: Graph, dtype: DtypeName) -> None:
        self.node = graph.node
        self._graph = graph
        self.dtype = dtype

    def number(self, value: float) -> str:
        return self._graph.constant(np.array(value, self.dtype))

    def where_below_zero(self, z: str, below: str, else_: str) -> str:
        return self.node("Where", self.node("Less", z, self.number(0.0)), below, else_)

    def expm1_below_zero(self, z: str) -> str:
        """eᶻ − 1 where z is below 0, and something finite elsewhere."""
        power = self.node("Exp", self.node("Min", z, self.number(0.0)))
        return self.node("Sub", power, self.number(1.0))

    def cast(self, z: str, dtype: str) -> str:
        return self.node("Cast", z, to=element_type(dtype))


def _operator(name: str, **attributes: Any) -> _Make:
    return lambda layer, z: layer.node(name, z, **attributes)


def _silu(layer: _Layer, z: str) -> str:
    return layer.node("Mul", z, layer.node("Sigmoid", z))


def _leaky_relu(layer: _Layer, z: str) -> str:
    return layer.where_below_zero(z, layer.node("Mul", z, layer.number(LEAK)), z)


def _elu(layer: _Layer, z: str) -> str:
    return layer.where_below_zero(z, layer.expm1_below_zero(z), z)


def _selu(layer: _Layer, z: str) -> str:
    below = layer.node("Mul", layer.expm1_below_zero(z), layer.number(SELU_SCALE * SELU_ALPHA))
    return layer.where_below_zero(z, below, layer.node("Mul", z, layer.number(SELU_SCALE)))


def _softplus(layer: _Layer, z: str) -> str:
    """max(z, 0) + ln(1 + e^−|z|)."""
    power = layer.node("Exp", layer.node("Neg", layer.node("Abs", z)))
    return layer.node("Add", layer.node("Relu", z), layer.node("Log", layer.node("Add", power, layer.number(1.0))))


def _gelu(layer: _Layer, z: str) -> str:
    """½ z (1 + erf(z / √2))."""
    scaled = layer.node("Mul", z, layer.number(math.sqrt(0.5)))
    erf = layer.cast(layer.node("Erf", layer.cast(scaled, "float32")), layer.dtype)
    share = layer.node("Mul", layer.node("Add", erf, layer.number(1.0)), layer.number(0.5))
    return layer.node("Mul", z, share)


_OF_BOTH: dict[ActivationName, _Make] = {
    "identity": lambda layer, z: z,
    "sigmoid": _operator("Sigmoid"),
    "tanh": _operator("Tanh"),
    "relu": _operator("Relu"),
    "silu": _silu,
    "sin": _operator("Sin"),
    "softmax": _operator("Softmax", axis=-1),
}
_OF_FLOAT32: dict[ActivationName, _Make] = {
    "leaky_relu": _operator("LeakyRelu", alpha=LEAK),
    "elu": _operator("Elu", alpha=1.0),
    "selu": _operator("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "gelu": _operator("Gelu"),
    "softplus": _operator("Softplus"),
}
_OF_FLOAT64: dict[ActivationName, _Make] = {
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "softplus": _softplus,
}
