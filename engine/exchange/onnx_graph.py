"""An ONNX graph, as it is put together, and written part by part: its arrays are views until they are in the file."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from engine.durable import Sink

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
