"""A network as an ONNX model: raw inputs in, answers in the units of the targets and names of classes out.

Its arrays are those of every other format, under their names behind a prefix; its words are properties of the model.
"""

import msgspec
import numpy as np
import onnx

from engine.data.preparation import Preparation
from engine.durable import Sink
from engine.errors import Conflict, InvalidInput
from engine.exchange.onnx_activations import activate
from engine.exchange.onnx_graph import Graph, element_type
from engine.exchange.onnx_preparation import answers, raw_inputs
from engine.exchange.portable import Portable
from engine.nn.batch_norm import EPSILON
from engine.nn.network import Network

# Of a message of Protocol Buffers; for all but the arrays so much is left.
_MOST_BYTES, _BESIDES = 2**31 - 1, 2**24


def write(sink: Sink, portable: Portable) -> None:
    """Raises InvalidInput if it is too large for the format; Conflict if it scales what nothing was fitted to."""
    preparation = portable.preparation
    if preparation is None:
        if portable.rule.scales:
            raise Conflict(
                "This version has not been trained: what its inputs and targets are scaled by is found by the first "
                "job, and an ONNX file needs it. Train it, or ask for safetensors or npz."
            )
        preparation = Preparation.plain(portable.rule)
    size = sum(array.nbytes for array in portable.arrays.values())
    if size > _MOST_BYTES - _BESIDES:
        raise InvalidInput(
            "format", f"The network has {size} bytes; an ONNX file holds less than 2 GiB. Accepted: safetensors, npz."
        )
    # Missing values are no numbers of JSON: NaN is written as null.
    fills = [None if np.isnan(fill) else fill for fill in preparation.fills.tolist()]
    words = {**portable.words, "fills": msgspec.json.encode(fills).decode()}
    _graph(portable, preparation).write(sink, words)


def _graph(portable: Portable, preparation: Preparation) -> Graph:
    network = portable.network
    architecture = network.architecture
    graph = Graph({column.name for column in preparation.columns or ()} or {"inputs"})
    x = raw_inputs(graph, preparation, architecture)
    outputs = answers(graph, preparation, _layers(graph, network, x), architecture)
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
