"""Arrays of scikit-learn's MLP and of PyTorch's Sequential."""

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
from tests.unit.model_io.sample_networks import predicted, read

Arrays = dict[str, npt.NDArray[Any]]
CHANCE = np.random.default_rng(9)


def npz(arrays: Arrays, *, compressed: bool = False) -> bytes:
    file = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(file, allow_pickle=False, **arrays)
    return file.getvalue()


def mlp(model: Any) -> Arrays:
    """As the documentation says to save one."""
    coefs = {f"coefs_{number}": w for number, w in enumerate(model.coefs_)}
    return coefs | {f"intercepts_{number}": b for number, b in enumerate(model.intercepts_)}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("load", [load_iris, load_breast_cancer])
def test_a_classifier_of_scikit_learn(load: Any, compressed: bool, tmp_path: Path) -> None:
    x, y = load(return_X_y=True)
    theirs = MLPClassifier((9, 5), activation="tanh", max_iter=20, random_state=1).fit(x / x.max(axis=0), y)
    two = len(set(y)) == 2
    classes = tuple(str(name) for name in load().target_names)
    last = "sigmoid" if two else "softmax"
    content = npz(mlp(theirs), compressed=compressed)
    ours = read(content, tmp_path, activations=("tanh", "tanh", last), classes=classes)
    expected = theirs.predict_proba(x / x.max(axis=0))
    found = predicted(ours, (x / x.max(axis=0)).tolist())
    np.testing.assert_allclose(found, expected[:, 1:] if two else expected, rtol=1e-9, atol=1e-12)
    assert ours.classes == classes
    assert ours.network.architecture.dtype == "float64"
    assert ours.network.architecture.cost == ("binary_cross_entropy" if two else "categorical_cross_entropy")


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_regressor_of_scikit_learn_in_float32(tmp_path: Path) -> None:
    x, y = load_diabetes(return_X_y=True)
    theirs = MLPRegressor(hidden_layer_sizes=16, max_iter=30, random_state=1).fit(x.astype("f4"), y)
    ours = read(npz(mlp(theirs)), tmp_path, activations=("relu", "identity"), cost="huber")
    assert (ours.network.architecture.dtype, ours.network.architecture.cost) == ("float32", "huber")
    found = predicted(ours, x.tolist())[:, 0]
    np.testing.assert_allclose(found, theirs.predict(x.astype("f4")), rtol=1e-5)


def sequential(**change: npt.NDArray[Any] | None) -> Arrays:
    """Of Linear, BatchNorm1d, ReLU, Linear."""
    arrays: Arrays = {
        "0.weight": CHANCE.normal(0, 0.5, (6, 4)).astype("f4"),
        "0.bias": CHANCE.normal(0, 0.5, 6).astype("f4"),
        "1.weight": CHANCE.normal(1, 0.5, 6).astype("f4"),
        "1.bias": CHANCE.normal(0, 0.5, 6).astype("f4"),
        "1.running_mean": CHANCE.normal(0, 0.5, 6).astype("f4"),
        "1.running_var": CHANCE.uniform(0.5, 2, 6).astype("f4"),
        "1.num_batches_tracked": np.array(17),
        "3.weight": CHANCE.normal(0, 0.5, (2, 6)).astype("f4"),
        "3.bias": CHANCE.normal(0, 0.5, 2).astype("f4"),
    }
    changes = {name.replace("__", "."): array for name, array in change.items()}
    return {name: array for name, array in {**arrays, **changes}.items() if array is not None}


def worked_out(arrays: Arrays, x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """As PyTorch does, in float64: Linear, BatchNorm1d where there is one, ReLU, Linear."""
    wide = {name: array.astype("f8") for name, array in arrays.items()}
    z = x @ wide["0.weight"].T + wide.get("0.bias", 0)
    if "1.running_mean" in wide:
        z = (z - wide["1.running_mean"]) / np.sqrt(wide["1.running_var"] + 1e-5)
        z = z * wide.get("1.weight", 1) + wide.get("1.bias", 0)
    answers: npt.NDArray[Any] = np.maximum(z, 0) @ wide["3.weight"].T + wide.get("3.bias", 0)
    return answers


KINDS: dict[str, Arrays] = {
    "whole": sequential(),
    "linear without bias": sequential(**{"0__bias": None, "3__bias": None}),
    "batch norm without weight": sequential(**{"1__weight": None, "1__bias": None}),
    "batch norm uncounted": sequential(**{"1__num_batches_tracked": None}),
    "without batch norm": {name: array for name, array in sequential().items() if not name.startswith("1.")},
    "in a module": {f"model.net.{name}": array for name, array in sequential().items()},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_sequential(kind: str, tmp_path: Path) -> None:
    arrays, x = KINDS[kind], CHANCE.normal(0, 1, (30, 4))
    content = safetensors.numpy.save(arrays)
    ours = read(content, tmp_path, activations=("relu", "identity"))
    plain = {name.removeprefix("model.net."): array for name, array in arrays.items()}
    np.testing.assert_allclose(predicted(ours, x.tolist()), worked_out(plain, x.astype("f4")), rtol=1e-5, atol=1e-6)
    layers = ours.network.architecture.layers
    assert [layer.batch_norm for layer in layers] == [kind != "without batch norm", False]
    assert (layers[0].activation, ours.network.architecture.cost) == ("relu", "quadratic")


def test_a_sequential_as_pytorch_itself_works_it_out(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from safetensors.torch import save  # which takes torch

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
        model(torch.randn(64, 5, dtype=dtype) * 3 + 1)  # moves the running statistics
        model.eval()
        x = torch.randn(100, 5, dtype=dtype)
        expected = model(x).detach().numpy()
        ours = read(save(model.state_dict()), tmp_path, activations=("silu", "gelu", "softmax"))
        np.testing.assert_allclose(predicted(ours, x.tolist()), expected, rtol=tolerance, atol=tolerance)


MLP: Arrays = {
    "coefs_0": np.ones((4, 6)),
    "intercepts_0": np.ones(6),
    "coefs_1": np.ones((6, 2)),
    "intercepts_1": np.ones(2),
}
TWO = ("relu", "identity")
WRONG: dict[str, tuple[Arrays, dict[str, Any], str, str]] = {
    "no activations": (MLP, {}, "layers", "has 2 layers, and does not say what their activations are"),
    "too few activations": (MLP, {"activations": ("relu",)}, "layers", "2 layers; here are 1"),
    "a cost that does not fit": (MLP, {"activations": TWO, "cost": "poisson"}, "layers.1.activation", "needs softplus"),
    "softmax over one": (
        {"coefs_0": np.ones((4, 1)), "intercepts_0": np.ones(1)},
        {"activations": ("softmax",)},
        "layers.0.activation",
        "always 1",
    ),
    "too few classes": (MLP, {"activations": TWO, "classes": ("a", "b", "c")}, "classes", "tells 2 apart"),
    "other names": ({"weights": np.ones(2)}, {}, "file", "has the arrays weights. Accepted"),
    "no arrays": ({}, {}, "file", r"has the arrays \(none\)"),
    "a gap": (
        {name: array for name, array in MLP.items() if name != "coefs_1"},
        {"activations": TWO},
        "file",
        "lacks the array coefs_1",
    ),
    "more than an MLP": ({**MLP, "classes_": np.arange(2)}, {}, "file", "also has the array 'classes_'"),
    "layers that do not fit": (
        {**MLP, "coefs_1": np.ones((5, 2))},
        {"activations": TWO},
        "file",
        "coefs_1 takes 5 inputs; the layer before it has 6 outputs",
    ),
    "intercepts of another width": (
        {**MLP, "intercepts_0": np.ones(5)},
        {"activations": TWO},
        "file",
        r"intercepts_0 is float64 of shape \[5\]; expected float64 of shape \[6\]",
    ),
    "whole numbers": ({**MLP, "coefs_0": np.ones((4, 6), int)}, {"activations": TWO}, "file", "coefs_0 is int64"),
    "two types": ({**MLP, "coefs_0": np.ones((4, 6), "f4")}, {"activations": TWO}, "file", "some float64"),
    "NaN": ({**MLP, "coefs_0": np.full((4, 6), np.nan)}, {"activations": TWO}, "file", "coefs_0 holds NaN"),
    "a list": ({**MLP, "coefs_0": np.ones(4)}, {"activations": TWO}, "file", "two dimensions"),
    "nothing": ({**MLP, "coefs_0": np.ones((0, 6))}, {"activations": TWO}, "file", "two dimensions"),
    "batch norm elsewhere": (
        {
            **{name: array for name, array in sequential().items() if name[0] != "1"},
            **{f"2{name[1:]}": array for name, array in sequential().items() if name[0] == "1"},
        },
        {"activations": TWO},
        "file",
        "2.running_mean: batch normalization is accepted right behind a Linear",
    ),
    "half of batch norm": (sequential(**{"1__running_var": None}), {"activations": TWO}, "file", "no running_var"),
    "a bias alone": (sequential(**{"3__weight": None}), {"activations": TWO}, "file", "no weight beside it"),
    "variances below 0": (
        sequential(**{"1__running_var": -np.ones(6, "f4")}),
        {"activations": TWO},
        "file",
        "variance below 0",
    ),
    "a convolution": (
        {"0.weight": np.ones((3, 3, 5, 5), "f4"), "0.bias": np.ones(3, "f4")},
        {"activations": ("relu",)},
        "file",
        "0.weight is float32 of shape",
    ),
    "half precision": (sequential(**{"0__weight": np.ones((6, 4), "f2")}), {"activations": TWO}, "file", "accepted"),
    "two modules": (
        {**{f"a.{name}": array for name, array in sequential().items()}, "b.0.weight": np.ones((2, 2), "f4")},
        {"activations": TWO},
        "file",
        "arrays of 2 modules",
    ),
    "something else besides": ({**sequential(), "head.scale": np.ones(2, "f4")}, {}, "file", "'head.scale'"),
}


@pytest.mark.parametrize("container", ["npz", "safetensors"])
@pytest.mark.parametrize("what", WRONG)
def test_what_is_refused(what: str, container: str, tmp_path: Path) -> None:
    arrays, hints, field, sentence = WRONG[what]
    content = npz(arrays) if container == "npz" else safetensors.numpy.save(arrays)
    if container == "safetensors" and what in ("whole numbers", "half precision"):
        sentence = "accepted: float32 and float64"
    with pytest.raises(InvalidInput, match=sentence) as refused:
        read(content, tmp_path, **hints)
    assert refused.value.problems[0][0] == field


def test_the_limit_is_looked_at_before_the_numbers(tmp_path: Path) -> None:
    with pytest.raises(TooLarge, match="has 44 parameters; this service takes at most 43"):
        read(npz(MLP), tmp_path, most=43, activations=TWO)
    assert read(npz(MLP), tmp_path, most=44, activations=TWO).network.architecture.parameters == 44
