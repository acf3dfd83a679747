"""A network as an ONNX model: raw inputs in, answers in the units of the targets and names of classes out.

Its arrays are those of every other format, under their names behind a prefix; its words are properties of the model.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.schema import Column
from nabla.engine.durable_files import Sink
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.literals import ActivationName, DtypeName
from nabla.engine.model_io.bundle import Portable
from nabla.engine.nn.activations import LEAK, SELU_ALPHA, SELU_SCALE
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.batch_norm import EPSILON
from nabla.engine.nn.network import Network

# Of ai.onnx and of ai.onnx.ml, and the version of the file format that goes with them.
OPSET, ML_OPSET, IR_VERSION = 20, 3, 9
ML = "ai.onnx.ml"

Array = npt.NDArray[Any]


class Graph:
    """Nodes in the order in which they are worked out, named so that they are none of the names that are `taken`."""

    def __init__(self, taken: set[str]) -> None:
        self.prefix = "nabla/"
        while any(name.startswith(self.prefix) for name in taken):
            self.prefix += "/"
        self._taken = set(taken)
        self._graph = onnx.GraphProto(name="network")
        self._arrays: list[tuple[str, Array]] = []

    def input(self, name: str, type_: int, width: int) -> str:
        """Rows of so many values."""
        self._graph.input.append(onnx.helper.make_tensor_value_info(name, type_, ["batch", width]))
        return name

    def array(self, name: str, values: Array) -> str:
        """Numbers that belong to the network, under the name that they have in every format."""
        self._arrays.append((f"{self.prefix}{name}", values))
        return self._arrays[-1][0]

    def constant(self, values: Array) -> str:
        """Numbers that belong to a formula."""
        return self.array(f"constant.{len(self._arrays)}", values)

    def texts(self, values: tuple[str, ...]) -> str:
        name = f"{self.prefix}texts"
        encoded = [value.encode() for value in values]
        type_ = onnx.TensorProto.STRING
        self._graph.initializer.add(name=name, data_type=type_, dims=[len(values)], string_data=encoded)
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The name of its output."""
        output = f"{self.prefix}{len(self._graph.node)}"
        self._graph.node.append(onnx.helper.make_node(operator, inputs, [output], output, domain=domain, **attributes))
        return output

    def output(self, name: str, value: str, type_: int, *shape: str | int) -> None:
        """Under this name, or with _ behind it where an input has that."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._graph.node.append(onnx.helper.make_node("Identity", [value], [name], name))
        self._graph.output.append(onnx.helper.make_tensor_value_info(name, type_, shape))

    def write(self, sink: Sink, words: dict[str, str]) -> None:
        """The model with these words. What is repeated in a message of Protocol Buffers may come in several parts."""
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="nabla")
        for domain, version in (("", OPSET), (ML, ML_OPSET)):
            model.opset_import.add(domain=domain, version=version)
        for key, value in {**words, "prefix": self.prefix}.items():
            model.metadata_props.add(key=key, value=value)
        arrays = [(self._head_of(name, values), values) for name, values in self._arrays]
        graph = self._graph.SerializeToString(deterministic=True)
        length = len(graph) + sum(len(head) + values.nbytes for head, values in arrays)
        sink.write(model.SerializeToString(deterministic=True))
        sink.write(_field(onnx.ModelProto.GRAPH_FIELD_NUMBER, length) + graph)
        for head, values in arrays:
            sink.write(head)
            sink.write(np.ascontiguousarray(values).data)

    @staticmethod
    def _head_of(name: str, values: Array) -> bytes:
        """An array as a field of a graph, up to its numbers."""
        own = onnx.TensorProto(name=name, data_type=element_type(values.dtype), dims=values.shape).SerializeToString()
        own += _field(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, values.nbytes)
        return _field(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(own) + values.nbytes) + bytes(own)


def _field(number: int, length: int) -> bytes:
    """How a field of so many bytes begins."""
    return _varint(number << 3 | 2) + _varint(length)


def _varint(number: int) -> bytes:
    """Seven bits in each byte, the lowest first."""
    *more, last = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(bits | 128 for bits in more), last])


def element_type(dtype: npt.DTypeLike) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


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

_REAL = element_type(np.float64)


def raw_inputs(graph: Graph, preprocessor: Preprocessor, architecture: Architecture) -> str:
    """The network's inputs in its own type, by their name in the graph."""
    own = element_type(architecture.dtype)
    if preprocessor.columns is None:
        x = graph.input("inputs", own, architecture.inputs)
        if preprocessor.inputs is None:
            return x
        x = graph.node("Cast", x, to=_REAL)
    else:
        fills = map(float, preprocessor.fills)
        parts = [_column(graph, column, fill) for column, fill in zip(preprocessor.columns, fills, strict=True)]
        x = graph.node("Concat", *parts, axis=1)
    if preprocessor.inputs is not None:
        offsets = graph.array("preprocessing.inputs.offsets", preprocessor.inputs.offsets)
        scales = graph.array("preprocessing.inputs.scales", preprocessor.inputs.scales)
        x = graph.node("Mul", graph.node("Sub", x, offsets), graph.node("Reciprocal", scales))
    return graph.node("Cast", x, to=own)


def answers(graph: Graph, preprocessor: Preprocessor, outputs: str, architecture: Architecture) -> str:
    """Outputs in the units of the targets."""
    if preprocessor.targets is None:
        return outputs
    offsets = graph.array("preprocessing.targets.offsets", preprocessor.targets.offsets)
    scales = graph.array("preprocessing.targets.scales", preprocessor.targets.scales)
    scaled = graph.node("Mul", graph.node("Cast", outputs, to=_REAL), scales)
    return graph.node("Cast", graph.node("Add", scaled, offsets), to=element_type(architecture.dtype))


def _column(graph: Graph, column: Column, fill: float) -> str:
    """(batch, inputs of the column)."""
    if column.type == "category":
        return _category(graph, column, fill)
    if column.type == "boolean" and np.isnan(fill):
        return graph.node("Cast", graph.input(column.name, onnx.TensorProto.BOOL, 1), to=_REAL)
    values = graph.input(column.name, _REAL, 1)
    if np.isnan(fill):
        return values
    return graph.node("Where", graph.node("IsNaN", values), graph.constant(np.array(fill)), values)


def _category(graph: Graph, column: Column, fill: float) -> str:
    """Of text, or of no text where there is no value."""
    codes = {name: code for code, name in enumerate(column.categories)}
    if not np.isnan(fill):
        codes.setdefault("", int(fill))
    code = graph.node(
        "LabelEncoder",
        graph.input(column.name, onnx.TensorProto.STRING, 1),
        domain=ML,
        keys_strings=list(codes),
        values_int64s=list(codes.values()),
        default_int64=-1,
    )
    known = graph.constant(np.arange(len(column.categories)).reshape(1, -1))
    return graph.node("Cast", graph.node("Equal", code, known), to=_REAL)


# Of a message of Protocol Buffers; for all but the arrays so much is left.
_MOST_BYTES, _BESIDES = 2**31 - 1, 2**24


def write(sink: Sink, portable: Portable) -> None:
    """Raises InvalidInput if it is too large for the format; Conflict if it scales what nothing was fitted to."""
    preprocessor = portable.preprocessor
    if preprocessor is None:
        if portable.rule.scales:
            raise Conflict(
                "This version has not been trained: what its inputs and targets are scaled by is found by the first "
                "job, and an ONNX file needs it. Train it, or ask for safetensors or npz."
            )
        preprocessor = Preprocessor.plain(portable.rule)
    size = sum(array.nbytes for array in portable.arrays.values())
    if size > _MOST_BYTES - _BESIDES:
        raise InvalidInput(
            "format", f"The network has {size} bytes; an ONNX file holds less than 2 GiB. Accepted: safetensors, npz."
        )
    # Missing values are no numbers of JSON: NaN is written as null.
    fills = [None if np.isnan(fill) else fill for fill in preprocessor.fills.tolist()]
    words = {**portable.words, "fills": msgspec.json.encode(fills).decode()}
    _graph(portable, preprocessor).write(sink, words)


def _graph(portable: Portable, preprocessor: Preprocessor) -> Graph:
    network = portable.network
    architecture = network.architecture
    graph = Graph({column.name for column in preprocessor.columns or ()} or {"inputs"})
    x = raw_inputs(graph, preprocessor, architecture)
    outputs = answers(graph, preprocessor, _layers(graph, network, x), architecture)
    graph.output("outputs", outputs, element_type(architecture.dtype), "batch", architecture.outputs)
    if portable.classes is not None:
        label = graph.node("Gather", graph.texts(portable.classes), _codes(graph, outputs, network))
        graph.output("label", label, onnx.TensorProto.STRING, "batch")
    return graph


def _layers(graph: Graph, network: Network, x: str) -> str:
    normalizations = network.normalizations
    for index, ((w, b), layer) in enumerate(zip(network.layers, network.architecture.layers, strict=True)):
        name = f"layers.{index}"
        weights, biases = graph.array(f"{name}.weights", w), graph.array(f"{name}.biases", b)
        if index in normalizations:
            parts = zip(("scales", "means", "variances"), normalizations[index], strict=True)
            scales, means, variances = (graph.array(f"{name}.{part}", values) for part, values in parts)
            z = graph.node("Gemm", x, weights, transB=1)
            z = graph.node("BatchNormalization", z, scales, biases, means, variances, epsilon=EPSILON)
        else:
            z = graph.node("Gemm", x, weights, biases, transB=1)
        x = activate(graph, layer.activation, z, network.architecture.dtype)
    return x


def _codes(graph: Graph, outputs: str, network: Network) -> str:
    """The class of each row: the largest output, or for a single output the side of ½."""
    if network.architecture.outputs > 1:
        return graph.node("ArgMax", outputs, axis=1, keepdims=0)
    half = graph.constant(np.array(0.5, network.architecture.dtype))
    side = graph.node("Cast", graph.node("GreaterOrEqual", outputs, half), to=onnx.TensorProto.INT64)
    return graph.node("Squeeze", side, graph.constant(np.array([1])))
