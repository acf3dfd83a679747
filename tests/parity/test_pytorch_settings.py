"""Parity with PyTorch in batch normalization, penalties, clipping, sample weights and schedules: 51 steps, to 1e-9."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

torch = pytest.importorskip("torch", reason="PyTorch is not installed; .ci/run installs it")

EPOCHS, ROWS, BATCH_SIZE, RATE = 17, 20, 8, 0.05
STEPS_PER_EPOCH = math.ceil(ROWS / BATCH_SIZE)
Array = npt.NDArray[np.floating]


class TorchNetwork:
    """A 4-6-5-3 network with tanh, tanh and identity, from a network's parameters, and SGD on the quadratic cost."""

    def __init__(self, network: Network) -> None:
        self.layers = [[torch.tensor(array.copy(), requires_grad=True) for array in layer] for layer in network.layers]
        self.normalizations = {
            index: [torch.tensor(gamma.copy(), requires_grad=True), torch.tensor(means), torch.tensor(variances)]
            for index, (gamma, means, variances) in network.normalizations.items()
        }
        gammas = [normalization[0] for normalization in self.normalizations.values()]
        groups = [
            {"params": [w for w, _ in self.layers]},
            {"params": [b for _, b in self.layers] + gammas},
        ]
        self.optimizer = torch.optim.SGD(groups, RATE)

    def outputs(self, a: Any, training: bool) -> Any:
        for index, (w, b) in enumerate(self.layers):
            z = a @ w.T
            if index in self.normalizations:
                gamma, means, variances = self.normalizations[index]
                z = torch.nn.functional.batch_norm(z, means, variances, gamma, b, training, 0.1, 1e-5)
            else:
                z = z + b
            a = z if index == 2 else torch.tanh(z)
        return a

    def train(
        self,
        data: OpenDataset,
        *,
        before_step: Callable[[], None] = lambda: None,
        after_step: Callable[[], None] = lambda: None,
        penalty: Callable[[], Any] = lambda: 0.0,
    ) -> Array:
        x, y = torch.tensor(data.x), torch.tensor(data.y)
        weights = torch.ones(ROWS, dtype=torch.float64) if data.weights is None else torch.tensor(data.weights)
        weights = weights / weights.mean()
        for _ in range(EPOCHS):
            for first in range(0, ROWS, BATCH_SIZE):
                rows = slice(first, first + BATCH_SIZE)
                errors = ((self.outputs(x[rows], True) - y[rows]) ** 2).sum(dim=1) / 2
                loss = (weights[rows] * errors).mean() + penalty()
                self.optimizer.zero_grad()
                loss.backward()
                before_step()
                self.optimizer.step()
                after_step()
        parameters: list[Any] = []
        for index, layer in enumerate(self.layers):
            parameters += [*layer, *self.normalizations.get(index, [])[:1]]
        return np.concatenate([parameter.detach().numpy().reshape(-1) for parameter in parameters])

    @property
    def parameters(self) -> list[Any]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def create_data(weights: npt.NDArray[np.float64] | None = None) -> OpenDataset:
    generator = np.random.default_rng(4)
    return OpenDataset(generator.normal(size=(ROWS, 4)), generator.uniform(0.1, 0.9, (ROWS, 3)), None, weights)


def create_network(batch_norm: bool = False) -> Network:
    layers = (Layer(6, "tanh", batch_norm=batch_norm), Layer(5, "tanh"), Layer(3, "identity", batch_norm=batch_norm))
    return Network(Architecture(4, layers, "quadratic", "glorot_normal", seed=2, dtype="float64"))


def train(network: Network, data: OpenDataset, **settings: Any) -> Array:
    spec = TrainingSpec(
        **{"epochs": EPOCHS, "batch_size": BATCH_SIZE, "learning_rate": RATE, "shuffle": False, **settings}
    )
    initial = network.parameters.copy()
    for _ in Trainer(network, data, spec).run():
        pass
    assert np.abs(network.parameters - initial).max() > 0.01
    return np.asarray(network.parameters, np.float64)


def assert_matches(actual: Array, expected: Array) -> None:
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-9)


def test_batch_normalization_matches_pytorch_in_training_and_predictions() -> None:
    torch_network, network = TorchNetwork(create_network(batch_norm=True)), create_network(batch_norm=True)
    assert_matches(train(network, create_data()), torch_network.train(create_data()))
    for index, (_, means, variances) in network.normalizations.items():
        assert_matches(means, torch_network.normalizations[index][1].numpy())
        assert_matches(variances, torch_network.normalizations[index][2].numpy())
    x = np.random.default_rng(9).normal(size=(6, 4))
    assert_matches(network.predict(x), torch_network.outputs(torch.tensor(x), False).detach().numpy())


def test_l2_matches_weight_decay_of_pytorch() -> None:
    torch_network = TorchNetwork(create_network())
    torch_network.optimizer.param_groups[0]["weight_decay"] = 1.5 / ROWS
    assert_matches(train(create_network(), create_data(), l2=1.5), torch_network.train(create_data()))


def test_l1_matches_penalty_in_pytorch() -> None:
    torch_network = TorchNetwork(create_network())
    expected = torch_network.train(
        create_data(), penalty=lambda: sum(w.abs().sum() for w, _ in torch_network.layers) * 0.2 / ROWS
    )
    assert_matches(train(create_network(), create_data(), l1=0.2), expected)


def test_gradient_clipping_matches_pytorch() -> None:
    torch_network = TorchNetwork(create_network())
    expected = torch_network.train(
        create_data(), before_step=lambda: torch.nn.utils.clip_grad_norm_(torch_network.parameters, 0.3, foreach=False)
    )
    # Less exact, because PyTorch divides by the norm plus 1e-6.
    np.testing.assert_allclose(train(create_network(), create_data(), clip_norm=0.3), expected, rtol=0, atol=1e-5)
    torch_network = TorchNetwork(create_network())
    expected = torch_network.train(
        create_data(), before_step=lambda: torch.nn.utils.clip_grad_value_(torch_network.parameters, 0.02)
    )
    assert_matches(train(create_network(), create_data(), clip_value=0.02), expected)


def test_max_norm_matches_pytorch() -> None:
    torch_network = TorchNetwork(create_network())

    def renormalize() -> None:
        with torch.no_grad():
            for w, _ in torch_network.layers:
                norms = w.norm(dim=1, keepdim=True)
                w.mul_(torch.clamp(0.6 / norms, max=1.0))

    assert_matches(
        train(create_network(), create_data(), max_norm=0.6), torch_network.train(create_data(), after_step=renormalize)
    )


def test_sample_weights_match_pytorch() -> None:
    weighted = create_data(np.random.default_rng(6).uniform(0, 3, ROWS))
    assert_matches(train(create_network(), weighted), TorchNetwork(create_network()).train(weighted))


@pytest.mark.parametrize(
    ("schedule", "settings", "create_scheduler"),
    [
        (
            "step",
            {"every": 5.0, "factor": 0.5},
            lambda o: torch.optim.lr_scheduler.StepLR(o, 5 * STEPS_PER_EPOCH, 0.5),
        ),
        (
            "exponential",
            {"factor": 0.9},
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9 ** (step // STEPS_PER_EPOCH)),
        ),
        (
            "cosine",
            {"minimum": 0.001},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS_PER_EPOCH, 0.001),
        ),
        (
            "inverse_scaling",
            {"power": 0.4},
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: (step + 1) ** -0.4),
        ),
    ],
)
def test_schedules_match_pytorch(
    schedule: Any, settings: dict[str, float], create_scheduler: Callable[[Any], Any]
) -> None:
    torch_network = TorchNetwork(create_network())
    scheduler = create_scheduler(torch_network.optimizer)
    parameters = train(create_network(), create_data(), schedule=schedule, schedule_settings=settings)
    assert_matches(parameters, torch_network.train(create_data(), after_step=scheduler.step))
