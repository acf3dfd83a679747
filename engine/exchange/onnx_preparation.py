"""Raw inputs in an ONNX graph: what a table holds becomes numbers, and numbers are scaled, all in float64.

What ONNX cannot do is refuse: a category that was not learned has no input of its own, whatever the rule, and a number
that is missing and that nothing fills makes the outputs NaN.
"""

import numpy as np
import onnx

from engine.data.columns import Column
from engine.data.preparation import Preparation
from engine.exchange.onnx_graph import ML, Graph, element_type
from engine.nn.architecture import Architecture

_REAL = element_type(np.float64)


def raw_inputs(graph: Graph, preparation: Preparation, architecture: Architecture) -> str:
    """The network's inputs in its own type, by their name in the graph."""
    own = element_type(architecture.dtype)
    if preparation.columns is None:
        x = graph.input("inputs", own, architecture.inputs)
        if preparation.inputs is None:
            return x
        x = graph.node("Cast", x, to=_REAL)
    else:
        fills = map(float, preparation.fills)
        parts = [_column(graph, column, fill) for column, fill in zip(preparation.columns, fills, strict=True)]
        x = graph.node("Concat", *parts, axis=1)
    if preparation.inputs is not None:
        offsets = graph.array("preparation.inputs.offsets", preparation.inputs.offsets)
        scales = graph.array("preparation.inputs.scales", preparation.inputs.scales)
        x = graph.node("Mul", graph.node("Sub", x, offsets), graph.node("Reciprocal", scales))
    return graph.node("Cast", x, to=own)


def answers(graph: Graph, preparation: Preparation, outputs: str, architecture: Architecture) -> str:
    """Outputs in the units of the targets."""
    if preparation.targets is None:
        return outputs
    offsets = graph.array("preparation.targets.offsets", preparation.targets.offsets)
    scales = graph.array("preparation.targets.scales", preparation.targets.scales)
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
