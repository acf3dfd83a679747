"""ONNX models that anybody may have made: those of our own by their arrays and words, others by their graph."""

import mmap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import google.protobuf.message
import msgspec
import numpy as np
import onnx

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ActivationName
from nabla.engine.model_io.foreign_weights import Dense, Named, Normalization
from nabla.engine.model_io.tensors import MOST_TENSORS, MOST_WORDS, Array, Found, Tensor, numbers_in, refused, shortened
from nabla.engine.nn.activations import LEAK, SELU_ALPHA, SELU_SCALE
from nabla.engine.nn.batch_norm import EPSILON
from nabla.engine.training.checkpoint import PREFIX

_MOST_BYTES = 2**31 - 1
_NOT_KNOWN = "The file is neither safetensors nor npz, and cannot be read as ONNX; or it is damaged."
_FILLS = f"{PREFIX}fills"
_OWN = ("layers.", PREFIX)
_TYPES: dict[int, np.dtype[Any]] = {onnx.TensorProto.FLOAT: np.dtype("<f4"), onnx.TensorProto.DOUBLE: np.dtype("<f8")}


def model_in(path: Path) -> onnx.ModelProto:
    """Raises InvalidInput."""
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise refused(f"The file has {size} bytes; an ONNX file has less than 2 GiB.")
    try:
        model = onnx.ModelProto()
        with (
            path.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
            memoryview(mapped) as content,
        ):
            model.ParseFromString(content)
    except google.protobuf.message.DecodeError as problem:
        if "alloc" in str(problem):  # all that tells it from what is damaged
            raise MemoryError from problem
        raise refused(_NOT_KNOWN) from problem
    if not model.HasField("graph") or not model.graph.node:
        raise refused(_NOT_KNOWN)
    if not all(isinstance(text, str) for text in _texts(model)):
        raise refused(_NOT_KNOWN)
    if len(model.graph.initializer) > MOST_TENSORS:
        raise refused(f"The model has {len(model.graph.initializer)} arrays; at most {MOST_TENSORS} are accepted.")
    return model


def _texts(model: onnx.ModelProto) -> Iterator[object]:
    """All that is looked at. What is not UTF-8 comes as bytes."""
    for entry in model.metadata_props:
        yield from (entry.key, entry.value)
    for named in (*model.graph.initializer, *model.graph.input, *model.graph.output):
        yield named.name
    for node in model.graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        for attribute in node.attribute:
            yield from (attribute.name, attribute.t.name)


def found_in(model: onnx.ModelProto) -> Found:
    """The words of a model, and those of its arrays that have names of ours. Raises InvalidInput."""
    words = {entry.key: entry.value for entry in model.metadata_props}
    if sum(map(len, words.values())) > MOST_WORDS:
        raise refused(f"The metadata of the model have more than the {MOST_WORDS} characters that are accepted.")
    prefix = words.get("prefix", "")
    tensors = {}
    for proto in model.graph.initializer:
        name = proto.name.removeprefix(prefix)
        if name.startswith(_OWN):
            tensors[name] = tensor_of(proto)
    if "preparation" in words:
        fills = _fills(words.get("fills", ""))
        tensors[_FILLS] = Tensor(fills.shape, fills.dtype, "float64", lambda: fills)
    return Found(tensors, words)


def tensor_of(proto: onnx.TensorProto) -> Tensor:
    """Raises InvalidInput if its numbers are in another file, or not as many as it says."""
    name, shape = proto.name, tuple(proto.dims)
    if proto.data_location == onnx.TensorProto.EXTERNAL or proto.external_data:
        raise refused(f"The array {shortened(name)!r} lies in another file; save the model with all data in one file.")
    amount = numbers_in(shape, name)
    dtype = _TYPES.get(proto.data_type)
    if dtype is None:
        known = onnx.TensorProto.DataType.DESCRIPTOR.values_by_number
        kind = known[proto.data_type].name if proto.data_type in known else f"of type {proto.data_type}"
        return Tensor(shape, None, kind, lambda: np.zeros(0))
    values = proto.float_data if dtype.itemsize == 4 else proto.double_data
    length = len(proto.raw_data) or len(values) * dtype.itemsize
    if length != amount * dtype.itemsize:
        raise refused(
            f"The array {shortened(name)!r} is said to have {amount} numbers of {dtype.name}; it has {length} bytes."
        )

    def read() -> Array:
        numbers = np.frombuffer(proto.raw_data, dtype) if proto.raw_data else np.array(values, dtype)
        return numbers.reshape(shape)

    return Tensor(shape, dtype, dtype.name, read)


def _fills(text: str) -> Array:
    """Raises InvalidInput."""
    try:
        fills = msgspec.json.decode(text, type=list[float | None])
    except (msgspec.DecodeError, UnicodeError) as problem:
        raise refused(
            "What the file says under fills cannot be read; a list of numbers and nulls is expected."
        ) from problem
    return np.array([np.nan if fill is None else fill for fill in fills], np.float64)


# Attributes of ONNX are float32.
_TOLERANCE = 1e-6
# Where the value of an attribute is, by its type.
_VALUES = {onnx.AttributeProto.FLOAT: "f", onnx.AttributeProto.INT: "i"}
# By operator: the activation, and its attributes, where those of a network here are fixed, with their defaults there.
_ACTIVATIONS: dict[str, tuple[ActivationName, dict[str, tuple[Any, Any]]]] = {
    "Relu": ("relu", {}),
    "Sigmoid": ("sigmoid", {}),
    "Tanh": ("tanh", {}),
    "Softplus": ("softplus", {}),
    "Sin": ("sin", {}),
    "LeakyRelu": ("leaky_relu", {"alpha": (LEAK, 0.01)}),
    "Elu": ("elu", {"alpha": (1.0, 1.0)}),
    "Selu": ("selu", {"alpha": (SELU_ALPHA, SELU_ALPHA), "gamma": (SELU_SCALE, SELU_SCALE)}),
    "Gelu": ("gelu", {"approximate": (b"none", b"none")}),
    "Swish": ("silu", {"alpha": (1.0, 1.0)}),
}


class _Step(NamedTuple):
    """A node of the chain, what it takes besides the chain, and whether the chain comes first."""

    node: onnx.NodeProto
    number: int
    arrays: list[Named]
    first: bool

    def attribute(self, name: str, default: Any) -> Any:
        for attribute in self.node.attribute:
            if attribute.name == name:
                return getattr(attribute, _VALUES.get(attribute.type, "s"))
        return default

    def refused(self, why: str) -> InvalidInput:
        called = f"{shortened(self.node.name)!r} " if self.node.name else ""
        return refused(f"Node {self.number} {called}({shortened(self.node.op_type)}) is not accepted: {why}")

    def expect(self, name: str, wanted: Any, default: Any) -> None:
        found = self.attribute(name, default)
        same = found == wanted or (isinstance(found, float) and abs(found - wanted) <= _TOLERANCE)
        if not same:
            raise self.refused(f"its {name} is {shortened(str(found))}; {wanted} is what a network here has.")


def layers_in(graph: onnx.GraphProto) -> list[Dense]:
    """Raises InvalidInput, naming the node, if it is anything else."""
    layers: list[Dense] = []
    for step in _chain(graph):
        take = _OPERATORS.get(step.node.op_type)
        if take is None or step.node.domain not in ("", "ai.onnx"):
            raise step.refused(f"it is none of {', '.join(sorted(_OPERATORS))}.")
        take(step, layers)
    if not layers:
        raise refused("The graph has no Gemm and no MatMul; a network has at least one layer.")
    return layers


def _chain(graph: onnx.GraphProto) -> Iterator[_Step]:
    """The nodes from the only input to the only output, each of which takes the value before it."""
    arrays = {proto.name: proto for proto in graph.initializer}
    takes: dict[str, list[int]] = {}
    for number, node in enumerate(graph.node):
        constant = _constant(node)
        if constant is not None:
            arrays[node.output[0]] = constant
        for name in dict.fromkeys(node.input):
            takes.setdefault(name, []).append(number)
    value, end = _ends(graph, arrays)
    passed: set[int] = set()
    while value != end:
        users = takes.get(value, [])
        silu = _silu(graph, value, users, takes)
        if (len(users) != 1 and silu is None) or passed.intersection(users):
            raise refused(
                f"The value {shortened(value)!r} is used by {len(users)} nodes; a chain, in which each is used by the "
                "next, is accepted."
            )
        passed.update(users)
        node = silu or graph.node[users[0]]
        yield _step(node, users[-1], value, arrays)
        value = node.output[0] if node.output else ""
    for number, node in enumerate(graph.node):
        if number not in passed and _constant(node) is None:
            raise _Step(node, number, [], False).refused("it is no part of the chain from the input to the output.")


def _ends(graph: onnx.GraphProto, arrays: Mapping[str, onnx.TensorProto]) -> tuple[str, str]:
    """The names of the input and the output. In older models arrays are among the inputs."""
    inputs = [one.name for one in graph.input if one.name not in arrays]
    if len(inputs) != 1 or len(graph.output) != 1:
        raise refused(
            f"The graph has {len(inputs)} inputs and {len(graph.output)} outputs; a chain with one of each is accepted."
        )
    return inputs[0], graph.output[0].name


def _silu(
    graph: onnx.GraphProto, value: str, users: list[int], takes: Mapping[str, list[int]]
) -> onnx.NodeProto | None:
    """A value times its Sigmoid, as one node; None if it is used in any other way."""
    if len(users) != 2:
        return None
    sigmoid, product = (graph.node[number] for number in users)
    if (sigmoid.op_type, product.op_type) != ("Sigmoid", "Mul") or not sigmoid.output or not product.output:
        return None
    share = sigmoid.output[0]
    if takes.get(share) != users[1:] or sorted(product.input) != sorted((value, share)):
        return None
    return onnx.NodeProto(op_type="Swish", name=product.name, input=[value], output=product.output)


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    if node.op_type != "Constant" or not node.output:
        return None
    return next((one.t for one in node.attribute if one.name == "value" and one.HasField("t")), None)


def _step(node: onnx.NodeProto, number: int, value: str, arrays: Mapping[str, onnx.TensorProto]) -> _Step:
    found: list[Named] = []
    step = _Step(node, number, found, bool(node.input) and node.input[0] == value)
    for name in node.input:
        if name in arrays:
            found.append((name, tensor_of(arrays[name])))
        elif name not in (value, ""):
            raise step.refused(f"its input {shortened(name)!r} is no array of the model.")
    return step


_Take = Callable[[_Step, list[Dense]], None]


def _gemm(step: _Step, layers: list[Dense]) -> None:
    for name, wanted in (("alpha", 1.0), ("beta", 1.0), ("transA", 0)):
        step.expect(name, wanted, wanted)
    if not step.first or len(step.arrays) not in (1, 2):
        raise step.refused("it takes the value before it, weights, and biases if there are any.")
    biases = step.arrays[1] if len(step.arrays) == 2 else None
    layers.append(Dense(step.arrays[0], biases, transposed=not step.attribute("transB", 0)))


def _mat_mul(step: _Step, layers: list[Dense]) -> None:
    if not step.first or len(step.arrays) != 1:
        raise step.refused("it takes the value before it, and weights behind that.")
    layers.append(Dense(step.arrays[0], None, transposed=True))


def _add(step: _Step, layers: list[Dense]) -> None:
    last = layers[-1] if layers else None
    if last is None or last.biases or last.normalization or last.activation or len(step.arrays) != 1:
        raise step.refused("biases are added right behind a MatMul.")
    layers[-1] = replace(last, biases=step.arrays[0])


def _batch_normalization(step: _Step, layers: list[Dense]) -> None:
    last = layers[-1] if layers else None
    if last is None or last.normalization or last.activation:
        raise step.refused("it is accepted right behind a Gemm, or a MatMul and its Add.")
    step.expect("epsilon", EPSILON, EPSILON)
    step.expect("training_mode", 0, 0)
    if len(step.arrays) != 4:
        raise step.refused("it takes scales, biases, means and variances.")
    scales, shift, means, variances = step.arrays
    layers[-1] = replace(last, normalization=Normalization(means, variances, scales, shift))


def _activation(name: ActivationName, expected: dict[str, tuple[Any, Any]]) -> _Take:
    def take(step: _Step, layers: list[Dense]) -> None:
        for attribute, (wanted, default) in expected.items():
            step.expect(attribute, wanted, default)
        if not layers or layers[-1].activation:
            raise step.refused("an activation is accepted behind a layer, one for each.")
        layers[-1] = replace(layers[-1], activation=name)

    return take


def _softmax(step: _Step, layers: list[Dense]) -> None:
    """Over the last of the two dimensions that there are, which was 1 by default, and is -1 by now."""
    if step.attribute("axis", -1) not in (-1, 1):
        raise step.refused("it is over another dimension than the last.")
    _activation("softmax", {})(step, layers)


def _nothing(step: _Step, layers: list[Dense]) -> None:
    """What leaves rows of numbers as they are."""


def _dropout(step: _Step, layers: list[Dense]) -> None:
    """Drops nothing but in training."""
    if len(step.node.input) > 2 and step.node.input[2]:
        raise step.refused("it may drop something; a model for predictions is accepted.")


def _cast(step: _Step, layers: list[Dense]) -> None:
    """To a type that holds what comes. Before the first layer it is to that of the weights."""
    wide = layers and layers[-1].weights[1].dtype == np.float64
    accepted = [onnx.TensorProto.DOUBLE] if wide else [onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE]
    if step.attribute("to", None) not in accepted:
        raise step.refused("it is to another type than that of the weights.")


def _flatten(step: _Step, layers: list[Dense]) -> None:
    step.expect("axis", 1, 1)


_OPERATORS: dict[str, _Take] = {
    **{operator: _activation(*known) for operator, known in _ACTIVATIONS.items()},
    "Gemm": _gemm,
    "MatMul": _mat_mul,
    "Add": _add,
    "BatchNormalization": _batch_normalization,
    "Softmax": _softmax,
    "Identity": _nothing,
    "Flatten": _flatten,
    "Dropout": _dropout,
    "Cast": _cast,
}
