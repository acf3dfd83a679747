"""Bundles in every format: bitwise round trips, files of format version 1, and rejected files."""

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
from nabla.engine.data.preprocessor_format import IMPUTATION_TENSOR, PREFIX
from nabla.engine.errors import Conflict, InvalidInput
from nabla.engine.literals import NetworkFormat
from nabla.engine.model_io import model_io
from nabla.engine.model_io.bundle import ModelBundle
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.checkpoint import load_classes, load_weights
from tests.unit.model_io.sample_networks import (
    RECORDS,
    export_bundle,
    import_file,
    make_bundle,
    make_network,
    make_scaling_preprocessor,
    make_table_preprocessor,
    predict,
)

FORMATS = get_args(NetworkFormat)
ROWS = np.random.default_rng(1).normal(50, 30, (20, 5)).tolist()
ALL_SETTINGS = Architecture(
    5,
    (Layer(4, "silu", 0.25, True), Layer(3, "softmax")),
    "categorical_cross_entropy",
    "he_uniform",
    2**63 - 1,
    "float64",
    label_smoothing=0.1,
    input_dropout=0.5,
)


def sample_bundles() -> dict[str, tuple[ModelBundle, Any]]:
    """Return bundles, each with rows to predict."""
    batch_norm = make_network(5, "relu", "selu", "softmax", batch_norm=True)
    return {
        "plain": (make_bundle(make_network(5, "tanh", "identity")), ROWS),
        "float64": (make_bundle(make_network(5, "gelu", "sin", dtype="float64")), ROWS),
        "batch norm": (make_bundle(batch_norm, None, ("a", "b", "c")), ROWS),
        "two classes": (make_bundle(make_network(5, "elu", "sigmoid", outputs=1), None, ("no", "größer")), ROWS),
        "scaled": (
            make_bundle(make_network(5, "tanh", "identity", batch_norm=True), make_scaling_preprocessor(5, 3)),
            ROWS,
        ),
        "table": (
            make_bundle(make_network(11, "tanh", "softmax"), make_table_preprocessor(), ("x", "y", "z")),
            RECORDS,
        ),
        "all settings": (ModelBundle(Network(ALL_SETTINGS), PreprocessingConfig(), None, None), ROWS),
    }


def tensor_bytes(bundle: ModelBundle) -> dict[str, bytes]:
    return {name: tensor.tobytes() for name, tensor in bundle.tensors.items()}


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("kind", sample_bundles())
def test_round_trip_is_bitwise(kind: str, format: NetworkFormat, tmp_path: Path) -> None:
    """The network, its predictions, its stored weights and the file itself are the same, byte for byte."""
    bundle, rows = sample_bundles()[kind]
    path = export_bundle(bundle, format, tmp_path)
    imported = import_file(path, tmp_path)
    assert imported.network.architecture == bundle.network.architecture
    assert tensor_bytes(imported) == tensor_bytes(bundle)
    assert imported.metadata == bundle.metadata
    assert predict(imported, rows).tobytes() == predict(bundle, rows).tobytes()
    content = path.read_bytes()
    assert export_bundle(imported, format, tmp_path).read_bytes() == content
    weights = model_io.save_version(tmp_path / "1.safetensors", imported)
    network, preprocessor = load_weights(weights, bundle.network.architecture)
    assert load_classes(weights) == bundle.classes
    assert tensor_bytes(ModelBundle(network, bundle.preprocessing, preprocessor)) == tensor_bytes(bundle)
    loaded = model_io.load_version(weights, bundle.network.architecture, bundle.preprocessing, bundle.classes)
    assert tensor_bytes(loaded) == tensor_bytes(bundle)


@pytest.mark.parametrize("format", FORMATS)
def test_untrained_version_with_scaling(format: NetworkFormat, tmp_path: Path) -> None:
    bundle = ModelBundle(make_network(5, "tanh", "identity"), PreprocessingConfig("min_max"))
    if format == "onnx":
        with pytest.raises(Conflict, match=r"has not been trained.*safetensors"):
            export_bundle(bundle, format, tmp_path)
        return
    imported = import_file(export_bundle(bundle, format, tmp_path), tmp_path)
    assert (imported.preprocessing, imported.preprocessor) == (bundle.preprocessing, None)
    assert tensor_bytes(imported) == tensor_bytes(bundle)


def test_contents_of_files_in_other_programs(tmp_path: Path) -> None:
    assert (PREFIX, IMPUTATION_TENSOR) == ("preprocessor.", "preprocessor.imputation_values")
    bundle, _ = sample_bundles()["table"]
    names = {"layers.0.weights", "layers.0.biases", "layers.1.weights", "layers.1.biases"}
    fitted = {IMPUTATION_TENSOR, f"{PREFIX}inputs.offsets", f"{PREFIX}inputs.scales"}

    path = export_bundle(bundle, "safetensors", tmp_path)
    tensors = safetensors.numpy.load_file(path)
    assert set(tensors) == names | fitted
    np.testing.assert_array_equal(tensors["layers.0.weights"], bundle.network.layers[0][0])
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    assert json.loads(metadata["architecture"])["layers"][1] == {
        "units": 3,
        "activation": "softmax",
        "dropout": 0.0,
        "batch_norm": False,
    }
    config = {"inputs": "standardize", "targets": "none", "handle_unknown": "ignore", "outliers": "keep"}
    assert json.loads(metadata["preprocessing_config"]) == json.loads(metadata["preprocessor"])["config"] == config
    assert json.loads(metadata["preprocessor"])["columns"][0]["imputation"] == "mean"
    assert (json.loads(metadata["classes"]), metadata["format_version"]) == (["x", "y", "z"], "2")

    with np.load(export_bundle(bundle, "npz", tmp_path), allow_pickle=False) as archive:
        assert set(archive) == names | fitted | set(metadata)
        assert json.loads(archive["preprocessor"].tobytes()) == json.loads(metadata["preprocessor"])
        np.testing.assert_array_equal(archive["layers.1.biases"], bundle.network.layers[1][1])

    model = onnx.load(export_bundle(bundle, "onnx", tmp_path))
    onnx.checker.check_model(model, full_check=True)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 20), ("ai.onnx.ml", 3)]
    assert {entry.key for entry in model.metadata_props} >= set(metadata)


VERSION_1 = Path(__file__).parent / "data"
EXPECTED_V1: dict[str, Any] = json.loads((VERSION_1 / "v1-expected.json").read_text())
CONFIGS_V1 = {
    "scaled": PreprocessingConfig("min_max", "robust", "error"),
    "table-ignore": PreprocessingConfig("standardize", "none", "ignore"),
    "table-refuse": PreprocessingConfig("standardize", "none", "error"),
}
IMPUTATIONS_V1 = [("mean", None), ("most_frequent", None), ("constant", "none"), ("most_frequent", None), (None, None)]


def check_version_1(bundle: ModelBundle, name: str) -> None:
    """Check preprocessing and predictions of a bundle that was written in format version 1."""
    expected = EXPECTED_V1[name]
    assert bundle.preprocessing == CONFIGS_V1[name]
    assert bundle.preprocessor is not None
    assert bundle.preprocessor.config == CONFIGS_V1[name]
    columns = bundle.preprocessor.columns
    if columns is not None:
        assert [(column.imputation, column.constant) for column in columns] == IMPUTATIONS_V1
    tolerance = 1e-6 if bundle.network.architecture.dtype == "float32" else 1e-12
    np.testing.assert_allclose(predict(bundle, expected["rows"]), expected["outputs"], rtol=tolerance)
    if expected["rejected"] is not None:
        with pytest.raises(InvalidInput, match="'city'"):
            predict(bundle, [expected["rejected"]])


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", EXPECTED_V1)
def test_version_1_predicts_the_same(name: str, format: NetworkFormat, tmp_path: Path) -> None:
    bundle = import_file(VERSION_1 / f"v1-{name}.{format}", tmp_path)
    check_version_1(bundle, name)
    check_version_1(import_file(export_bundle(bundle, format, tmp_path), tmp_path), name)


def test_weights_of_version_1_predict_the_same() -> None:
    (weights,) = VERSION_1.glob("v1-table-ignore-weights.*.safetensors")
    architecture = Architecture(9, (Layer(3, "tanh"), Layer(3, "softmax")), "categorical_cross_entropy", seed=3)
    config = CONFIGS_V1["table-ignore"]
    check_version_1(model_io.load_version(weights, architecture, config, ("a", "b", "größer")), "table-ignore")


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("rule", '{"unseen": "error"}', "metadata entry rule is invalid: Invalid enum value 'error'"),
        ("rule", "[", "metadata entry rule is invalid"),
        ("preparation", '{"rule": {}, "columns": [{"name": "a"}]}', "metadata entry preparation .* `type`"),
        ("preparation", '{"rule": {}, "columns": ' + "[" * 10**5 + "}", "metadata entry preparation is invalid"),
        ("format_version", "3", "format_version is invalid: Version '3' is unknown; accepted: 2"),
    ],
)
def test_rejected_metadata_of_version_1(key: str, text: str, message: str, tmp_path: Path) -> None:
    path = VERSION_1 / "v1-table-ignore.safetensors"
    with safetensors.safe_open(path, "numpy") as file:
        metadata = file.metadata()
    content = safetensors.numpy.save(safetensors.numpy.load_file(path), {**metadata, key: text})
    with pytest.raises(InvalidInput, match=message):
        import_file(content, tmp_path)


def edit_bundle(
    bundle: ModelBundle, tensors: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None
) -> bytes:
    """Return a bundle as safetensors with other tensors and metadata; those that are None are removed."""
    edited = {name: tensor for name, tensor in {**bundle.tensors, **(tensors or {})}.items() if tensor is not None}
    texts = {
        key: value if isinstance(value, str) else msgspec.json.encode(value).decode()
        for key, value in {**bundle.metadata, **(metadata or {})}.items()
        if value is not None
    }
    return safetensors.numpy.save({name: np.ascontiguousarray(tensor) for name, tensor in edited.items()}, texts)


def edit_architecture(kind: str = "plain", **changes: Any) -> dict[str, Any]:
    bundle, _ = sample_bundles()[kind]
    return {"architecture": {**json.loads(bundle.metadata["architecture"]), **changes}}


def edit_column(index: int, **changes: Any) -> dict[str, Any]:
    bundle, _ = sample_bundles()["table"]
    preprocessor = json.loads(bundle.metadata["preprocessor"])
    preprocessor["columns"][index].update(changes)
    return {"preprocessor": preprocessor}


INVALID: dict[str, tuple[str, dict[str, Any], dict[str, Any], str]] = {
    "missing tensor": ("plain", {"layers.0.biases": None}, {}, "tensor layers.0.biases is missing"),
    "extra tensor": ("plain", {"layers.9.biases": np.zeros(3)}, {}, "tensor 'layers.9.biases' is unknown"),
    "wrong shape": ("plain", {"layers.0.weights": np.zeros((5, 7), "f4")}, {}, r"expected float32 of shape \[7, 5\]"),
    "wrong dtype": ("plain", {"layers.0.biases": np.zeros(7)}, {}, r"is float64 of shape \[7\]; expected float32"),
    "integers": ("plain", {"layers.0.biases": np.zeros(7, "i4")}, {}, "is I32 of shape"),
    "NaN": ("plain", {"layers.1.biases": np.full(3, np.nan, "f4")}, {}, "layers.1.biases holds NaN"),
    "infinity": ("plain", {"layers.1.biases": np.array([0, 0, np.inf], "f4")}, {}, "layers.1.biases holds NaN"),
    "negative variance": ("batch norm", {"layers.0.variances": np.full(7, -1, "f4")}, {}, "negative variance"),
    "malformed JSON": ("plain", {}, {"architecture": "{"}, "entry architecture is invalid"),
    "unknown activation": (
        "plain",
        {},
        edit_architecture(layers=[{"units": 3, "activation": "relu7"}]),
        "Invalid enum value 'relu7'",
    ),
    "no layers": ("plain", {}, edit_architecture(layers=[]), "at least 1 layer"),
    "cost that does not fit": ("plain", {}, edit_architecture(cost="poisson"), "the last layer needs softplus"),
    "too many parameters": (
        "plain",
        {},
        edit_architecture(layers=[{"units": 2**62, "activation": "tanh"}]),
        "at most 1000000",
    ),
    "too many layers": (
        "plain",
        {},
        edit_architecture(layers=[{"units": 1, "activation": "tanh"}] * 1001),
        "1001 layers; at most 1000",
    ),
    "unknown version": ("plain", {}, {"format_version": "7"}, "Version '7' is unknown; accepted: 2"),
    "missing config": (
        "plain",
        {},
        {"preprocessing_config": None},
        "preprocessing_config is invalid: It is missing",
    ),
    "two configs": ("scaled", {}, {"preprocessing_config": {"inputs": "min_max"}}, "contain different configurations"),
    "scaled probabilities": (
        "two classes",
        {},
        {
            "preprocessing_config": {"targets": "robust"},
            **edit_architecture("two classes", cost="binary_cross_entropy"),
        },
        "binary_cross_entropy",
    ),
    "classes and scaled targets": ("scaled", {}, {"classes": ["a", "b", "c"]}, "scales its targets"),
    "too few classes": ("plain", {}, {"classes": ["a", "b"]}, "2 classes; a network with 3 outputs needs 3"),
    "duplicate class": ("plain", {}, {"classes": ["a", "b", "a"]}, "'a' is listed twice"),
    "classes that are lists": ("plain", {}, {"classes": [[1], [2], [3]]}, "not a JSON array of"),
    "missing scales": ("scaled", {f"{PREFIX}inputs.scales": None}, {}, f"'{PREFIX}inputs.scales' is missing"),
    "missing scaling": (
        "scaled",
        {f"{PREFIX}inputs.{part}": None for part in ("offsets", "scales")},
        {},
        "scaling of the inputs is standardize, but their offsets and scales are missing",
    ),
    "scale of 0": ("scaled", {f"{PREFIX}inputs.scales": np.zeros(5)}, {}, "no finite reciprocal"),
    "scale of NaN": ("scaled", {f"{PREFIX}inputs.scales": np.full(5, np.nan)}, {}, "scales holds NaN"),
    "scales of another width": ("scaled", {f"{PREFIX}targets.scales": np.ones(2)}, {}, "There are 3 targets"),
    "scales in a matrix": ("scaled", {f"{PREFIX}targets.scales": np.ones((3, 1))}, {}, "of one dimension"),
    "too many scales": ("scaled", {f"{PREFIX}targets.scales": np.ones(9)}, {}, "at most 5 elements"),
    "unknown scaling": ("scaled", {f"{PREFIX}tragets.scales": np.ones(3)}, {}, "tragets.scales' is unknown"),
    "imputation with an unknown category": (
        "table",
        {IMPUTATION_TENSOR: np.array([0, 4, np.nan, np.nan, 1, np.nan, np.nan])},
        {},
        "4 cannot be the imputation value of the column 'job'",
    ),
    "imputation with infinity": (
        "table",
        {IMPUTATION_TENSOR: np.array([np.inf, 1, np.nan, np.nan, 1, np.nan, np.nan])},
        {},
        "inf cannot be the imputation value of the column 'age'",
    ),
    "too few imputation values": (
        "table",
        {IMPUTATION_TENSOR: np.zeros(6)},
        {},
        r"float64 of shape \[6\]; expected float64 of shape \[7\]",
    ),
    "duplicate column": ("table", {}, edit_column(0, name="member"), "more than one column 'member'"),
    "number with categories": ("table", {}, edit_column(0, categories=["a"]), "'age' is a number"),
    "columns of another width": (
        "table",
        {},
        edit_column(1, categories=["a", "b"]),
        "take 9 inputs; the network has 11",
    ),
    "duplicate category": ("table", {}, edit_column(1, categories=["a", "b", "c", "a"]), "'job' is a category"),
    "column without a name": ("table", {}, edit_column(0, name=""), "at least 1"),
    "too long name": ("table", {}, edit_column(0, name="x" * 1001), "at most 1000 characters"),
}


@pytest.mark.parametrize("case", INVALID)
def test_invalid_bundle_is_rejected(case: str, tmp_path: Path) -> None:
    kind, tensors, metadata, message = INVALID[case]
    with pytest.raises(InvalidInput, match=message) as error:
        import_file(edit_bundle(sample_bundles()[kind][0], tensors, metadata), tmp_path)
    assert error.value.problems[0][0] == "file"


def test_hints_about_a_bundle_are_rejected(tmp_path: Path) -> None:
    content = edit_bundle(sample_bundles()["plain"][0])
    hints: dict[str, Any] = {"activations": ("tanh", "identity"), "cost": "huber", "classes": ("a", "b", "c")}
    for name, value in hints.items():
        with pytest.raises(InvalidInput, match="states this itself") as error:
            import_file(content, tmp_path, **{name: value})
        assert error.value.problems[0][0] == ("layers" if name == "activations" else name)
    with pytest.raises(InvalidInput, match="The file is safetensors, not npz"):
        import_file(content, tmp_path, format="npz")
