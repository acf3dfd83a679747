"""Import of ONNX models from other libraries: chains of layers are converted, everything else is rejected."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto
from onnx.helper import make_attribute, make_graph, make_model, make_node, make_opsetid, make_tensor_value_info
from onnx.numpy_helper import from_array

from nabla.engine.errors import InvalidInput
from tests.unit.model_io.sample_networks import import_file, predict

RNG = np.random.default_rng(8)
W1, B1, W2, B2 = (RNG.normal(0, 0.5, shape).astype("f4") for shape in ((4, 6), (6,), (6, 3), (3,)))
SCALES, SHIFT, MEANS = (RNG.normal(0, 1, 6).astype("f4") for _ in range(3))
VARIANCES = RNG.uniform(0.5, 2, 6).astype("f4")
X = RNG.normal(0, 1, (50, 4)).astype("f4")
ARRAYS = {
    "w1": W1,
    "w1t": np.ascontiguousarray(W1.T),
    "b1": B1,
    "w2": W2,
    "b2": B2,
    "scales": SCALES,
    "shift": SHIFT,
    "means": MEANS,
    "variances": VARIANCES,
    "b1 row": B1[np.newaxis],
    "b2 row": B2[np.newaxis],
    "shape": np.array([-1, 3]),
    "other shape": np.array([3, -1]),
}


def model(nodes: Sequence[onnx.NodeProto], **arrays: Any) -> onnx.ModelProto:
    """Return a model from x to y with the tensors that the nodes use."""
    known = {**ARRAYS, **arrays}
    used = [name for name in known if any(name in node.input for node in nodes) and known[name] is not None]
    dtype = known[used[0]].dtype if used else np.dtype("f4")
    type_ = onnx.helper.np_dtype_to_tensor_dtype(dtype)
    graph = make_graph(
        list(nodes),
        "other",
        [make_tensor_value_info("x", type_, ["n", 4])],
        [make_tensor_value_info("y", type_, ["n", 3])],
        [from_array(np.asarray(known[name]), name) for name in used],
    )
    return make_model(graph, opset_imports=[make_opsetid("", 20)], ir_version=9)


def chain(*steps: tuple[str, Sequence[str], dict[str, Any]] | tuple[str, Sequence[str]]) -> list[onnx.NodeProto]:
    """Return nodes, each of which takes the output of the one before it, and the named tensors."""
    nodes, value = [], "x"
    for number, (operator, arrays, *attributes) in enumerate(steps):
        after = "y" if number == len(steps) - 1 else f"v{number}"
        nodes.append(make_node(operator, [value, *arrays], [after], f"node-{number}", **(attributes or [{}])[0]))
        value = after
    return nodes


FIRST = ("Gemm", ["w1", "b1"])
LAST = ("Gemm", ["w2", "b2"])
NORM = ("BatchNormalization", ["scales", "shift", "means", "variances"])
CHAINS: dict[str, list[onnx.NodeProto]] = {
    "gemm": chain(FIRST, ("Relu", []), LAST),
    "gemm, transposed": chain(("Gemm", ["w1t", "b1"], {"transB": 1}), ("Tanh", []), LAST, ("Softmax", [])),
    "without biases": chain(("Gemm", ["w1"]), ("Elu", []), ("MatMul", ["w2"]), ("Sigmoid", [])),
    "matmul and add": chain(
        ("MatMul", ["w1"]), ("Add", ["b1"]), ("LeakyRelu", []), ("MatMul", ["w2"]), ("Add", ["b2"])
    ),
    "add with swapped inputs": [
        make_node("MatMul", ["x", "w1"], ["a"]),
        make_node("Add", ["b1", "a"], ["b"]),
        make_node("Selu", ["b"], ["c"]),
        make_node("Gemm", ["c", "w2", "b2"], ["y"]),
    ],
    "as scikit-learn's converter writes them": chain(
        ("Cast", [], {"to": TensorProto.FLOAT}),
        *(("MatMul", ["w1"]), ("Add", ["b1 row"]), ("Relu", []), ("MatMul", ["w2"]), ("Add", ["b2 row"])),
        ("Reshape", ["shape"]),
    ),
    "silu": [
        make_node("Gemm", ["x", "w1", "b1"], ["v0"]),
        make_node("Sigmoid", ["v0"], ["share"]),
        make_node("Mul", ["share", "v0"], ["a"]),
        make_node("Gemm", ["a", "w2", "b2"], ["y"]),
    ],
    "batch norm": chain(FIRST, NORM, ("Softplus", []), LAST),
    "batch norm without biases": chain(("MatMul", ["w1"]), NORM, LAST, ("Sin", [])),
    "operators that change nothing": chain(
        ("Flatten", []),
        ("Cast", [], {"to": TensorProto.FLOAT}),
        FIRST,
        ("Dropout", []),
        ("Gelu", []),
        ("Identity", []),
        LAST,
        ("Softmax", [], {"axis": 1}),
    ),
}


@pytest.mark.parametrize("kind", CHAINS)
def test_supported_chains(kind: str, tmp_path: Path) -> None:
    content = model(CHAINS[kind]).SerializeToString()
    (expected,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"x": X})
    bundle = import_file(content, tmp_path)
    np.testing.assert_allclose(predict(bundle, X.tolist()), expected, rtol=1e-6, atol=1e-6)
    assert bundle.network.architecture.dtype == "float32"
    assert (bundle.preprocessor, bundle.classes) == (None, None)


def test_tensor_data_in_every_place_that_onnx_allows(tmp_path: Path) -> None:
    wide = {name: array.astype("f8") for name, array in ARRAYS.items()}
    bundle = import_file(model(CHAINS["gemm"], **wide).SerializeToString(), tmp_path)
    in_fields = model(CHAINS["gemm"], **wide)
    for array in in_fields.graph.initializer:
        array.double_data[:] = np.frombuffer(array.raw_data).tolist()
        array.ClearField("raw_data")
    constants = model(CHAINS["gemm"], **wide)
    for array in constants.graph.initializer:
        constants.graph.node.insert(0, make_node("Constant", [], [array.name], value=array))
    del constants.graph.initializer[:]
    inputs = model(CHAINS["gemm"], **wide)  # as before version 4 of the format
    for array in inputs.graph.initializer:
        inputs.graph.input.append(make_tensor_value_info(array.name, array.data_type, list(array.dims)))
    for other in (in_fields, constants, inputs):
        bundle = import_file(other.SerializeToString(), tmp_path)
        assert bundle.network.parameters.tobytes() == bundle.network.parameters.tobytes()
    assert bundle.network.architecture.dtype == "float64"
    np.testing.assert_array_equal(bundle.network.layers[0][0], W1.T.astype("f8"))


def test_cost_and_classes_from_hints(tmp_path: Path) -> None:
    content = model(CHAINS["gemm, transposed"]).SerializeToString()
    assert import_file(content, tmp_path).network.architecture.cost == "categorical_cross_entropy"
    hinted = import_file(content, tmp_path, cost="huber", classes=("a", "b", "c"), format="onnx")
    assert (hinted.network.architecture.cost, hinted.classes) == ("huber", ("a", "b", "c"))
    for hints, field, message in (
        ({"classes": ("a", "b")}, "classes", "needs 3"),
        ({"cost": "poisson"}, "cost", "the last layer needs softplus"),
        ({"activations": ("relu", "relu")}, "layers", "omit layers"),
        ({"format": "npz"}, "format", "The file is onnx, not npz"),
    ):
        with pytest.raises(InvalidInput, match=message) as error:
            import_file(content, tmp_path, **hints)
        assert error.value.problems[0][0] == field


def edit_model(change: Callable[[onnx.ModelProto], None], kind: str = "gemm") -> onnx.ModelProto:
    proto = model(CHAINS[kind])
    change(proto)
    return proto


def _external(proto: onnx.ModelProto) -> None:
    array = proto.graph.initializer[0]
    array.ClearField("raw_data")
    array.data_location = TensorProto.EXTERNAL
    array.external_data.add(key="location", value="/etc/passwd")


def _exabytes(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [2**40, 2**40]


def _negative(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].dims[:] = [-4, -6]


def _float16(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].CopyFrom(from_array(W1.astype("f2"), "w1"))


def _unknown_type(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].data_type = 4711


def _nan(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].raw_data = np.full(24, np.nan, "f4").tobytes()


def _two_inputs(proto: onnx.ModelProto) -> None:
    proto.graph.input.append(make_tensor_value_info("z", 1, ["n", 4]))


def _cycle(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].output[0] = "v1"
    proto.graph.node[1].output[0] = "v0"


def _from_itself(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].output[0] = "x"


def _no_output(proto: onnx.ModelProto) -> None:
    del proto.graph.node[2].output[:]


def _branch(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(make_node("Relu", ["v0"], ["elsewhere"]))


def _square(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].CopyFrom(make_node("Mul", ["v0", "v0"], ["v1"]))


def _other_product(proto: onnx.ModelProto) -> None:
    proto.graph.node.insert(1, make_node("Sigmoid", ["v0"], ["share"]))
    proto.graph.node[2].CopyFrom(make_node("Mul", ["share", "share"], ["v1"]))


def _other_domain(proto: onnx.ModelProto) -> None:
    proto.graph.node[1].domain = "com.example"


def _text_for_a_number(proto: onnx.ModelProto) -> None:
    proto.graph.node[0].attribute.append(make_attribute("alpha", "much"))


INVALID: dict[str, tuple[onnx.ModelProto, str]] = {
    "external data": (edit_model(_external), "'w1' is in another file"),
    "wrong dimensions": (edit_model(_exabytes), "has 1208925819614629174706176 elements"),
    "negative dimensions": (edit_model(_negative), "dimension below 0"),
    "float16": (edit_model(_float16), "w1 is FLOAT16; accepted: float32 and float64"),
    "unknown type": (edit_model(_unknown_type), "w1 is of type 4711"),
    "NaN": (edit_model(_nan), "w1 holds NaN"),
    "two inputs": (edit_model(_two_inputs), "2 inputs and 1 outputs"),
    "cycle": (edit_model(_cycle), r"Node 1 'node-1' \(Relu\) is not supported: it is not part"),
    "node that feeds itself": (edit_model(_from_itself), "is used by 1 nodes"),
    "node without an output": (edit_model(_no_output), "is used by 0 nodes"),
    "branch": (edit_model(_branch), "'v0' is used by 2 nodes"),
    "square": (edit_model(_square), r"\(Mul\) is not supported: supported are"),
    "another product": (edit_model(_other_product), r"\(Mul\) is not supported: supported are"),
    "another domain": (edit_model(_other_domain), r"Node 1 'node-1' \(Relu\) is not supported: supported are"),
    "text for a number": (edit_model(_text_for_a_number), "alpha is b'much'; expected 1.0"),
    "another operator": (
        model(chain(("Conv", ["w1"]), LAST)),
        r"\(Conv\) is not supported: supported are Add, BatchNormalization, Cast, Dropout",
    ),
    "no layer": (model(chain(("Identity", []))), "no Gemm and no MatMul"),
    "activation first": (model(chain(("Relu", []), FIRST, LAST)), "supported after each layer"),
    "two activations": (model(chain(FIRST, ("Relu", []), ("Tanh", []), LAST)), "one activation is supported"),
    "another slope": (model(chain(FIRST, ("LeakyRelu", [], {"alpha": 0.2}), LAST)), "alpha is 0.2"),
    "approximate gelu": (model(chain(FIRST, ("Gelu", [], {"approximate": "tanh"}), LAST)), "approximate is b'tanh'"),
    "another epsilon": (model(chain(FIRST, (*NORM, {"epsilon": 1e-3}), LAST)), "epsilon is 0.001"),
    "batch norm behind the activation": (model(chain(FIRST, ("Relu", []), NORM, LAST)), "right after a Gemm"),
    "softmax over rows": (model(chain(FIRST, LAST, ("Softmax", [], {"axis": 0}))), "axis is not the last"),
    "factor": (model(chain(("Gemm", ["w1", "b1"], {"alpha": 2.0}), LAST)), "alpha is 2.0"),
    "biases twice": (model(chain(FIRST, ("Add", ["b1"]), LAST)), "right after a MatMul"),
    "cast to whole numbers": (model(chain(FIRST, ("Cast", [], {"to": 7}), LAST)), "another type"),
    "layers that do not fit": (
        model(chain(FIRST, ("Gemm", ["w1", "b1"]), LAST)),
        "w1 takes 4 inputs; the layer before",
    ),
    "bias of another width": (model(chain(("Gemm", ["w1", "b2"]), LAST)), r"b2 is float32 of shape \[3\]; expected"),
    "two dtypes": (model(CHAINS["gemm"], b2=B2.astype("f8")), "both float32 and float64"),
    "weights that are no matrix": (model(chain(("Gemm", ["b1"]), LAST)), "two dimensions"),
    "weights that come from elsewhere": (model(CHAINS["gemm"], w1=None), "'w1' is not a tensor of the model"),
    "softmax in the middle of nothing": (model(chain(("Softmax", []))), "supported after each layer"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_model_is_rejected(case: str, tmp_path: Path) -> None:
    invalid, message = INVALID[case]
    with pytest.raises(InvalidInput, match=message) as error:
        import_file(invalid.SerializeToString(), tmp_path)
    assert error.value.problems[0][0] == "file"
