"""Networks as ONNX models, worked out by onnxruntime: the answers of the service, to 1e-6."""

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

from nabla.engine.data.features import MISSING
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.data.request_rows import named_columns_of
from nabla.engine.data.scaling import Scaling
from nabla.engine.data.schema import Column
from nabla.engine.literals import ActivationName, DtypeName
from nabla.engine.model_io.bundle import Portable
from nabla.engine.training.evaluation import predicted_codes
from tests.unit.model_io.sample_networks import (
    COLUMNS,
    ROWS,
    Rows,
    network,
    portable,
    predicted,
    scaled,
    table,
    written,
)

ACTIVATIONS = get_args(ActivationName)
DTYPES = get_args(DtypeName)
X = np.random.default_rng(2).normal(0, 2, (300, 5))
Answers = list[npt.NDArray[Any]]


def session(one: Portable, folder: Path) -> onnxruntime.InferenceSession:
    path = written(one, "onnx", folder)
    onnx.checker.check_model(onnx.load(path), full_check=True)
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def close(found: npt.NDArray[Any], expected: npt.NDArray[Any]) -> None:
    """Relative to the largest number: single ones may be differences of large ones."""
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation(name: ActivationName, dtype: DtypeName, batch_norm: bool, tmp_path: Path) -> None:
    one = portable(network(5, name, name, dtype=dtype, batch_norm=batch_norm))
    (outputs,) = session(one, tmp_path).run(None, {"inputs": X.astype(dtype)})
    assert outputs.dtype == dtype
    close(outputs, predicted(one, X.tolist()))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_far_from_0(name: ActivationName, dtype: DtypeName, tmp_path: Path) -> None:
    made = network(2, name, outputs=2, dtype=dtype)
    made.parameters[:] = [1, 0, 0, 1, 0, 0]
    x = np.array([[z, -z] for z in (0, 1e-30, 1e-4, 0.5, 3, 30, 90, 200, 1e4)])
    (outputs,) = session(portable(made), tmp_path).run(None, {"inputs": x.astype(dtype)})
    expected = predicted(portable(made), x.astype(dtype).tolist())
    np.testing.assert_allclose(outputs, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_inputs_and_targets_that_are_scaled(dtype: DtypeName, tmp_path: Path) -> None:
    one = portable(network(5, "tanh", "identity", dtype=dtype), scaled(5, 3))
    assert one.preprocessor is not None
    assert one.preprocessor.inputs is not None
    raw = one.preprocessor.inputs.undo(X).astype(dtype)
    outputs = session(one, tmp_path).run(None, {"inputs": raw})[0]
    expected = predicted(one, raw.tolist())
    assert outputs.dtype == dtype
    assert np.ptp(expected) > 10
    close(outputs, expected)


@pytest.mark.parametrize(("outputs", "classes"), [(1, ("no", "größer")), (3, ("10", "", "größer"))])
def test_labels(outputs: int, classes: tuple[str, ...], tmp_path: Path) -> None:
    last: ActivationName = "sigmoid" if outputs == 1 else "softmax"
    one = portable(network(5, "tanh", last, outputs=outputs), None, classes)
    found, labels = session(one, tmp_path).run(["outputs", "label"], {"inputs": X.astype("f4")})
    expected = predicted(one, X.tolist())
    close(found, expected)
    assert labels.tolist() == [classes[code] for code in predicted_codes(expected)]
    assert len(set(labels)) > 1


def feed(rows: Rows, columns: tuple[Column, ...], preprocessor: Preprocessor) -> dict[str, npt.NDArray[Any]]:
    """As somebody would who reads the descriptions."""
    fed: dict[str, npt.NDArray[Any]] = {}
    for place, (column, values) in enumerate(zip(columns, named_columns_of(rows, columns, "rows"), strict=True)):
        cells: npt.NDArray[Any]
        if column.type == "category":
            texts = [str(row[column.name]) for row in rows]
            cells = np.array(
                ["" if code == MISSING else text for code, text in zip(values, texts, strict=True)], object
            )
        elif column.type == "boolean" and np.isnan(preprocessor.fills[place]):
            cells = values.astype(bool)
        else:
            cells = values
        fed[column.name] = cells.reshape(-1, 1)
    return fed


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_table(dtype: DtypeName, tmp_path: Path) -> None:
    """With missing values, a category that is unknown, and a column called as an output is."""
    one = portable(network(11, "tanh", "softmax", dtype=dtype), table(), ("a", "b", "c"))
    assert one.preprocessor is not None
    ran = session(one, tmp_path)
    kinds = {input.name: (input.type, input.shape) for input in ran.get_inputs()}
    assert kinds == {
        "age": ("tensor(double)", ["batch", 1]),
        "job": ("tensor(string)", ["batch", 1]),
        "city": ("tensor(string)", ["batch", 1]),
        "member": ("tensor(bool)", ["batch", 1]),
        "paid": ("tensor(double)", ["batch", 1]),
        "since": ("tensor(double)", ["batch", 1]),
        "outputs": ("tensor(double)", ["batch", 1]),
    }
    assert [output.name for output in ran.get_outputs()] == ["outputs_", "label"]
    outputs, labels = ran.run(None, feed(ROWS, COLUMNS, one.preprocessor))
    expected = predicted(one, ROWS)
    close(outputs, expected)
    assert labels.tolist() == [("a", "b", "c")[code] for code in expected.argmax(axis=1)]


def test_what_cannot_be_refused_gives_nan_or_no_input(tmp_path: Path) -> None:
    one = portable(network(11, "tanh", "identity"), table("refuse"))
    assert one.preprocessor is not None
    ran = session(one, tmp_path)
    fed = feed(ROWS[:1], COLUMNS, one.preprocessor)
    known = ran.run(None, fed)[0]
    assert np.isnan(ran.run(None, {**fed, "since": np.array([[np.nan]])})[0]).all()
    unseen = ran.run(None, {**fed, "city": np.array([["Mars"]], object)})[0]
    ignoring = portable(network(11, "tanh", "identity"), table("ignore"))
    close(unseen, predicted(ignoring, [{**ROWS[0], "city": "Mars"}]))
    assert np.abs(unseen - known).max() > 1e-3


def test_columns_called_as_things_inside_are(tmp_path: Path) -> None:
    names = ("nabla/0", "nabla//layers.0.weights", "label", "layers.0.weights", "outputs", "größe in m", "inputs")
    columns = tuple(Column(name, "number") for name in names)
    rule, nothing = PreprocessingConfig("standardize"), np.full(7, np.nan)
    preprocessor = Preprocessor(rule, columns, nothing, Scaling(np.arange(7.0), np.arange(1.0, 8)), None)
    one = portable(network(7, "identity", outputs=2), preprocessor, ("a", "b"))
    rows = [{name: 3.5 * place for place, name in enumerate(names)}]
    ran = session(one, tmp_path)
    fed = {input.name: np.array([[3.5 * place]]) for place, input in enumerate(ran.get_inputs())}
    assert tuple(fed) == names
    found = ran.run(None, fed)
    close(found[0], predicted(one, rows))
    assert [output.name for output in ran.get_outputs()] == ["outputs_", "label_"]


def test_the_service_starts_without_onnx() -> None:
    code = "import sys, nabla.app.main, nabla.engine.workers.task_main\n"
    code += "print(*({'onnx', 'nabla.engine.model_io.model_io'} & {*sys.modules}))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.split() == ["nabla.engine.model_io.model_io"]
