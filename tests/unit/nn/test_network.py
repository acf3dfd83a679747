"""Networks: the layout of parameters, predictions, and validation."""

from typing import Any, get_args

import numpy as np
import pytest

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import ActivationName, CostName, InitializerName, OptimizerName
from nabla.engine.nn.activations import ACTIVATIONS
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.initializers import INITIALIZERS
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.nn.optimizers import OPTIMIZERS


def test_literals_list_the_entries_of_the_tables() -> None:
    for names, table in (
        (ActivationName, ACTIVATIONS),
        (CostName, COSTS),
        (InitializerName, INITIALIZERS),
        (OptimizerName, OPTIMIZERS),
    ):
        assert get_args(names) == tuple(table)


def test_layers_are_views_into_one_vector() -> None:
    network = Network(Architecture(784, (Layer(30, "sigmoid"), Layer(10, "sigmoid")), "quadratic"))
    assert network.architecture.parameters == 23860 == network.parameters.size
    assert [(w.shape, b.shape) for w, b in network.layers] == [((30, 784), (30,)), ((10, 30), (10,))]
    network.parameters[:] = 0
    for w, b in network.layers:
        assert np.shares_memory(w, network.parameters)
        w[:] += 1
        b[:] += 1
    assert (network.parameters == 1).all()


@pytest.mark.parametrize("rows", [0, 1, 255, 256, 257, 1000])
def test_predictions_match_numpy_for_any_number_of_rows(rows: int) -> None:
    network = Network(Architecture(3, (Layer(5, "tanh"), Layer(2, "softmax")), "quadratic", dtype="float64"))
    x = np.random.default_rng(1).normal(size=(rows, 3))
    (w1, b1), (w2, b2) = network.layers
    z = np.tanh(x @ w1.T + b1) @ w2.T + b2
    expected = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(network.predict(x), expected, rtol=1e-12)


VALID_FIELDS: dict[str, Any] = {"inputs": 2, "layers": (Layer(3, "tanh"), Layer(1, "sigmoid")), "cost": "quadratic"}


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"inputs": 0}, "inputs", "at least 1"),
        ({"layers": ()}, "layers", "at least 1"),
        ({"layers": (Layer(3, "tanh"), Layer(0, "tanh"))}, "layers.1.units", "at least 1"),
        ({"layers": (Layer(3, "swoosh"),)}, "layers.0.activation", "sigmoid, tanh"),  # type: ignore[arg-type]  # invalid on purpose
        ({"cost": "hinge"}, "cost", "quadratic, mean_absolute, huber"),
        ({"initializer": "zeros"}, "initializer", "he_normal"),
        ({"dtype": "int8"}, "dtype", "float32, float64"),
        ({"seed": -1}, "seed", "from 0"),
        ({"label_smoothing": 1.0}, "label_smoothing", "below 1"),
        ({"label_smoothing": 0.1}, "label_smoothing", "requires the cost categorical"),
        ({"huber_delta": 0.0}, "huber_delta", "above 0"),
        ({"cost": "poisson"}, "layers.1.activation", "needs softplus"),
        ({"layers": (Layer(1, "softmax"),)}, "layers.0.activation", "at least 2 units"),
        ({"cost": "binary_cross_entropy", "layers": (Layer(1, "tanh"),)}, "layers.0.activation", "needs sigmoid"),
        ({"cost": "categorical_cross_entropy"}, "layers.1.activation", "needs softmax"),
    ],
)
def test_invalid_architecture_names_the_field_and_accepted_values(
    change: dict[str, Any], field: str, message: str
) -> None:
    with pytest.raises(InvalidInput, match=message) as raised:
        Architecture(**{**VALID_FIELDS, **change})
    assert raised.value.problems[0][0] == field


def test_parameters_and_inputs_of_wrong_shape_or_dtype_are_rejected() -> None:
    architecture = Architecture(**VALID_FIELDS)
    with pytest.raises(InvalidInput, match="13 float32 numbers"):
        Network(architecture, np.zeros(12, np.float32))
    with pytest.raises(InvalidInput, match="float64"):
        Network(architecture, np.zeros(13, np.float64))
    with pytest.raises(InvalidInput, match="rows of 2"):
        Network(architecture).predict(np.zeros((1, 3)))
