"""Import of the weights of scikit-learn's MLP and of PyTorch's Sequential."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import safetensors.numpy
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.neural_network import MLPClassifier, MLPRegressor

from nabla.engine.errors import InvalidInput, TooLarge
from tests.unit.model_io.sample_networks import import_file, predict

Tensors = dict[str, npt.NDArray[Any]]
RNG = np.random.default_rng(9)


def npz_bytes(tensors: Tensors, *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, allow_pickle=False, **tensors)
    return file.getvalue()


def mlp_weights(model: Any) -> Tensors:
    """Return the weights of an MLP, named as the documentation recommends."""
    coefs = {f"coefs_{number}": w for number, w in enumerate(model.coefs_)}
    return coefs | {f"intercepts_{number}": b for number, b in enumerate(model.intercepts_)}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_scikit_learn_classifier(load: Any, compressed: bool, tmp_path: Path) -> None:
    x, y = load(return_X_y=True)
    model = MLPClassifier((9, 5), activation="tanh", max_iter=20, random_state=1).fit(x / x.max(axis=0), y)
    is_binary = len(set(y)) == 2
    classes = tuple(str(name) for name in load().target_names)
    output_activation = "sigmoid" if is_binary else "softmax"
    content = npz_bytes(mlp_weights(model), compressed=compressed)
    bundle = import_file(content, tmp_path, activations=("tanh", "tanh", output_activation), classes=classes)
    expected = model.predict_proba(x / x.max(axis=0))
    outputs = predict(bundle, (x / x.max(axis=0)).tolist())
    np.testing.assert_allclose(outputs, expected[:, 1:] if is_binary else expected, rtol=1e-9, atol=1e-12)
    assert bundle.classes == classes
    assert bundle.network.architecture.dtype == "float64"
    assert bundle.network.architecture.cost == ("binary_cross_entropy" if is_binary else "categorical_cross_entropy")


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_scikit_learn_regressor_in_float32(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    model = MLPRegressor(hidden_layer_sizes=16, max_iter=30, random_state=1).fit(x.astype("f4"), y)
    bundle = import_file(npz_bytes(mlp_weights(model)), tmp_path, activations=("relu", "identity"), cost="huber")
    assert (bundle.network.architecture.dtype, bundle.network.architecture.cost) == ("float32", "huber")
    outputs = predict(bundle, x.tolist())[:, 0]
    np.testing.assert_allclose(outputs, model.predict(x.astype("f4")), rtol=1e-5)


def sequential(**changes: npt.NDArray[Any] | None) -> Tensors:
    """Return the weights of Linear, BatchNorm1d, ReLU, Linear; a change to None removes a tensor."""
    tensors: Tensors = {
        "0.weight": RNG.normal(0, 0.5, (6, 4)).astype("f4"),
        "0.bias": RNG.normal(0, 0.5, 6).astype("f4"),
        "1.weight": RNG.normal(1, 0.5, 6).astype("f4"),
        "1.bias": RNG.normal(0, 0.5, 6).astype("f4"),
        "1.running_mean": RNG.normal(0, 0.5, 6).astype("f4"),
        "1.running_var": RNG.uniform(0.5, 2, 6).astype("f4"),
        "1.num_batches_tracked": np.array(17),
        "3.weight": RNG.normal(0, 0.5, (2, 6)).astype("f4"),
        "3.bias": RNG.normal(0, 0.5, 2).astype("f4"),
    }
    changed = {name.replace("__", "."): tensor for name, tensor in changes.items()}
    return {name: tensor for name, tensor in {**tensors, **changed}.items() if tensor is not None}


def compute_outputs(tensors: Tensors, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Compute a Sequential in float64 by PyTorch's formulas: Linear, optional BatchNorm1d, ReLU, Linear."""
    wide = {name: tensor.astype("f8") for name, tensor in tensors.items()}
    z = x @ wide["0.weight"].T + wide.get("0.bias", 0)
    if "1.running_mean" in wide:
        z = (z - wide["1.running_mean"]) / np.sqrt(wide["1.running_var"] + 1e-5)
        z = z * wide.get("1.weight", 1) + wide.get("1.bias", 0)
    outputs: npt.NDArray[Any] = np.maximum(z, 0) @ wide["3.weight"].T + wide.get("3.bias", 0)
    return outputs


SEQUENTIALS: dict[str, Tensors] = {
    "complete": sequential(),
    "linear without bias": sequential(**{"0__bias": None, "3__bias": None}),
    "batch norm without weight": sequential(**{"1__weight": None, "1__bias": None}),
    "batch norm without count": sequential(**{"1__num_batches_tracked": None}),
    "without batch norm": {name: array for name, array in sequential().items() if not name.startswith("1.")},
    "in a module": {f"model.net.{name}": array for name, array in sequential().items()},
}


@pytest.mark.parametrize("kind", SEQUENTIALS)
def test_pytorch_sequential(kind: str, tmp_path: Path) -> None:
    tensors, x = SEQUENTIALS[kind], RNG.normal(0, 1, (30, 4))
    content = safetensors.numpy.save(tensors)
    bundle = import_file(content, tmp_path, activations=("relu", "identity"))
    plain = {name.removeprefix("model.net."): tensor for name, tensor in tensors.items()}
    np.testing.assert_allclose(
        predict(bundle, x.tolist()), compute_outputs(plain, x.astype("f4")), rtol=1e-5, atol=1e-6
    )
    layers = bundle.network.architecture.layers
    assert [layer.batch_norm for layer in layers] == [kind != "without batch norm", False]
    assert (layers[0].activation, bundle.network.architecture.cost) == ("relu", "quadratic")


def test_pytorch_sequential_against_pytorch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import save  # needs torch

    torch.manual_seed(3)
    nn = torch.nn
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-12)):
        model = nn.Sequential(
            nn.Linear(5, 8, bias=False),
            nn.BatchNorm1d(8),
            nn.SiLU(),
            nn.Dropout(0.3),
            nn.Linear(8, 8),
            nn.GELU(),
            nn.Linear(8, 3),
            nn.Softmax(-1),
        ).to(dtype)
        model(torch.randn(64, 5, dtype=dtype) * 3 + 1)  # updates the running statistics
        model.eval()
        x = torch.randn(100, 5, dtype=dtype)
        expected = model(x).detach().numpy()
        bundle = import_file(save(model.state_dict()), tmp_path, activations=("silu", "gelu", "softmax"))
        np.testing.assert_allclose(predict(bundle, x.tolist()), expected, rtol=tolerance, atol=tolerance)


MLP: Tensors = {
    "coefs_0": np.ones((4, 6)),
    "intercepts_0": np.ones(6),
    "coefs_1": np.ones((6, 2)),
    "intercepts_1": np.ones(2),
}
ACTIVATIONS = ("relu", "identity")
INVALID: dict[str, tuple[Tensors, dict[str, Any], str, str]] = {
    "no activations": (MLP, {}, "layers", "has 2 layers and does not state their activations"),
    "too few activations": (MLP, {"activations": ("relu",)}, "layers", "2 layers, but 1 activations"),
    "cost that does not fit": (
        MLP,
        {"activations": ACTIVATIONS, "cost": "poisson"},
        "layers.1.activation",
        "needs softplus",
    ),
    "softmax of one unit": (
        {"coefs_0": np.ones((4, 1)), "intercepts_0": np.ones(1)},
        {"activations": ("softmax",)},
        "layers.0.activation",
        "always 1",
    ),
    "too few classes": (MLP, {"activations": ACTIVATIONS, "classes": ("a", "b", "c")}, "classes", "needs 2"),
    "unknown names": ({"weights": np.ones(2)}, {}, "file", "has the tensors weights. Accepted"),
    "no tensors": ({}, {}, "file", r"has the tensors \(none\)"),
    "missing layer": (
        {name: array for name, array in MLP.items() if name != "coefs_1"},
        {"activations": ACTIVATIONS},
        "file",
        "tensor coefs_1 is missing",
    ),
    "unknown tensor of an MLP": ({**MLP, "classes_": np.arange(2)}, {}, "file", "tensor 'classes_' is unknown"),
    "layers that do not fit": (
        {**MLP, "coefs_1": np.ones((5, 2))},
        {"activations": ACTIVATIONS},
        "file",
        "coefs_1 takes 5 inputs; the layer before it has 6 outputs",
    ),
    "intercepts of another width": (
        {**MLP, "intercepts_0": np.ones(5)},
        {"activations": ACTIVATIONS},
        "file",
        r"intercepts_0 is float64 of shape \[5\]; expected float64 of shape \[6\]",
    ),
    "integers": ({**MLP, "coefs_0": np.ones((4, 6), int)}, {"activations": ACTIVATIONS}, "file", "coefs_0 is int64"),
    "two dtypes": (
        {**MLP, "coefs_0": np.ones((4, 6), "f4")},
        {"activations": ACTIVATIONS},
        "file",
        "both float32 and float64",
    ),
    "NaN": ({**MLP, "coefs_0": np.full((4, 6), np.nan)}, {"activations": ACTIVATIONS}, "file", "coefs_0 holds NaN"),
    "one dimension": ({**MLP, "coefs_0": np.ones(4)}, {"activations": ACTIVATIONS}, "file", "two dimensions"),
    "no units": ({**MLP, "coefs_0": np.ones((0, 6))}, {"activations": ACTIVATIONS}, "file", "two dimensions"),
    "layer norm": (
        {
            **{name: array for name, array in sequential().items() if name[0] != "1"},
            "1.weight": np.ones(6),
            "1.bias": np.ones(6),
        },
        {},
        "file",
        r"The module 1 has float64 of shape \[6\] and no running_mean: a LayerNorm",
    ),
    "batch norm after an activation": (
        {
            **{name: array for name, array in sequential().items() if name[0] != "1"},
            **{f"2{name[1:]}": array for name, array in sequential().items() if name[0] == "1"},
        },
        {"activations": ACTIVATIONS},
        "file",
        "2.running_mean: batch normalization is supported right after a Linear",
    ),
    "incomplete batch norm": (
        sequential(**{"1__running_var": None}),
        {"activations": ACTIVATIONS},
        "file",
        "no running_var",
    ),
    "bias without weights": (
        sequential(**{"3__weight": None}),
        {"activations": ACTIVATIONS},
        "file",
        "no weight of the same module",
    ),
    "negative variances": (
        sequential(**{"1__running_var": -np.ones(6, "f4")}),
        {"activations": ACTIVATIONS},
        "file",
        "negative variance",
    ),
    "a convolution": (
        {"0.weight": np.ones((3, 3, 5, 5), "f4"), "0.bias": np.ones(3, "f4")},
        {"activations": ("relu",)},
        "file",
        "0.weight is float32 of shape",
    ),
    "float16": (sequential(**{"0__weight": np.ones((6, 4), "f2")}), {"activations": ACTIVATIONS}, "file", "accepted"),
    "two modules": (
        {**{f"a.{name}": array for name, array in sequential().items()}, "b.0.weight": np.ones((2, 2), "f4")},
        {"activations": ACTIVATIONS},
        "file",
        "tensors of 2 modules",
    ),
    "unknown tensor": ({**sequential(), "head.scale": np.ones(2, "f4")}, {}, "file", "'head.scale'"),
}


@pytest.mark.parametrize("container", ["npz", "safetensors"])
@pytest.mark.parametrize("case", INVALID)
def test_invalid_weights_are_rejected(case: str, container: str, tmp_path: Path) -> None:
    tensors, hints, field, message = INVALID[case]
    content = npz_bytes(tensors) if container == "npz" else safetensors.numpy.save(tensors)
    if container == "safetensors" and case in ("integers", "float16"):
        message = "accepted: float32 and float64"
    with pytest.raises(InvalidInput, match=message) as error:
        import_file(content, tmp_path, **hints)
    assert error.value.problems[0][0] == field


def test_limit_of_parameters(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="has 44 parameters; at most 43 are accepted"):
        import_file(npz_bytes(MLP), tmp_path, max_parameters=43, activations=ACTIVATIONS)
    assert (
        import_file(
            npz_bytes(MLP), tmp_path, max_parameters=44, activations=ACTIVATIONS
        ).network.architecture.parameters
        == 44
    )
