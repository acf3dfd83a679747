"""Batch normalization, penalties, clipping, row weights and schedules: 50 steps end where PyTorch's end, to 1e-9."""

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

EPOCHS, ROWS, BATCH, RATE = 17, 20, 8, 0.05
STEPS = -(-ROWS // BATCH)
Array = npt.NDArray[np.floating]


class InTorch:
    """4-6-5-3 with tanh, tanh and identity from the start of one of our networks, and SGD on the quadratic cost."""

    def __init__(self, start: Network) -> None:
        self.layers = [[torch.tensor(array.copy(), requires_grad=True) for array in layer] for layer in start.layers]
        self.normalizations = {
            index: [torch.tensor(scales.copy(), requires_grad=True), torch.tensor(means), torch.tensor(variances)]
            for index, (scales, means, variances) in start.normalizations.items()
        }
        scales = [normalization[0] for normalization in self.normalizations.values()]
        groups = [
            {"params": [w for w, _ in self.layers]},
            {"params": [b for _, b in self.layers] + scales},
        ]
        self.optimizer = torch.optim.SGD(groups, RATE)

    def outputs(self, a: Any, training: bool) -> Any:
        for index, (w, b) in enumerate(self.layers):
            z = a @ w.T
            if index in self.normalizations:
                scales, means, variances = self.normalizations[index]
                z = torch.nn.functional.batch_norm(z, means, variances, scales, b, training, 0.1, 1e-5)
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
            for first in range(0, ROWS, BATCH):
                rows = slice(first, first + BATCH)
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


def data(weights: npt.NDArray[np.float64] | None = None) -> OpenDataset:
    generator = np.random.default_rng(4)
    return OpenDataset(generator.normal(size=(ROWS, 4)), generator.uniform(0.1, 0.9, (ROWS, 3)), None, weights)


def network(batch_norm: bool = False) -> Network:
    layers = (Layer(6, "tanh", batch_norm=batch_norm), Layer(5, "tanh"), Layer(3, "identity", batch_norm=batch_norm))
    return Network(Architecture(4, layers, "quadratic", "glorot_normal", seed=2, dtype="float64"))


def trained(start: Network, examples: OpenDataset, **settings: Any) -> Array:
    spec = TrainingSpec(**{"epochs": EPOCHS, "batch_size": BATCH, "learning_rate": RATE, "shuffle": False, **settings})
    before = start.parameters.copy()
    for _ in Trainer(start, examples, spec).run():
        pass
    assert np.abs(start.parameters - before).max() > 0.01
    return np.asarray(start.parameters, np.float64)


def same(found: Array, expected: Array) -> None:
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


def test_batch_normalization_in_training_and_in_predictions() -> None:
    theirs, ours = InTorch(network(batch_norm=True)), network(batch_norm=True)
    same(trained(ours, data()), theirs.train(data()))
    for index, (_, means, variances) in ours.normalizations.items():
        same(means, theirs.normalizations[index][1].numpy())
        same(variances, theirs.normalizations[index][2].numpy())
    x = np.random.default_rng(9).normal(size=(6, 4))
    same(ours.predict(x), theirs.outputs(torch.tensor(x), False).detach().numpy())


def test_l2_is_the_weight_decay_of_the_weights() -> None:
    theirs = InTorch(network())
    theirs.optimizer.param_groups[0]["weight_decay"] = 1.5 / ROWS
    same(trained(network(), data(), l2=1.5), theirs.train(data()))


def test_l1() -> None:
    theirs = InTorch(network())
    expected = theirs.train(data(), penalty=lambda: sum(w.abs().sum() for w, _ in theirs.layers) * 0.2 / ROWS)
    same(trained(network(), data(), l1=0.2), expected)


def test_clipping() -> None:
    theirs = InTorch(network())
    expected = theirs.train(
        data(), before_step=lambda: torch.nn.utils.clip_grad_norm_(theirs.parameters, 0.3, foreach=False)
    )
    # PyTorch divides by the norm plus 1e-6.
    np.testing.assert_allclose(trained(network(), data(), clip_norm=0.3), expected, rtol=0, atol=1e-5)
    theirs = InTorch(network())
    expected = theirs.train(data(), before_step=lambda: torch.nn.utils.clip_grad_value_(theirs.parameters, 0.02))
    same(trained(network(), data(), clip_value=0.02), expected)


def test_the_largest_norm() -> None:
    theirs = InTorch(network())

    def renormalize() -> None:
        with torch.no_grad():
            for w, _ in theirs.layers:
                lengths = w.norm(dim=1, keepdim=True)
                w.mul_(torch.clamp(0.6 / lengths, max=1.0))

    same(trained(network(), data(), max_norm=0.6), theirs.train(data(), after_step=renormalize))


def test_row_weights() -> None:
    weighted = data(np.random.default_rng(6).uniform(0, 3, ROWS))
    same(trained(network(), weighted), InTorch(network()).train(weighted))


@pytest.mark.parametrize(
    ("schedule", "settings", "of_torch"),
    [
        (
            "step",
            {"every": 5.0, "factor": 0.5},
            lambda o: torch.optim.lr_scheduler.StepLR(o, 5 * STEPS, 0.5),
        ),
        (
            "exponential",
            {"factor": 0.9},
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: 0.9 ** (step // STEPS)),
        ),
        (
            "cosine",
            {"minimum": 0.001},
            lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, EPOCHS * STEPS, 0.001),
        ),
        (
            "inverse_scaling",
            {"power": 0.4},
            lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda step: (step + 1) ** -0.4),
        ),
    ],
)
def test_schedules(schedule: Any, settings: dict[str, float], of_torch: Callable[[Any], Any]) -> None:
    theirs = InTorch(network())
    scheduler = of_torch(theirs.optimizer)
    found = trained(network(), data(), schedule=schedule, schedule_settings=settings)
    same(found, theirs.train(data(), after_step=scheduler.step))
