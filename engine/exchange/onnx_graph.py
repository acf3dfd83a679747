"""An ONNX graph, as it is put together."""

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

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
        self._nodes: list[onnx.NodeProto] = []
        self._arrays: list[onnx.TensorProto] = []
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, type_: int, width: int) -> str:
        """Rows of so many values."""
        self._inputs.append(onnx.helper.make_tensor_value_info(name, type_, ["batch", width]))
        return name

    def array(self, name: str, values: Array) -> str:
        """Numbers that belong to the network, under the name that they have in every format."""
        self._arrays.append(onnx.numpy_helper.from_array(np.asarray(values), f"{self.prefix}{name}"))
        return f"{self.prefix}{name}"

    def constant(self, values: Array) -> str:
        """Numbers that belong to a formula."""
        return self.array(f"constant.{len(self._arrays)}", values)

    def texts(self, values: tuple[str, ...]) -> str:
        name = f"{self.prefix}texts.{len(self._arrays)}"
        encoded = [value.encode() for value in values]
        self._arrays.append(
            onnx.TensorProto(data_type=onnx.TensorProto.STRING, dims=[len(values)], string_data=encoded, name=name)
        )
        return name

    def node(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """The name of its output."""
        output = f"{self.prefix}{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(operator, inputs, [output], output, domain=domain, **attributes))
        return output

    def output(self, name: str, value: str, type_: int, *shape: str | int) -> None:
        """Under this name, or with _ behind it where an input has that."""
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        self._nodes.append(onnx.helper.make_node("Identity", [value], [name], name))
        self._outputs.append(onnx.helper.make_tensor_value_info(name, type_, shape))

    def model(self, words: dict[str, str]) -> onnx.ModelProto:
        graph = onnx.helper.make_graph(self._nodes, "network", self._inputs, self._outputs, self._arrays)
        opsets = [onnx.helper.make_opsetid("", OPSET), onnx.helper.make_opsetid(ML, ML_OPSET)]
        model = onnx.helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="nabla")
        onnx.helper.set_model_props(model, {**words, "prefix": self.prefix})
        return model


def element_type(dtype: npt.DTypeLike) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
