"""Export of a network as an ONNX model, from raw inputs to outputs in the units of the targets, and class labels.

The model's initializers are the tensors of the bundle, with a prefix that keeps them apart from the inputs; the
bundle's metadata are the model's metadata properties. Preprocessing is computed in float64, as in the service.

A model cannot reject a row: an unknown category sets all inputs of its column to 0 even if `handle_unknown` is "error",
and a missing number without imputation makes the outputs NaN.
"""

import math
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import onnx

from nabla.engine.data import preprocessor_format
from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.scaling import COMPRESSION_START
from nabla.engine.data.schema import PERIOD_DAYS, Classes, Column
from nabla.engine.durable_files import Sink
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.literals import ActivationName, DtypeName
from nabla.engine.model_io.bundle import ModelBundle
from nabla.engine.nn.activations import NEGATIVE_SLOPE, SELU_ALPHA, SELU_SCALE
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.batch_norm import EPSILON
from nabla.engine.nn.network import Network
from nabla.engine.typing import AnyArray

# Versions of the domains ai.onnx and ai.onnx.ml, and the version of the file format that goes with them.
OPSET, ML_OPSET, IR_VERSION = 20, 3, 9
ML_DOMAIN = "ai.onnx.ml"
PREFIX_KEY = "prefix"
"""Metadata key of the prefix of the initializers' names."""

# Limit of a Protocol Buffers message, in bytes, and what is reserved for everything but the tensors.
_MAX_BYTES, _RESERVED_BYTES = 2**31 - 1, 2**24


def element_type(dtype: npt.DTypeLike) -> int:
    """Return the TensorProto data type of a NumPy dtype."""
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))


_FLOAT64 = element_type(np.float64)


def write_onnx(sink: Sink, bundle: ModelBundle) -> None:
    """Write a bundle as an ONNX model.

    Raises:
        InvalidInput: The network is too large for the format.
        Conflict: The network has scaling that has not been fitted.
    """
    preprocessor = bundle.preprocessor
    if preprocessor is None:
        if bundle.preprocessing.has_scaling:
            raise Conflict(
                "This version has not been trained: the first job fits the scaling of its inputs and targets, which "
                "an ONNX model needs. Train it, or export it as safetensors or npz."
            )
        preprocessor = Preprocessor.identity(bundle.preprocessing)
    size = sum(tensor.nbytes for tensor in bundle.tensors.values())
    if size > _MAX_BYTES - _RESERVED_BYTES:
        raise InvalidInput(
            "format", f"The network has {size} bytes; an ONNX file holds less than 2 GiB. Accepted: safetensors, npz."
        )
    # JSON has no NaN; null stands for a column without imputation.
    imputation = [None if np.isnan(value) else value for value in preprocessor.imputation_values.tolist()]
    metadata = {**bundle.metadata, preprocessor_format.IMPUTATION_KEY: msgspec.json.encode(imputation).decode()}
    _build_graph(bundle, preprocessor).write(sink, metadata)


def _build_graph(bundle: ModelBundle, preprocessor: Preprocessor) -> "GraphBuilder":
    network = bundle.network
    architecture = network.architecture
    graph = GraphBuilder({column.name for column in preprocessor.columns or ()} or {"inputs"})
    x = _add_preprocessing(graph, preprocessor, architecture)
    outputs = _add_target_scaling(graph, preprocessor, _add_layers(graph, network, x), architecture)
    graph.add_output("outputs", outputs, element_type(architecture.dtype), "batch", architecture.outputs)
    if bundle.classes is not None:
        labels, type_ = graph.add_labels(bundle.classes)
        label = graph.add_node("Gather", labels, _add_codes(graph, outputs, network))
        graph.add_output("label", label, type_, "batch")
    return graph


class GraphBuilder:
    """A graph whose nodes are added in order of evaluation. All methods return the name of the value they add."""

    def __init__(self, reserved_names: set[str]) -> None:
        """Choose a prefix for internal names that no reserved name begins with."""
        self.prefix = "nabla/"
        while any(name.startswith(self.prefix) for name in reserved_names):
            self.prefix += "/"
        self._reserved_names = set(reserved_names)
        self._graph = onnx.GraphProto(name="network")
        self._tensors: list[tuple[str, AnyArray]] = []

    def add_input(self, name: str, type_: int, width: int) -> str:
        """Add an input of shape (batch, width)."""
        self._graph.input.append(onnx.helper.make_tensor_value_info(name, type_, ["batch", width]))
        return name

    def add_tensor(self, name: str, values: AnyArray) -> str:
        """Add a tensor of the bundle."""
        self._tensors.append((f"{self.prefix}{name}", values))
        return self._tensors[-1][0]

    def add_constant(self, values: AnyArray) -> str:
        """Add numbers that belong to a formula."""
        return self.add_tensor(f"constant.{len(self._tensors)}", values)

    def add_labels(self, classes: Classes) -> tuple[str, int]:
        """Add a vector of the classes; also return its type: that of the classes."""
        array = np.array(classes)
        if array.dtype.kind != "U":
            return self.add_constant(array), element_type(array.dtype)
        name, type_ = f"{self.prefix}texts", int(onnx.TensorProto.STRING)
        encoded = [str(value).encode() for value in classes]
        self._graph.initializer.add(name=name, data_type=type_, dims=[len(classes)], string_data=encoded)
        return name, type_

    def add_node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output."""
        output = f"{self.prefix}{len(self._graph.node)}"
        self._graph.node.append(onnx.helper.make_node(operator, inputs, [output], output, domain=domain, **attributes))
        return output

    def add_output(self, name: str, value: str, type_: int, *shape: str | int) -> None:
        """Add an output with this name, followed by as many `_` as make it distinct from the inputs."""
        while name in self._reserved_names:
            name += "_"
        self._reserved_names.add(name)
        self._graph.node.append(onnx.helper.make_node("Identity", [value], [name], name))
        self._graph.output.append(onnx.helper.make_tensor_value_info(name, type_, shape))

    def write(self, sink: Sink, metadata: dict[str, str]) -> None:
        """Write the model without copying the tensors.

        In Protocol Buffers a repeated field may be split, so the initializers are appended to the serialized graph.
        """
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="nabla")
        for domain, version in (("", OPSET), (ML_DOMAIN, ML_OPSET)):
            model.opset_import.add(domain=domain, version=version)
        for key, value in {**metadata, PREFIX_KEY: self.prefix}.items():
            model.metadata_props.add(key=key, value=value)
        tensors = [(_encode_initializer_head(name, values), values) for name, values in self._tensors]
        graph = self._graph.SerializeToString(deterministic=True)
        length = len(graph) + sum(len(head) + values.nbytes for head, values in tensors)
        sink.write(model.SerializeToString(deterministic=True))
        sink.write(_encode_field_head(onnx.ModelProto.GRAPH_FIELD_NUMBER, length) + graph)
        for head, values in tensors:
            sink.write(head)
            sink.write(np.ascontiguousarray(values).data)


def _encode_initializer_head(name: str, values: AnyArray) -> bytes:
    """Return an initializer as a field of a graph, up to its data."""
    tensor = onnx.TensorProto(name=name, data_type=element_type(values.dtype), dims=values.shape)
    content = tensor.SerializeToString() + _encode_field_head(onnx.TensorProto.RAW_DATA_FIELD_NUMBER, values.nbytes)
    return _encode_field_head(onnx.GraphProto.INITIALIZER_FIELD_NUMBER, len(content) + values.nbytes) + bytes(content)


def _encode_field_head(number: int, length: int) -> bytes:
    """Return the tag and the length of a length-delimited field."""
    return _encode_varint(number << 3 | 2) + _encode_varint(length)


def _encode_varint(number: int) -> bytes:
    """Return a number as groups of 7 bits, the lowest first; all bytes but the last have the high bit set."""
    *groups, last = [number >> shift & 127 for shift in range(0, max(1, number.bit_length()), 7)]
    return bytes([*(group | 128 for group in groups), last])


def _add_preprocessing(graph: GraphBuilder, preprocessor: Preprocessor, architecture: Architecture) -> str:
    """Add the raw inputs and their preprocessing, up to the network's inputs in its own type."""
    dtype = element_type(architecture.dtype)
    if preprocessor.columns is None:
        x = graph.add_input("inputs", dtype, architecture.inputs)
        if preprocessor.input_scaling is None:
            return x
        x = graph.add_node("Cast", x, to=_FLOAT64)
    else:
        values = map(float, preprocessor.imputation_values)
        columns = [_add_column(graph, *pair) for pair in zip(preprocessor.columns, values, strict=True)]
        x = graph.add_node("Concat", *columns, axis=1)
    if preprocessor.input_scaling is not None:
        offsets = graph.add_tensor(f"{preprocessor_format.PREFIX}inputs.offsets", preprocessor.input_scaling.offsets)
        scales = graph.add_tensor(f"{preprocessor_format.PREFIX}inputs.scales", preprocessor.input_scaling.scales)
        x = graph.add_node("Mul", graph.add_node("Sub", x, offsets), graph.add_node("Reciprocal", scales))
        if preprocessor.config.outliers == "compress":
            x = _add_outlier_compression(graph, x)
    return graph.add_node("Cast", x, to=dtype)


def _add_outlier_compression(graph: GraphBuilder, z: str) -> str:
    """Add the formula of `compress_outliers`."""
    start = graph.add_constant(np.array(COMPRESSION_START))
    limited = graph.add_node("Clip", z, graph.add_constant(np.array(-COMPRESSION_START)), start)
    excess = graph.add_node("Sub", z, limited)
    ratio = graph.add_node("Div", graph.add_node("Abs", excess), start)
    divisor = graph.add_node("Add", ratio, graph.add_constant(np.array(1.0)))
    return graph.add_node("Add", limited, graph.add_node("Div", excess, divisor))


def _add_column(graph: GraphBuilder, column: Column, imputation_value: float) -> str:
    """Add the input of a column and its encoding, of shape (batch, inputs of the column)."""
    if column.type == "category":
        return _add_category(graph, column, imputation_value)
    if column.type == "boolean" and np.isnan(imputation_value):
        return graph.add_node("Cast", graph.add_input(column.name, onnx.TensorProto.BOOL, 1), to=_FLOAT64)
    values = graph.add_input(column.name, _FLOAT64, 1)
    if not np.isnan(imputation_value):
        is_missing = graph.add_node("IsNaN", values)
        values = graph.add_node("Where", is_missing, graph.add_constant(np.array(imputation_value)), values)
    parts = [values]
    for period in column.periods:
        angle = graph.add_node("Mul", values, graph.add_constant(np.array(2 * np.pi / PERIOD_DAYS[period])))
        # ONNX Runtime has no Cos in float64.
        shifted = graph.add_node("Add", angle, graph.add_constant(np.array(np.pi / 2)))
        parts += [graph.add_node("Sin", angle), graph.add_node("Sin", shifted)]
    return parts[0] if len(parts) == 1 else graph.add_node("Concat", *parts, axis=1)


def _add_category(graph: GraphBuilder, column: Column, imputation_value: float) -> str:
    """Add the input of a category column, in which an empty string is a missing value, and its one-hot encoding."""
    codes = {name: code for code, name in enumerate(column.categories)}
    if not np.isnan(imputation_value):
        codes.setdefault("", int(imputation_value))
    code = graph.add_node(
        "LabelEncoder",
        graph.add_input(column.name, onnx.TensorProto.STRING, 1),
        domain=ML_DOMAIN,
        keys_strings=list(codes),
        values_int64s=list(codes.values()),
        default_int64=-1 if column.other is None else column.categories.index(column.other),
    )
    known_codes = graph.add_constant(np.arange(len(column.categories)).reshape(1, -1))
    return graph.add_node("Cast", graph.add_node("Equal", code, known_codes), to=_FLOAT64)


def _add_layers(graph: GraphBuilder, network: Network, x: str) -> str:
    normalizations = network.normalizations
    for index, ((w, b), layer) in enumerate(zip(network.layers, network.architecture.layers, strict=True)):
        name = f"layers.{index}"
        weights, biases = graph.add_tensor(f"{name}.weights", w), graph.add_tensor(f"{name}.biases", b)
        if index in normalizations:
            parts = zip(("scales", "means", "variances"), normalizations[index], strict=True)
            scales, means, variances = (graph.add_tensor(f"{name}.{part}", values) for part, values in parts)
            z = graph.add_node("Gemm", x, weights, transB=1)
            z = graph.add_node("BatchNormalization", z, scales, biases, means, variances, epsilon=EPSILON)
        else:
            z = graph.add_node("Gemm", x, weights, biases, transB=1)
        x = _add_activation(graph, layer.activation, z, network.architecture.dtype)
    return x


def _add_target_scaling(
    graph: GraphBuilder, preprocessor: Preprocessor, outputs: str, architecture: Architecture
) -> str:
    """Add the conversion of outputs to the units of the targets."""
    if preprocessor.target_scaling is None:
        return outputs
    offsets = graph.add_tensor(f"{preprocessor_format.PREFIX}targets.offsets", preprocessor.target_scaling.offsets)
    scales = graph.add_tensor(f"{preprocessor_format.PREFIX}targets.scales", preprocessor.target_scaling.scales)
    scaled = graph.add_node("Mul", graph.add_node("Cast", outputs, to=_FLOAT64), scales)
    return graph.add_node("Cast", graph.add_node("Add", scaled, offsets), to=element_type(architecture.dtype))


def _add_codes(graph: GraphBuilder, outputs: str, network: Network) -> str:
    """Add the class code of each row: the largest output or, for a single output, whether it is at least ½."""
    if network.architecture.outputs > 1:
        return graph.add_node("ArgMax", outputs, axis=1, keepdims=0)
    half = graph.add_constant(np.array(0.5, network.architecture.dtype))
    is_second = graph.add_node("Cast", graph.add_node("GreaterOrEqual", outputs, half), to=onnx.TensorProto.INT64)
    return graph.add_node("Squeeze", is_second, graph.add_constant(np.array([1])))


def _add_activation(graph: GraphBuilder, name: ActivationName, z: str, dtype: DtypeName) -> str:
    """Add a = σ(z)."""
    add = _ACTIVATIONS.get(name) or (_FLOAT32_ACTIVATIONS if dtype == "float32" else _FLOAT64_ACTIVATIONS)[name]
    return add(_Formula(graph, dtype), z)


class _Formula:
    """Adds the nodes of a formula whose values have the same type."""

    def __init__(self, graph: GraphBuilder, dtype: DtypeName) -> None:
        self.node = graph.add_node
        self._graph = graph
        self.dtype = dtype

    def number(self, value: float) -> str:
        return self._graph.add_constant(np.array(value, self.dtype))

    def where_negative(self, z: str, negative: str, otherwise: str) -> str:
        return self.node("Where", self.node("Less", z, self.number(0.0)), negative, otherwise)

    def expm1_if_negative(self, z: str) -> str:
        """Add eᶻ − 1 where z < 0, and something finite elsewhere."""
        power = self.node("Exp", self.node("Min", z, self.number(0.0)))
        return self.node("Sub", power, self.number(1.0))

    def cast(self, z: str, dtype: str) -> str:
        return self.node("Cast", z, to=element_type(dtype))


_AddActivation = Callable[[_Formula, str], str]


def _operator(name: str, **attributes: Any) -> _AddActivation:
    return lambda formula, z: formula.node(name, z, **attributes)


def _silu(formula: _Formula, z: str) -> str:
    return formula.node("Mul", z, formula.node("Sigmoid", z))


def _leaky_relu(formula: _Formula, z: str) -> str:
    return formula.where_negative(z, formula.node("Mul", z, formula.number(NEGATIVE_SLOPE)), z)


def _elu(formula: _Formula, z: str) -> str:
    return formula.where_negative(z, formula.expm1_if_negative(z), z)


def _selu(formula: _Formula, z: str) -> str:
    negative = formula.node("Mul", formula.expm1_if_negative(z), formula.number(SELU_SCALE * SELU_ALPHA))
    return formula.where_negative(z, negative, formula.node("Mul", z, formula.number(SELU_SCALE)))


def _softplus(formula: _Formula, z: str) -> str:
    """Add max(z, 0) + ln(1 + e^−|z|)."""
    power = formula.node("Exp", formula.node("Neg", formula.node("Abs", z)))
    log = formula.node("Log", formula.node("Add", power, formula.number(1.0)))
    return formula.node("Add", formula.node("Relu", z), log)


def _gelu(formula: _Formula, z: str) -> str:
    """Add ½ z (1 + erf(z / √2)). ONNX Runtime has Erf in float32 only, so the error is up to 10⁻⁷."""
    scaled = formula.node("Mul", z, formula.number(math.sqrt(0.5)))
    erf = formula.cast(formula.node("Erf", formula.cast(scaled, "float32")), formula.dtype)
    half = formula.node("Mul", formula.node("Add", erf, formula.number(1.0)), formula.number(0.5))
    return formula.node("Mul", z, half)


# ONNX Runtime has the other operators in float32 only; in float64 they are composed of simpler ones.
_ACTIVATIONS: dict[ActivationName, _AddActivation] = {
    "identity": lambda formula, z: z,
    "sigmoid": _operator("Sigmoid"),
    "tanh": _operator("Tanh"),
    "relu": _operator("Relu"),
    "silu": _silu,
    "sin": _operator("Sin"),
    "softmax": _operator("Softmax", axis=-1),
}
_FLOAT32_ACTIVATIONS: dict[ActivationName, _AddActivation] = {
    "leaky_relu": _operator("LeakyRelu", alpha=NEGATIVE_SLOPE),
    "elu": _operator("Elu", alpha=1.0),
    "selu": _operator("Selu", alpha=SELU_ALPHA, gamma=SELU_SCALE),
    "gelu": _operator("Gelu"),
    "softplus": _operator("Softplus"),
}
_FLOAT64_ACTIVATIONS: dict[ActivationName, _AddActivation] = {
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "gelu": _gelu,
    "softplus": _softplus,
}
