"""Evaluations against the metrics of scikit-learn and the formulas of the costs."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import pytest
from sklearn import metrics

from nabla.engine.data.loading import open_for_training
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ActivationName, CostName, DtypeName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.jit import KERNELS
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.training.evaluation import Evaluation, evaluate
from tests.unit.data.test_dataset import store_dataset

Array = npt.NDArray[Any]
OUTPUTS: dict[CostName, ActivationName] = {
    "poisson": "softplus",
    "binary_cross_entropy": "sigmoid",
    "categorical_cross_entropy": "softmax",
}


def passthrough(
    width: int, cost: CostName = "quadratic", dtype: DtypeName = "float64", label_smoothing: float = 0.0
) -> Network:
    """Return a network that only applies the output activation of the cost to its inputs."""
    layers = (Layer(width, OUTPUTS.get(cost, "identity")),)
    network = Network(Architecture(width, layers, cost, dtype=dtype, label_smoothing=label_smoothing))
    (w, b), *_ = network.layers
    w[:], b[:] = np.eye(width), 0
    return network


def evaluate_stored(directory: Path, network: Network, inputs: Array, **arrays: Any) -> Evaluation:
    """Store the arrays as a dataset and evaluate the network on it."""
    dataset = store_dataset(directory, inputs=inputs, **arrays)
    architecture = network.architecture
    dataset.check_fits(architecture)
    return evaluate(network, open_for_training(dataset, directory / "ds", architecture.outputs, architecture.dtype))


@pytest.mark.parametrize("rows", [2, 50, 4096, 9000])
@pytest.mark.parametrize("bias", [0.0, 3.0, 1e6])
def test_classification_metrics_match_scikit_learn(tmp_path: Path, rows: int, bias: float) -> None:
    """The bias shifts predictions to the first class, in the end all of them; one class is never a label."""
    generator = np.random.default_rng(rows)
    inputs = generator.normal([bias, 0, 0, 0], size=(rows, 4))
    codes = generator.integers(0, 3, rows)
    evaluation = evaluate_stored(tmp_path, passthrough(4), inputs, labels=codes, classes=[0, 1, 2, 3])

    predicted = inputs.argmax(axis=1)
    scores = metrics.precision_recall_fscore_support(codes, predicted, labels=range(4), zero_division=0)
    assert evaluation.rows == rows
    assert evaluation.regression is None
    assert evaluation.accuracy == metrics.accuracy_score(codes, predicted)
    assert evaluation.classification is not None
    ours = [(metric.precision, metric.recall, metric.f1) for metric in evaluation.classification.classes]
    np.testing.assert_allclose(ours, np.transpose(scores[:3]), rtol=1e-12)
    assert evaluation.classification.support == tuple(scores[3])
    macro = metrics.precision_recall_fscore_support(codes, predicted, average="macro", zero_division=0)
    mean = evaluation.classification.macro
    np.testing.assert_allclose((mean.precision, mean.recall, mean.f1), macro[:3], rtol=1e-12)
    assert evaluation.classification.confusion is not None
    confusion = metrics.confusion_matrix(codes, predicted, labels=range(4))
    np.testing.assert_array_equal(evaluation.classification.confusion, confusion)


def test_binary_classification_with_single_output(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    logits, codes = generator.normal(size=(500, 1)), generator.integers(0, 2, 500)
    evaluation = evaluate_stored(tmp_path, passthrough(1, "binary_cross_entropy", "float32"), logits, labels=codes)
    predicted = (logits[:, 0] >= 0).astype(int)
    assert evaluation.accuracy == metrics.accuracy_score(codes, predicted)
    assert evaluation.classification is not None
    assert evaluation.classification.confusion is not None
    assert evaluation.classification.confusion.tolist() == metrics.confusion_matrix(codes, predicted).tolist()
    assert evaluation.classification.classes[1].f1 == pytest.approx(metrics.f1_score(codes, predicted))
    assert evaluation.cost == pytest.approx(metrics.log_loss(codes, 1 / (1 + np.exp(-logits[:, 0]))), rel=1e-5)


@pytest.mark.parametrize(("classes", "has_confusion"), [(1000, True), (1001, False)])
def test_confusion_matrix_is_limited_to_1000_classes(tmp_path: Path, classes: int, has_confusion: bool) -> None:
    labels = np.arange(classes)
    evaluation = evaluate_stored(tmp_path, passthrough(classes), np.eye(classes)[::-1], labels=labels).classification
    assert evaluation is not None
    assert (evaluation.confusion is not None) == has_confusion
    if evaluation.confusion is not None:
        np.testing.assert_array_equal(evaluation.confusion, np.eye(classes)[::-1])
    assert len(evaluation.classes) == classes


@pytest.mark.parametrize("dtype", get_args(DtypeName))
@pytest.mark.parametrize("rows", [2, 300, 9000])
def test_regression_metrics_match_scikit_learn(tmp_path: Path, dtype: DtypeName, rows: int) -> None:
    generator = np.random.default_rng(rows)
    targets = generator.normal(size=(rows, 3)) * [1, 100, 1e-3] + [0, 1e4, 0]
    inputs = targets + generator.normal(size=(rows, 3)) * [0.1, 1000, 1e-3]
    evaluation = evaluate_stored(tmp_path, passthrough(3, dtype=dtype), inputs, targets=targets)

    y, a = targets.astype(dtype).astype(float), inputs.astype(dtype).astype(float)
    assert (evaluation.classification, evaluation.accuracy) == (None, None)
    assert evaluation.regression is not None
    ours = [(column.r2, column.mae, column.rmse) for column in evaluation.regression.columns]
    expected = [
        metrics.r2_score(y, a, multioutput="raw_values"),
        metrics.mean_absolute_error(y, a, multioutput="raw_values"),
        metrics.root_mean_squared_error(y, a, multioutput="raw_values"),
    ]
    np.testing.assert_allclose(np.array(ours, float), np.transpose(expected), rtol=1e-5 if dtype == "float32" else 1e-9)
    mean = evaluation.regression.mean
    assert mean.r2 == pytest.approx(metrics.r2_score(y, a), rel=1e-5)
    assert mean.mae == pytest.approx(metrics.mean_absolute_error(y, a), rel=1e-5)
    assert mean.rmse == pytest.approx(metrics.root_mean_squared_error(y, a), rel=1e-5)
    assert evaluation.cost == pytest.approx(((a - y) ** 2).sum() / 2 / rows, rel=1e-5)


def test_constant_targets_have_no_r2(tmp_path: Path) -> None:
    """Also where the mean of equal numbers is not exactly that number."""
    generator = np.random.default_rng(3)
    inputs = generator.normal(size=(1001, 2))
    targets = np.column_stack([np.full(1001, 0.1), generator.normal(size=1001)])
    some = evaluate_stored(tmp_path / "some", passthrough(2), inputs, targets=targets).regression
    assert some is not None
    expected = metrics.r2_score(targets[:, 1], inputs[:, 1])
    assert [column.r2 for column in some.columns] == [None, pytest.approx(expected)]
    assert some.mean.r2 == pytest.approx(expected)
    for name, rows in (("all", 1001), ("one", 1)):
        none = evaluate_stored(
            tmp_path / name, passthrough(1), inputs[:rows, :1], targets=targets[:rows, :1]
        ).regression
        assert none is not None
        assert none.mean.r2 is None
        assert none.mean.mae == pytest.approx(np.abs(inputs[:rows, 0] - 0.1).mean())


def test_targets_of_cross_entropy_have_accuracy(tmp_path: Path) -> None:
    generator = np.random.default_rng(4)
    logits, several = generator.normal(size=(5000, 3)), generator.integers(0, 2, (5000, 3))
    binary = evaluate_stored(tmp_path / "binary", passthrough(3, "binary_cross_entropy"), logits, targets=several)
    assert binary.accuracy == pytest.approx(((logits >= 0) == (several == 1)).mean())
    assert binary.regression is not None
    shares = generator.dirichlet(np.ones(3), 5000)
    categorical = evaluate_stored(
        tmp_path / "categorical", passthrough(3, "categorical_cross_entropy"), logits, targets=shares
    )
    assert categorical.accuracy == pytest.approx((logits.argmax(axis=1) == shares.argmax(axis=1)).mean())
    assert categorical.regression is not None


@pytest.mark.parametrize("weights", [None, "even", "drawn", "huge", "tiny"])
@pytest.mark.parametrize("cost", COSTS)
def test_cost_is_weighted_mean_over_rows(tmp_path: Path, cost: CostName, weights: str | None) -> None:
    """Compare with the formula of the cost, row by row; all other metrics ignore the weights."""
    rows = 4200 if weights == "drawn" else 40
    generator = np.random.default_rng(5)
    drawn = generator.exponential(size=rows) * generator.integers(0, 2, rows)
    values = {"even": np.full(rows, 7.0), "drawn": drawn, "huge": drawn * 1e306, "tiny": drawn * 1e-300}
    smoothing = 0.2 if cost == "categorical_cross_entropy" else 0.0
    network = passthrough(3, cost, label_smoothing=smoothing)
    inputs, targets = generator.normal(size=(rows, 3)), generator.dirichlet(np.ones(3), rows)
    plain = evaluate_stored(tmp_path / "plain", network, inputs, targets=targets)
    evaluation = evaluate_stored(
        tmp_path / "weighted", network, inputs, targets=targets, weights=values.get(weights or "")
    )

    outputs, smooth = network.predict(inputs), (1 - smoothing) * targets + smoothing / 3
    formula = KERNELS[f"add_{cost}"].formulas[0]
    costs = [sum(map(formula, outputs[i], smooth[i], [1.0] * 3)) for i in range(rows)]
    shares = None if weights is None else values[weights] / values[weights].max()
    assert evaluation.cost == pytest.approx(np.average(costs, weights=shares), rel=1e-9)
    assert (evaluation.accuracy, evaluation.regression) == (plain.accuracy, plain.regression)


@pytest.mark.parametrize("inputs", [[[1e200], [1.0]], [[1e308], [1.0]]])
@pytest.mark.parametrize("arrays", [{"targets": np.array([-1e308, 1])}, {"labels": [0, 1]}])
def test_infinite_outputs_and_errors_are_rejected(tmp_path: Path, inputs: Any, arrays: dict[str, Any]) -> None:
    network = passthrough(1)
    network.parameters[0] = 10
    with pytest.raises(InvalidInput, match="not finite numbers") as rejected:
        evaluate_stored(tmp_path, network, np.array(inputs), **arrays)
    assert rejected.value.problems[0][0] == "dataset_id"
