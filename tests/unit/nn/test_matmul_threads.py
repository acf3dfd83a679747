"""Matrix products that are shared by threads: results, bits, and changes of who takes part."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from nabla.engine.data.loading import OpenDataset
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.compiled_step import run_compiled
from nabla.engine.nn.matmul import matmul_nn, matmul_nt, matmul_tn
from nabla.engine.nn.matmul_threads import MIN_SHARED_MULTIPLY_ADDS, MatmulThreads, SharingPolicy
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.devices import CpuDevice
from nabla.engine.training.trainer import Trainer
from nabla.engine.typing import Matrix

# Rows, inputs and units: large products with sizes that do not divide evenly, and thin ones.
SHAPES = [(32, 311, 128), (100, 101, 103), (1025, 33, 31), (3, 1000, 400), (1, 1200, 1001), (2048, 600, 1)]


@pytest.fixture(params=[2, 3])
def threads(request: pytest.FixtureRequest) -> Iterator[MatmulThreads]:
    threads = MatmulThreads(request.param)
    yield threads
    threads.set_active(False)
    MatmulThreads(1)


def multiply_all(a: Matrix, w: Matrix, delta: Matrix, z: Matrix, gradient: Matrix, propagated: Matrix) -> None:
    matmul_nt(a, w, z)
    matmul_tn(delta, a, gradient)
    matmul_nn(delta, w, propagated)


def _multiply(shape: tuple[int, int, int], dtype: str) -> tuple[list[Matrix], list[Matrix]]:
    """Return the three products of a layer by compiled code, and by NumPy in float64."""
    m, inputs, units = shape
    generator = np.random.default_rng(0)
    a, w, delta = (generator.normal(size=size).astype(dtype) for size in ((m, inputs), (units, inputs), (m, units)))
    products: list[Matrix] = [np.full(size, np.nan, dtype) for size in ((m, units), (units, inputs), (m, inputs))]
    run_compiled(multiply_all, a, w, delta, *products)
    exact: list[Matrix] = [x.astype(np.float64) @ y.astype(np.float64) for x, y in ((a, w.T), (delta.T, a), (delta, w))]
    return products, exact


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_shared_products_are_right_whichever_thread_computes_them(
    threads: MatmulThreads, shape: tuple[int, int, int], dtype: str
) -> None:
    assert np.prod(shape) >= MIN_SHARED_MULTIPLY_ADDS
    alone, exact = _multiply(shape, dtype)
    threads.set_active(True)
    for _ in range(20):
        shared, _ = _multiply(shape, dtype)
        for product, other, reference in zip(shared, alone, exact, strict=True):
            np.testing.assert_array_equal(product, other)
            np.testing.assert_allclose(product, reference, atol=1e-2 if dtype == "float32" else 1e-10)


def test_helpers_wake_after_they_fell_asleep(threads: MatmulThreads) -> None:
    """Products of many sizes in turn, between which helpers go to sleep or not."""
    threads.set_active(True)
    slept = threading.Event()
    for pause in (0.0, 0.001, 0.01) * 5:
        slept.wait(pause)  # never set: only time passes, for which there is no event
        shared, exact = _multiply(SHAPES[0], "float64")
        np.testing.assert_allclose(shared[0], exact[0], atol=1e-10)


def _train(policy: str | None, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Train with two cores, and return the parameters. `policy`: "with" or "without" helpers, or "alternately"."""
    calls = iter(range(10**6))

    def train(self: SharingPolicy, first: int, last: int, batch_rows: int, train: Any) -> None:
        for start in range(first, last, batch_rows):
            self._threads.set_active({"with": True, "without": False, "alternately": next(calls) % 2 == 0}[str(policy)])
            train(start, min(last, start + batch_rows))

    if policy is not None:
        monkeypatch.setattr(SharingPolicy, "train", train)
    generator = np.random.default_rng(0)
    x = generator.normal(size=(1000, 300)).astype(np.float32)
    y = np.sin(x[:, :1])
    architecture = Architecture(300, (Layer(120, "relu"), Layer(1, "identity")), "quadratic")
    spec = TrainingSpec(epochs=4, batch_size=32, learning_rate=0.01, optimizer="adam", validation_fraction=0.2)
    network = Network(architecture)
    backend = CpuDevice(2).backend_for(architecture, spec, len(x))
    for _ in Trainer(network, OpenDataset(x, y), spec, make_backend=backend).run():
        pass
    return network.parameters.copy()


def test_trained_weights_do_not_depend_on_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _train(None, monkeypatch)
    for policy in ("without", "with", "alternately"):
        np.testing.assert_array_equal(_train(policy, monkeypatch), expected)


class _Clock:
    """Time that passes only while rows are trained, at a pace with helpers and one without."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, threads: MatmulThreads) -> None:
        self.now, self.seconds_per_row, self.rows = 0.0, {False: 1e-3, True: 0.5e-3}, {False: 0, True: 0}
        self._threads = threads
        monkeypatch.setattr("time.perf_counter", lambda: self.now)
        monkeypatch.setattr("time.monotonic", lambda: self.now)

    def train(self, first: int, last: int) -> None:
        self.now += (last - first) * self.seconds_per_row[self._threads.is_active]
        self.rows[self._threads.is_active] += last - first

    def share_of_helped_rows(self, policy: SharingPolicy, chunks: int, batches: int = 100) -> float:
        self.rows = {False: 0, True: 0}
        for _ in range(chunks):
            policy.train(0, 10 * batches, 10, self.train)
        return self.rows[True] / sum(self.rows.values())


def test_policy_follows_the_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = MatmulThreads(2)
    clock, policy = _Clock(monkeypatch, threads), SharingPolicy(threads)
    assert clock.share_of_helped_rows(policy, 100) > 0.9
    clock.seconds_per_row[True] = 20e-3  # another program has taken a core
    clock.share_of_helped_rows(policy, 2)
    assert clock.share_of_helped_rows(policy, 100) < 0.01
    clock.seconds_per_row[True] = 0.5e-3
    clock.share_of_helped_rows(policy, 40)
    assert clock.share_of_helped_rows(policy, 100) > 0.9
    clock.seconds_per_row[True] = 0.9e-3  # faster, but not by enough to take a second core for it
    clock.share_of_helped_rows(policy, 40)
    assert clock.share_of_helped_rows(policy, 100) < 0.1
    MatmulThreads(1)


def test_policy_chooses_helpers_for_steps_that_each_take_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = MatmulThreads(2)
    clock, policy = _Clock(monkeypatch, threads), SharingPolicy(threads)
    clock.seconds_per_row = {False: 0.1, True: 0.05}
    clock.share_of_helped_rows(policy, 3, batches=1)
    assert clock.share_of_helped_rows(policy, 200, batches=1) > 0.9
    clock.seconds_per_row[True] = 2.0  # another program has taken a core
    clock.share_of_helped_rows(policy, 4, batches=1)
    assert clock.share_of_helped_rows(policy, 200, batches=1) < 0.1
    MatmulThreads(1)
