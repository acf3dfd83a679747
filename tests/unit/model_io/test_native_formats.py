"""What was copied out and taken in again has the same bits, whatever the format."""

import json
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import onnx
import pytest
import safetensors
import safetensors.numpy

from nabla.engine.data.preprocessing import PreprocessingConfig
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io import model_io
from nabla.engine.model_io.bundle import Portable
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import load_classes, load_weights
from tests.unit.model_io.sample_networks import ROWS, network, portable, predicted, read, scaled, table, written

FORMATS = get_args(NetworkFormat)
PLAIN = np.random.default_rng(1).normal(50, 30, (20, 5)).tolist()
MANY = Architecture(
    5,
    (Layer(4, "silu", 0.25, True), Layer(3, "softmax")),
    "categorical_cross_entropy",
    "he_uniform",
    2**63 - 1,
    "float64",
    label_smoothing=0.1,
    input_dropout=0.5,
)


def of_any_kind() -> dict[str, tuple[Portable, Any]]:
    return {
        "plain": (portable(network(5, "tanh", "identity")), PLAIN),
        "float64": (portable(network(5, "gelu", "sin", dtype="float64")), PLAIN),
        "batch norm": (portable(network(5, "relu", "selu", "softmax", batch_norm=True), None, ("a", "b", "c")), PLAIN),
        "two classes": (portable(network(5, "elu", "sigmoid", outputs=1), None, ("no", "größer")), PLAIN),
        "scaled": (portable(network(5, "tanh", "identity", batch_norm=True), scaled(5, 3)), PLAIN),
        "table": (portable(network(11, "tanh", "softmax"), table(), ("x", "y", "z")), ROWS),
        "settings": (Portable(Network(MANY), PreprocessingConfig(), None, None), PLAIN),
    }


def bits(one: Portable) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in one.arrays.items()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", of_any_kind())
def test_the_same_bits(kind: str, format: NetworkFormat, tmp_path: Path) -> None:
    one, rows = of_any_kind()[kind]
    path = written(one, format, tmp_path)
    again = read(path, tmp_path)
    assert again.network.architecture == one.network.architecture
    assert bits(again) == bits(one)
    assert again.words == one.words
    assert predicted(again, rows).tobytes() == predicted(one, rows).tobytes()
    content = path.read_bytes()
    assert written(again, format, tmp_path).read_bytes() == content
    kept = model_io.keep(tmp_path / "1.safetensors", again)
    stored, preprocessor = load_weights(kept, one.network.architecture)
    assert bits(Portable(stored, one.rule, preprocessor, load_classes(kept))) == bits(one)
    assert load_classes(kept) == one.classes


@pytest.mark.parametrize("format", FORMATS)
def test_a_version_that_nothing_was_fitted_to(format: NetworkFormat, tmp_path: Path) -> None:
    one = Portable(network(5, "tanh", "identity"), PreprocessingConfig("min_max"))
    if format == "onnx":
        with pytest.raises(Conflict, match="safetensors"):
            written(one, format, tmp_path)
        return
    again = read(written(one, format, tmp_path), tmp_path)
    assert (again.rule, again.preprocessor) == (one.rule, None)
    assert bits(again) == bits(one)


def test_what_other_programs_find_in_the_files(tmp_path: Path) -> None:
    one, _ = of_any_kind()["table"]
    names = {"layers.0.weights", "layers.0.biases", "layers.1.weights", "layers.1.biases"}
    scaling = {"preparation.fills", "preprocessing.inputs.offsets", "preprocessing.inputs.scales"}

    path = written(one, "safetensors", tmp_path)
    arrays = safetensors.numpy.load_file(path)
    assert set(arrays) == names | scaling
    np.testing.assert_array_equal(arrays["layers.0.weights"], one.network.layers[0][0])
    with safetensors.safe_open(path, "numpy") as file:
        words = file.metadata()
    assert json.loads(words["architecture"])["layers"][1] == {
        "units": 3,
        "activation": "softmax",
        "dropout": 0.0,
        "batch_norm": False,
    }
    assert json.loads(words["classes"]) == ["x", "y", "z"]

    with np.load(written(one, "npz", tmp_path), allow_pickle=False) as archive:
        assert set(archive) == names | scaling | set(words)
        assert json.loads(archive["preparation"].tobytes()) == json.loads(words["preparation"])
        np.testing.assert_array_equal(archive["layers.1.biases"], one.network.layers[1][1])

    model = onnx.load(written(one, "onnx", tmp_path))
    onnx.checker.check_model(model, full_check=True)
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 20), ("ai.onnx.ml", 3)]
    assert {entry.key for entry in model.metadata_props} >= set(words)


def changed(one: Portable, arrays: dict[str, Any] | None = None, words: dict[str, Any] | None = None) -> bytes:
    """As safetensors; what is None is left out."""
    found = {name: array for name, array in {**one.arrays, **(arrays or {})}.items() if array is not None}
    said = {
        name: text if isinstance(text, str) else msgspec.json.encode(text).decode()
        for name, text in {**one.words, **(words or {})}.items()
        if text is not None
    }
    return safetensors.numpy.save({name: np.ascontiguousarray(array) for name, array in found.items()}, said)


def architecture(**change: Any) -> dict[str, Any]:
    one, _ = of_any_kind()["plain"]
    return {"architecture": {**json.loads(one.words["architecture"]), **change}}


def columns(**change: Any) -> dict[str, Any]:
    one, _ = of_any_kind()["table"]
    said = json.loads(one.words["preparation"])
    for place, column in change.items():
        said["columns"][int(place[1:])].update(column)
    return {"preparation": said}


WRONG: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "an array is missing": ("plain", {"layers.0.biases": None}, {}, "lacks the array layers.0.biases"),
    "an array too many": ("plain", {"layers.9.biases": np.zeros(3)}, {}, "also has the array 'layers.9.biases'"),
    "another shape": ("plain", {"layers.0.weights": np.zeros((5, 7), "f4")}, {}, r"expected float32 of shape \[7, 5\]"),
    "another type": ("plain", {"layers.0.biases": np.zeros(7)}, {}, r"is float64 of shape \[7\]; expected float32"),
    "whole numbers": ("plain", {"layers.0.biases": np.zeros(7, "i4")}, {}, "is I32 of shape"),
    "NaN": ("plain", {"layers.1.biases": np.full(3, np.nan, "f4")}, {}, "layers.1.biases holds NaN"),
    "infinity": ("plain", {"layers.1.biases": np.array([0, 0, np.inf], "f4")}, {}, "layers.1.biases holds NaN"),
    "a variance below 0": ("batch norm", {"layers.0.variances": np.full(7, -1, "f4")}, {}, "variance below 0"),
    "no JSON": ("plain", {}, {"architecture": "{"}, "under architecture is not accepted"),
    "an unknown activation": (
        "plain",
        {},
        architecture(layers=[{"units": 3, "activation": "relu7"}]),
        "Invalid enum value 'relu7'",
    ),
    "no layers": ("plain", {}, architecture(layers=[]), "at least 1 layer"),
    "a cost that does not fit": ("plain", {}, architecture(cost="poisson"), "poisson needs softplus"),
    "too many parameters": (
        "plain",
        {},
        architecture(layers=[{"units": 2**62, "activation": "tanh"}]),
        "at most 1000000",
    ),
    "too many layers": (
        "plain",
        {},
        architecture(layers=[{"units": 1, "activation": "tanh"}] * 1001),
        "1001 layers; at most 1000",
    ),
    "no rule": ("plain", {}, {"rule": None}, "under rule is not accepted: It is missing"),
    "another rule": ("scaled", {}, {"rule": {"inputs": "min_max"}}, "preparation and under rule differs"),
    "a rule for probabilities": (
        "two classes",
        {},
        {
            "rule": {"targets": "robust"},
            "architecture": {
                **json.loads(of_any_kind()["two classes"][0].words["architecture"]),
                "cost": "binary_cross_entropy",
            },
        },
        "binary_cross_entropy looks at probabilities",
    ),
    "classes and scaled targets": (
        "scaled",
        {},
        {"classes": ["a", "b", "c"]},
        "scales its targets",
    ),
    "too few classes": ("plain", {}, {"classes": ["a", "b"]}, "2 classes; a network with 3 outputs tells 3 apart"),
    "classes twice": ("plain", {}, {"classes": ["a", "b", "a"]}, "'a' is there twice"),
    "classes that are numbers": ("plain", {}, {"classes": [1, 2, 3]}, "expected a JSON array of names"),
    "no scales": ("scaled", {"preprocessing.inputs.scales": None}, {}, "is not complete"),
    "nothing to scale by": (
        "scaled",
        {f"preprocessing.inputs.{part}": None for part in ("offsets", "scales")},
        {},
        "has to be there",
    ),
    "a scale of 0": ("scaled", {"preprocessing.inputs.scales": np.zeros(5)}, {}, "cannot be divided by"),
    "a scale that is NaN": ("scaled", {"preprocessing.inputs.scales": np.full(5, np.nan)}, {}, "scales holds NaN"),
    "scales of another width": ("scaled", {"preprocessing.targets.scales": np.ones(2)}, {}, "There are 3 targets"),
    "scales in a matrix": ("scaled", {"preprocessing.targets.scales": np.ones((3, 1))}, {}, "of one dimension"),
    "scales without end": ("scaled", {"preprocessing.targets.scales": np.ones(9)}, {}, "of at most 5 numbers"),
    "a scaling that is unknown": ("scaled", {"preparation.tragets.scales": np.ones(3)}, {}, "does not fit its columns"),
    "a fill that is no category": (
        "table",
        {"preparation.fills": np.array([0, 4, np.nan, np.nan, 1, np.nan, np.nan])},
        {},
        "'job' cannot be filled with 4",
    ),
    "an infinite fill": (
        "table",
        {"preparation.fills": np.array([np.inf, 1, np.nan, np.nan, 1, np.nan, np.nan])},
        {},
        "'age' cannot be filled with inf",
    ),
    "too few fills": ("table", {"preparation.fills": np.zeros(6)}, {}, "does not fit its columns"),
    "a column twice": ("table", {}, columns(_0={"name": "member"}), "two columns called 'member'"),
    "categories of a number": ("table", {}, columns(_0={"categories": ["a"]}), "'age' is a number"),
    "another width": ("table", {}, columns(_1={"categories": ["a", "b"]}), "take 9 inputs; the network has 11"),
    "a category twice": ("table", {}, columns(_1={"categories": ["a", "b", "c", "a"]}), "'job' is a category"),
    "a column without a name": ("table", {}, columns(_0={"name": ""}), "Columns have names"),
    "a name without end": ("table", {}, columns(_0={"name": "x" * 1001}), "at most 1000 characters"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_was_changed_is_refused(what: str, tmp_path: Path) -> None:
    kind, arrays, words, sentence = WRONG[what]
    with pytest.raises(InvalidInput, match=sentence) as refused:
        read(changed(of_any_kind()[kind][0], arrays, words), tmp_path)
    assert refused.value.problems[0][0] == "file"


def test_a_file_of_our_own_needs_nothing_said(tmp_path: Path) -> None:
    content = changed(of_any_kind()["plain"][0])
    hints: dict[str, Any] = {"activations": ("tanh", "identity"), "cost": "huber", "classes": ("a", "b", "c")}
    for name, value in hints.items():
        with pytest.raises(InvalidInput, match="says it itself") as refused:
            read(content, tmp_path, **{name: value})
        assert refused.value.problems[0][0] == ("layers" if name == "activations" else name)
    with pytest.raises(InvalidInput, match="The file is safetensors, not npz"):
        read(content, tmp_path, format="npz")
