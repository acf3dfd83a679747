"""Exported ONNX models predict in ONNX Runtime as in the service, to 1e-6."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from nabla.engine.data.features import MISSING_CODE
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.request_rows import parse_records
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.literals import ActivationName, DtypeName
from nabla.engine.model_io.bundle import ModelBundle
from nabla.engine.training.metrics import predicted_codes
from tests.unit.model_io.sample_networks import (
    COLUMNS,
    RECORDS,
    Records,
    export_bundle,
    make_bundle,
    make_network,
    make_scaling_preprocessor,
    make_table_preprocessor,
    predict,
)

ACTIVATIONS = get_args(ActivationName)
DTYPES = get_args(DtypeName)
X = np.random.default_rng(2).normal(0, 2, (300, 5))


def open_session(bundle: ModelBundle, directory: Path) -> onnxruntime.InferenceSession:
    path = export_bundle(bundle, "onnx", directory)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def assert_close(outputs: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    """Compare relative to the largest output: a small bundle may be a difference of large numbers."""
    np.testing.assert_allclose(outputs, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_each_activation(name: ActivationName, dtype: DtypeName, batch_norm: bool, tmp_path: Path) -> None:
    bundle = make_bundle(make_network(5, name, name, dtype=dtype, batch_norm=batch_norm))
    (outputs,) = open_session(bundle, tmp_path).run(None, {"inputs": X.astype(dtype)})
    assert outputs.dtype == dtype
    assert_close(outputs, predict(bundle, X.tolist()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_of_large_and_small_inputs(name: ActivationName, dtype: DtypeName, tmp_path: Path) -> None:
    network = make_network(2, name, outputs=2, dtype=dtype)
    network.parameters[:] = [1, 0, 0, 1, 0, 0]
    x = np.array([[z, -z] for z in (0, 1e-30, 1e-4, 0.5, 3, 30, 90, 200, 1e4)])
    (outputs,) = open_session(make_bundle(network), tmp_path).run(None, {"inputs": x.astype(dtype)})
    expected = predict(make_bundle(network), x.astype(dtype).tolist())
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scaled_inputs_and_targets(dtype: DtypeName, tmp_path: Path) -> None:
    bundle = make_bundle(make_network(5, "tanh", "identity", dtype=dtype), make_scaling_preprocessor(5, 3))
    assert bundle.preprocessor is not None
    assert bundle.preprocessor.input_scaling is not None
    raw = bundle.preprocessor.input_scaling.inverse_transform(X).astype(dtype)
    outputs = open_session(bundle, tmp_path).run(None, {"inputs": raw})[0]
    expected = predict(bundle, raw.tolist())
    assert outputs.dtype == dtype
    assert np.ptp(expected) > 10
    assert_close(outputs, expected)


@pytest.mark.parametrize(("outputs", "classes"), [(1, ("no", "größer")), (3, ("10", "", "größer"))])
def test_labels(outputs: int, classes: tuple[str, ...], tmp_path: Path) -> None:
    output_activation: ActivationName = "sigmoid" if outputs == 1 else "softmax"
    bundle = make_bundle(make_network(5, "tanh", output_activation, outputs=outputs), None, classes)
    probabilities, labels = open_session(bundle, tmp_path).run(["outputs", "label"], {"inputs": X.astype("f4")})
    expected = predict(bundle, X.tolist())
    assert_close(probabilities, expected)
    assert labels.tolist() == [classes[code] for code in predicted_codes(expected)]
    assert len(set(labels)) > 1


def make_feed(records: Records, columns: tuple[Column, ...], preprocessor: Preprocessor) -> dict[str, npt.NDArray[Any]]:
    """Return the inputs of a session, as the model's documentation describes them."""
    feed: dict[str, npt.NDArray[Any]] = {}
    for index, (column, values) in enumerate(zip(columns, parse_records(records, columns, "rows"), strict=True)):
        cells: npt.NDArray[Any]
        if column.type == "category":
            texts = [str(record[column.name]) for record in records]
            cells = np.array(
                ["" if code == MISSING_CODE else text for code, text in zip(values, texts, strict=True)], object
            )
        elif column.type == "boolean" and np.isnan(preprocessor.imputation_values[index]):
            cells = values.astype(bool)
        else:
            cells = values
        feed[column.name] = cells.reshape(-1, 1)
    return feed


@pytest.mark.parametrize("dtype", DTYPES)
def test_table(dtype: DtypeName, tmp_path: Path) -> None:
    """With missing values, an unknown category, and a column that has the name of an output."""
    bundle = make_bundle(make_network(11, "tanh", "softmax", dtype=dtype), make_table_preprocessor(), ("a", "b", "c"))
    assert bundle.preprocessor is not None
    session = open_session(bundle, tmp_path)
    kinds = {input.name: (input.type, input.shape) for input in session.get_inputs()}
    assert kinds == {
        "age": ("tensor(double)", ["batch", 1]),
        "job": ("tensor(string)", ["batch", 1]),
        "city": ("tensor(string)", ["batch", 1]),
        "member": ("tensor(bool)", ["batch", 1]),
        "paid": ("tensor(double)", ["batch", 1]),
        "since": ("tensor(double)", ["batch", 1]),
        "outputs": ("tensor(double)", ["batch", 1]),
    }
    assert [output.name for output in session.get_outputs()] == ["outputs_", "label"]
    outputs, labels = session.run(None, make_feed(RECORDS, COLUMNS, bundle.preprocessor))
    expected = predict(bundle, RECORDS)
    assert_close(outputs, expected)
    assert labels.tolist() == [("a", "b", "c")[code] for code in expected.argmax(axis=1)]


def test_unimputed_value_is_nan_and_unknown_category_has_no_input(tmp_path: Path) -> None:
    bundle = make_bundle(make_network(11, "tanh", "identity"), make_table_preprocessor("error"))
    assert bundle.preprocessor is not None
    session = open_session(bundle, tmp_path)
    feed = make_feed(RECORDS[:1], COLUMNS, bundle.preprocessor)
    known = session.run(None, feed)[0]
    assert np.isnan(session.run(None, {**feed, "since": np.array([[np.nan]])})[0]).all()
    unseen = session.run(None, {**feed, "city": np.array([["Mars"]], object)})[0]
    ignoring = make_bundle(make_network(11, "tanh", "identity"), make_table_preprocessor("ignore"))
    assert_close(unseen, predict(ignoring, [{**RECORDS[0], "city": "Mars"}]))
    assert np.abs(unseen - known).max() > 1e-3


def test_columns_with_the_names_of_internal_values(tmp_path: Path) -> None:
    names = ("nabla/0", "nabla//layers.0.weights", "label", "layers.0.weights", "outputs", "größe in m", "inputs")
    columns = tuple(Column(name, "number") for name in names)
    config, no_imputation = PreprocessingConfig("standardize"), np.full(7, np.nan)
    preprocessor = Preprocessor(config, columns, no_imputation, Scaling(np.arange(7.0), np.arange(1.0, 8)), None)
    bundle = make_bundle(make_network(7, "identity", outputs=2), preprocessor, ("a", "b"))
    records = [{name: 3.5 * index for index, name in enumerate(names)}]
    session = open_session(bundle, tmp_path)
    feed = {input.name: np.array([[3.5 * index]]) for index, input in enumerate(session.get_inputs())}
    assert tuple(feed) == names
    outputs, _ = session.run(None, feed)
    assert_close(outputs, predict(bundle, records))
    assert [output.name for output in session.get_outputs()] == ["outputs_", "label_"]


def test_service_does_not_import_onnx() -> None:
    code = "import sys, nabla.app.main, nabla.engine.workers.task_main\n"
    code += "names = {'onnx', 'nabla.engine.model_io.model_io', 'nabla.engine.workers.tasks.models'}\n"
    code += "print(*(names & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["nabla.engine.workers.tasks.models"]
