"""Import of ONNX models from untrusted sources: bundles are read from their tensors, other models from their graph.

A graph of another library must be a chain: Gemm, or MatMul and Add, batch normalization and activations between them,
and operators that do not affect predictions.
"""

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import google.protobuf.message
import numpy as np
import onnx

from nabla.engine.data import preprocessor_format
from nabla.engine.errors import InvalidInput, quote, shorten
from nabla.engine.literals import ActivationName
from nabla.engine.model_io.foreign_weights import BatchNorm, DenseLayer, NamedTensor
from nabla.engine.model_io.onnx_export import PREFIX_KEY
from nabla.engine.model_io.tensors import (
    MAX_METADATA_BYTES,
    MAX_TENSORS,
    LazyTensor,
    TensorFile,
    count_elements,
    invalid_file,
)
from nabla.engine.nn.activations import NEGATIVE_SLOPE, SELU_ALPHA, SELU_SCALE
from nabla.engine.nn.batch_norm import EPSILON
from nabla.engine.typing import AnyArray

_MAX_BYTES = 2**31 - 1
_UNREADABLE = "The file is neither safetensors nor npz, and cannot be read as ONNX; or it is damaged."
_BUNDLE_PREFIXES = ("layers.", *preprocessor_format.PREFIXES)
_DTYPES: dict[int, np.dtype[Any]] = {onnx.TensorProto.FLOAT: np.dtype("<f4"), onnx.TensorProto.DOUBLE: np.dtype("<f8")}

# Attributes in ONNX are float32, so values are compared with a tolerance.
_TOLERANCE = 1e-6
# The field that holds an attribute's value, by its type; others are compared as bytes.
_VALUE_FIELDS = {onnx.AttributeProto.FLOAT: "f", onnx.AttributeProto.INT: "i"}
# The activation of an operator, with the values that its attributes must have and their defaults in ONNX.
_ACTIVATIONS: dict[str, tuple[ActivationName, dict[str, tuple[Any, Any]]]] = {
    "Relu": ("relu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Softplus": ("softplus", {}),
    "Sin": ("sin", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": (NEGATIVE_SLOPE, 0.01)}),
    "Elu": ("elu", {"alpha": (1.0, 1.0)}),
    "Selu": ("selu", {"alpha": (SELU_ALPHA, SELU_ALPHA), "gamma": (SELU_SCALE, SELU_SCALE)}),
    "Gelu": ("gelu", {"approximate": (b"none", b"none")}),
    "Swish": ("silu", {"alpha": (1.0, 1.0)}),
}


def parse_model(path: Path) -> onnx.ModelProto:
    """Return the model of a file. Raises InvalidInput."""
    size = path.stat().st_size
    if size > _MAX_BYTES:
        raise invalid_file(f"The file has {size} bytes; an ONNX file has less than 2 GiB.")
    try:
        model = onnx.ModelProto()
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as content,
        ):
            model.ParseFromString(content)
    except google.protobuf.message.DecodeError as error:
        if "alloc" in str(error):  # the only difference between a failed allocation and a damaged file
            raise MemoryError from error
        raise invalid_file(_UNREADABLE) from error
    if not model.HasField("graph") or not model.graph.node:
        raise invalid_file(_UNREADABLE)
    if not all(isinstance(text, str) for text in _iter_texts(model)):  # text that is not UTF-8 is returned as bytes
        raise invalid_file(_UNREADABLE)
    if len(model.graph.initializer) > MAX_TENSORS:
        raise invalid_file(f"The model has {len(model.graph.initializer)} tensors; at most {MAX_TENSORS} are accepted.")
    return model


def _iter_texts(model: onnx.ModelProto) -> Iterator[object]:
    """Yield the texts of a model that the import uses."""
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for named in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        yield named.name
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.t.name)


def read_tensors(model: onnx.ModelProto) -> TensorFile:
    """Return a model's metadata and those of its initializers that a bundle may have. Raises InvalidInput."""
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    if sum(map(len, metadata.values())) > MAX_METADATA_BYTES:
        raise invalid_file(f"The metadata have more than the {MAX_METADATA_BYTES} characters that are accepted.")
    prefix = metadata.get(PREFIX_KEY, "")
    tensors = {}
    for proto in model.graph.initializer:
        name = proto.name.removeprefix(prefix)
        if name.startswith(_BUNDLE_PREFIXES):
            tensors[name] = _parse_tensor(proto)
    return TensorFile(tensors, metadata)


def _parse_tensor(proto: onnx.TensorProto) -> LazyTensor:
    """Return a tensor. Raises InvalidInput if its data is in another file or does not have the length of its shape."""
    name, shape = proto.name, tuple(proto.dims)
    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise invalid_file(f"The data of the tensor {quote(name)} is in another file; save the model in a single file.")
    elements = count_elements(shape, name)
    dtype = _DTYPES.get(proto.data_type)
    if dtype is None:
        types = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number
        type_name = types[proto.data_type].name if proto.data_type in types else f"of type {proto.data_type}"
        return LazyTensor(shape, None, type_name, lambda: _read_integers(proto))
    values = proto.float_data if dtype.itemsize == 4 else proto.double_data
    length = len(proto.raw_data) or len(values) * dtype.itemsize
    if length != elements * dtype.itemsize:
        raise invalid_file(f"The tensor {quote(name)} has {elements} elements of {dtype.name}, but {length} bytes.")

    def read() -> AnyArray:
        array = np.frombuffer(proto.raw_data, dtype) if proto.raw_data else np.array(values, dtype)
        return array.reshape(shape)

    return LazyTensor(shape, dtype, dtype.name, read)


def _read_integers(proto: onnx.TensorProto) -> AnyArray:
    """Return the values of a tensor with a shape or with axes; none of other types than int64."""
    if proto.data_type != onnx.TensorProto.INT64 or len(proto.raw_data) % 8:
        return np.zeros(0, np.int64)
    return np.frombuffer(proto.raw_data, "<i8") if proto.raw_data else np.array(proto.int64_data, np.int64)


def parse_layers(graph: onnx.GraphProto) -> list[DenseLayer]:
    """Return the layers of a graph. Raises InvalidInput, naming the node, unless it is a chain of dense layers."""
    layers: list[DenseLayer] = []
    for node in _iter_chain(graph):
        convert = _OPERATORS.get(node.proto.op_type)
        if convert is None or node.proto.domain not in ("", "ai.onnx"):
            raise node.error(f"supported are {', '.join(sorted(_OPERATORS))}.")
        convert(node, layers)
    if not layers:
        raise invalid_file("The graph has no Gemm and no MatMul; a network has at least one layer.")
    return layers


@dataclass(frozen=True)
class _ChainNode:
    """A node of the chain.

    Attributes:
        index: The node's position in the graph.
        tensors: The node's other inputs.
        value_is_first: Whether the value of the chain is the node's first input.
    """

    proto: onnx.NodeProto
    index: int
    tensors: list[NamedTensor]
    value_is_first: bool

    def attribute(self, name: str, default: Any) -> Any:
        for attribute in self.proto.attribute:
            if attribute.name == name:
                return getattr(attribute, _VALUE_FIELDS.get(attribute.type, "s"))
        return default

    def error(self, reason: str) -> InvalidInput:
        name = f"{quote(self.proto.name)} " if self.proto.name else ""
        return invalid_file(f"Node {self.index} {name}({shorten(self.proto.op_type)}) is not supported: {reason}")

    def check_attribute(self, name: str, expected: Any, default: Any) -> None:
        value = self.attribute(name, default)
        if value != expected and not (isinstance(value, float) and abs(value - expected) <= _TOLERANCE):
            raise self.error(f"its {name} is {shorten(str(value))}; expected {expected}.")


def _iter_chain(graph: onnx.GraphProto) -> Iterator[_ChainNode]:
    """Yield the nodes from the only input to the only output, each of which consumes the value before it."""
    tensors = {proto.name: proto for proto in graph.initializer}
    consumers: dict[str, list[int]] = {}
    for index, node in enumerate(graph.node):
        constant = _constant_value(node)
        if constant is not None:
            tensors[node.output[0]] = constant
        for name in dict.fromkeys(node.input):
            consumers.setdefault(name, []).append(index)
    value, output = _find_endpoints(graph, tensors)
    visited: set[int] = set()
    while value != output:
        users = consumers.get(value, [])
        silu = _match_silu(graph, value, users, consumers)
        if (len(users) != 1 and silu is None) or visited.intersection(users):
            raise invalid_file(
                f"The value {quote(value)} is used by {len(users)} nodes; only a chain, in which each value is used by "
                "the next node, is supported."
            )
        visited.update(users)
        node = silu or graph.node[users[0]]
        yield _make_chain_node(node, users[-1], value, tensors)
        value = node.output[0] if node.output else ""
    for index, node in enumerate(graph.node):
        if index not in visited and _constant_value(node) is None:
            raise _ChainNode(node, index, [], False).error("it is not part of the chain from the input to the output.")


def _find_endpoints(graph: onnx.GraphProto, tensors: Mapping[str, onnx.TensorProto]) -> tuple[str, str]:
    """Return the names of the input and the output. Before version 4 of the format, tensors are inputs as well."""
    inputs = [value.name for value in graph.input if value.name not in tensors]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise invalid_file(f"The graph has {len(inputs)} inputs and {len(graph.output)} outputs; expected one of each.")
    return inputs[0], graph.output[0].name


def _match_silu(
    graph: onnx.GraphProto, value: str, users: list[int], consumers: Mapping[str, list[int]]
) -> onnx.NodeProto | None:
    """Return one node for the product of a value and its Sigmoid; None if the value is used in any other way."""
    if len(users) != 2:
        return None
    sigmoid, product = (graph.node[index] for index in users)
    if (sigmoid.op_type, product.op_type) != ("Sigmoid", "Mul") or not sigmoid.output or not product.output:
        return None
    factor = sigmoid.output[0]
    if consumers.get(factor) != users[1:] or sorted(product.input) != sorted((value, factor)):
        return None
    return onnx.NodeProto(op_type="Swish", name=product.name, input=[value], output=product.output)


def _constant_value(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or not node.output:
        return None
    return next((attr.t for attr in node.attribute if attr.name == "value" and attr.HasField("t")), None)


def _make_chain_node(
    proto: onnx.NodeProto, index: int, value: str, tensors: Mapping[str, onnx.TensorProto]
) -> _ChainNode:
    node = _ChainNode(proto, index, [], bool(proto.input) and proto.input[0] == value)
    for name in proto.input:
        if name in tensors:
            node.tensors.append((name, _parse_tensor(tensors[name])))
        elif name not in (value, ""):
            raise node.error(f"its input {quote(name)} is not a tensor of the model.")
    return node


_Convert = Callable[[_ChainNode, list[DenseLayer]], None]
"""Adds a node to the layers before it."""


def _convert_gemm(node: _ChainNode, layers: list[DenseLayer]) -> None:
    for name, expected in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        node.check_attribute(name, expected, expected)
    if not node.value_is_first or len(node.tensors) not in (1, 2):
        raise node.error("expected the value before it, weights, and optional biases as its inputs.")
    biases = node.tensors[1] if len(node.tensors) == 2 else None
    layers.append(DenseLayer(node.tensors[0], biases, transposed=not node.attribute("transB", 0)))


def _convert_matmul(node: _ChainNode, layers: list[DenseLayer]) -> None:
    if not node.value_is_first or len(node.tensors) != 1:
        raise node.error("expected the value before it and weights as its inputs, in this order.")
    layers.append(DenseLayer(node.tensors[0], None, transposed=True))


def _convert_add(node: _ChainNode, layers: list[DenseLayer]) -> None:
    last = layers[-1] if layers else None
    if last is None or last.biases or last.batch_norm or last.activation or len(node.tensors) != 1:
        raise node.error("biases are supported right after a MatMul.")
    layers[-1] = replace(last, biases=_flatten_row(node.tensors[0]))


def _flatten_row(named: NamedTensor) -> NamedTensor:
    """Return biases of shape (1, units), as scikit-learn's converter writes them, as (units)."""
    name, tensor = named
    if len(tensor.shape) != 2 or tensor.shape[0] != 1:
        return named
    return name, replace(tensor, shape=tensor.shape[1:], read=lambda: tensor.read().reshape(-1))


def _convert_batch_normalization(node: _ChainNode, layers: list[DenseLayer]) -> None:
    last = layers[-1] if layers else None
    if last is None or last.batch_norm or last.activation:
        raise node.error("it is supported right after a Gemm, or a MatMul and its Add.")
    node.check_attribute("epsilon", EPSILON, EPSILON)
    node.check_attribute("training_mode", 0, 0)
    if len(node.tensors) != 4:
        raise node.error("expected scales, shift, means and variances as its inputs.")
    scales, shift, means, variances = node.tensors
    layers[-1] = replace(last, batch_norm=BatchNorm(means, variances, scales, shift))


def _convert_activation(name: ActivationName, attributes: dict[str, tuple[Any, Any]]) -> _Convert:
    def convert(node: _ChainNode, layers: list[DenseLayer]) -> None:
        for attribute, (expected, default) in attributes.items():
            node.check_attribute(attribute, expected, default)
        if not layers or layers[-1].activation:
            raise node.error("one activation is supported after each layer.")
        layers[-1] = replace(layers[-1], activation=name)

    return convert


def _convert_softmax(node: _ChainNode, layers: list[DenseLayer]) -> None:
    """Accept the last of the two dimensions: the default of `axis` was 1 before opset 13, and is -1 since."""
    if node.attribute("axis", -1) not in (-1, 1):
        raise node.error("its axis is not the last.")
    _convert_activation("softmax", {})(node, layers)


def _ignore(node: _ChainNode, layers: list[DenseLayer]) -> None:
    """Accept a node that does not change rows of numbers."""


def _ignore_dropout(node: _ChainNode, layers: list[DenseLayer]) -> None:
    """Accept dropout unless it has a third input, with which it may be in training mode."""
    if len(node.proto.input) > 2 and node.proto.input[2]:
        raise node.error("it may be in training mode; export the model for inference.")


def _ignore_cast(node: _ChainNode, layers: list[DenseLayer]) -> None:
    """Accept a cast to a type that holds all values; before the first layer it is to the type of the weights."""
    is_float64 = layers and layers[-1].weights[1].dtype == np.float64
    accepted = [onnx.TensorProto.DOUBLE] if is_float64 else [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE]
    if node.attribute("to", None) not in accepted:
        raise node.error("it is to another type than that of the weights.")


def _ignore_reshape(node: _ChainNode, layers: list[DenseLayer]) -> None:
    """Accept a new shape that is the shape of the value before it: rows, and the units of the last layer."""
    if not node.value_is_first or len(node.tensors) != 1 or not layers:
        raise node.error("expected the outputs of a layer and a constant shape as its inputs.")
    shape = node.tensors[0][1].read().tolist()
    if len(shape) != 2 or shape[0] not in (-1, 0) or shape[1] not in (-1, 0, layers[-1].shape[0]):
        raise node.error(f"its shape is {shape}; expected [-1, {layers[-1].shape[0]}], that of the value before it.")


def _ignore_flatten(node: _ChainNode, layers: list[DenseLayer]) -> None:
    node.check_attribute("axis", 1, 1)


_OPERATORS: dict[str, _Convert] = {
    **{operator: _convert_activation(*activation) for operator, activation in _ACTIVATIONS.items()},
    "Gemm": _convert_gemm,
    "MatMul": _convert_matmul,
    "Add": _convert_add,
    "BatchNormalization": _convert_batch_normalization,
    "Softmax": _convert_softmax,
    "Reshape": _ignore_reshape,
    "Identity": _ignore,
    "Flatten": _ignore_flatten,
    "Dropout": _ignore_dropout,
    "Cast": _ignore_cast,
}
