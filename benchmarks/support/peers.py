"""Nabla and its peers: each trains one epoch of a workload per call, in a new order of the rows, and returns its cost.

    python -m benchmarks.support.peers NAME

reads workload numbers from standard input, line by line, trains an epoch of each, and prints the seconds it took.
"""

import sys
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.support.workloads import WORKLOADS, Workload

TrainEpoch = Callable[[], float]
"""Trains an epoch and returns its mean cost."""

# More epochs than any benchmark trains.
_EPOCHS = 10**6


def nabla(workload: Workload, cores: int | None = None) -> TrainEpoch:
    """Return the trainer as a job runs it. `cores`: of its slot; by default all."""
    import os

    from nabla.engine.data.loading import OpenDataset
    from nabla.engine.nn.network import Network
    from nabla.engine.training.config import TrainingSpec
    from nabla.engine.training.devices import CpuDevice
    from nabla.engine.training.trainer import Trainer

    architecture = workload.architecture
    x, y = workload.data()
    spec = TrainingSpec(_EPOCHS, workload.batch, workload.rate, workload.optimizer)
    backend = CpuDevice(cores or len(os.sched_getaffinity(0))).backend_for(architecture, spec, len(x))
    dataset = OpenDataset(x, y)
    run = Trainer(Network(architecture), dataset, spec, classes=workload.classes, make_backend=backend).run()

    def epoch() -> float:
        return next(item.cost for item in run if item is not None)

    return epoch


def gemm(workload: Workload) -> TrainEpoch:
    """Return the matrix products of the steps alone on one thread: the lower bound for an engine on this BLAS."""
    from nabla.engine.nn.blas import limit_blas_threads
    from nabla.engine.nn.compiled_step import CompiledStep
    from nabla.engine.nn.matmul import matmul_nn, matmul_nt, matmul_tn
    from nabla.engine.nn.tracing import StepTrace

    limit_blas_threads()
    generator, trace, m = np.random.default_rng(1), StepTrace(), workload.batch

    def allocate(*shape: int) -> Any:
        return trace.array(generator.random(shape, np.float32))

    for layer, (inputs, units) in enumerate(workload.architecture.shapes):
        a, w, z = allocate(m, inputs), allocate(units, inputs), allocate(m, units)
        matmul_nt(a, w, z)
        matmul_tn(z, a, allocate(units, inputs))
        if layer:  # the first layer propagates no deltas
            matmul_nn(z, w, allocate(m, inputs))
    step = CompiledStep(trace)

    def epoch() -> float:
        step.run(workload.steps)
        return 0.0

    return epoch


def pytorch(workload: Workload) -> TrainEpoch:
    """Return eager PyTorch, as its tutorials write it, with the rows in one tensor."""
    import torch

    functions = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU}
    modules: list[torch.nn.Module] = []
    for inputs, units in zip(workload.units, workload.units[1:], strict=False):
        modules += [torch.nn.Linear(inputs, units), functions[workload.hidden]()]
    modules.pop()
    if workload.output == "sigmoid":
        modules.append(torch.nn.Sigmoid())
    model = torch.nn.Sequential(*modules)
    compute_loss = torch.nn.CrossEntropyLoss() if workload.output == "softmax" else torch.nn.MSELoss()
    kinds = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}
    optimizer = kinds[workload.optimizer](model.parameters(), lr=workload.rate)
    x, y = (torch.from_numpy(array) for array in workload.data())

    def epoch() -> float:
        total = 0.0
        for rows in torch.randperm(len(x)).split(workload.batch):
            loss = compute_loss(model(x[rows]), y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / workload.steps

    return epoch


def jax(workload: Workload) -> TrainEpoch:
    """Return JAX with a whole epoch compiled, the loop over mini-batches included (jit and scan)."""
    import jax
    from jax import numpy as jnp

    hidden = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu}[workload.hidden]
    x, y = (jnp.asarray(array) for array in workload.data())
    keys = jax.random.split(jax.random.PRNGKey(1), len(workload.units))
    shapes = list(zip(workload.units, workload.units[1:], strict=False))
    parameters = [
        (jax.random.normal(key, shape) / np.sqrt(shape[0]), jnp.zeros(shape[1]))
        for key, shape in zip(keys, shapes, strict=False)
    ]

    def compute_loss(parameters, a, y):  # type: ignore[no-untyped-def]  # JAX is not checked
        for w, b in parameters[:-1]:
            a = hidden(a @ w + b)
        z = a @ parameters[-1][0] + parameters[-1][1]
        if workload.output == "softmax":
            return -jnp.mean(jnp.sum(y * jax.nn.log_softmax(z), axis=1))
        a = jax.nn.sigmoid(z) if workload.output == "sigmoid" else z
        return jnp.mean(jnp.sum((a - y) ** 2, axis=1)) / 2

    def step(state, rows):  # type: ignore[no-untyped-def]  # JAX is not checked
        parameters, m, v, t = state
        loss, g = jax.value_and_grad(compute_loss)(parameters, x[rows], y[rows])
        if workload.optimizer == "sgd":
            return (jax.tree.map(lambda w, g: w - workload.rate * g, parameters, g), m, v, t), loss
        t = t + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        size = workload.rate / (1 - 0.9**t)
        unbias = 1 / jnp.sqrt(1 - 0.999**t)
        new = jax.tree.map(lambda w, m, v: w - size * m / (jnp.sqrt(v) * unbias + 1e-8), parameters, m, v)
        return (new, m, v, t), loss

    @jax.jit
    def train(state, key):  # type: ignore[no-untyped-def]  # JAX is not checked
        order = jax.random.permutation(key, len(x)).reshape(workload.steps, workload.batch)
        state, losses = jax.lax.scan(step, state, order)
        return state, losses.mean()

    zeros = jax.tree.map(jnp.zeros_like, parameters) if workload.optimizer == "adam" else ()
    state = (parameters, zeros, zeros, jnp.zeros(()))
    count = 0

    def epoch() -> float:
        nonlocal state, count
        count += 1
        state, cost = train(state, jax.random.PRNGKey(count))
        return float(cost)

    return epoch


def scikit_learn(workload: Workload) -> TrainEpoch:
    """Return MLPRegressor, or MLPClassifier, which has softmax and cross-entropy whatever the workload's output is."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    warnings.simplefilter("ignore")
    kind = MLPRegressor if workload.units[-1] == 1 else MLPClassifier
    mlp = kind(
        hidden_layer_sizes=workload.units[1:-1],
        activation={"sigmoid": "logistic", "relu": "relu"}[workload.hidden],
        solver=workload.optimizer,
        batch_size=workload.batch,
        learning_rate_init=workload.rate,
        momentum=0.0,
        alpha=0.0,
        random_state=1,
    )
    x, y = workload.data()
    targets = y.ravel() if workload.units[-1] == 1 else y.argmax(axis=1)
    classes = {} if workload.units[-1] == 1 else {"classes": np.arange(workload.units[-1])}

    def epoch() -> float:
        mlp.partial_fit(x, targets, **classes)
        return float(mlp.loss_)

    return epoch


def nabla_background(workload: Workload) -> TrainEpoch:
    """Return the trainer in a process of the lowest priority, as a worker is."""
    from nabla.engine.workers.os_process import prioritize_as_background

    prioritize_as_background()
    return nabla(workload)


def nabla_one_core(workload: Workload) -> TrainEpoch:
    """Return the trainer in a process of the lowest priority, on one core."""
    from nabla.engine.workers.os_process import prioritize_as_background

    prioritize_as_background()
    return nabla(workload, cores=1)


PEERS = {"nabla": nabla, "gemm": gemm, "jax": jax, "pytorch": pytorch, "scikit-learn": scikit_learn}


# Ways to train beside other programs on the same cores.
NEIGHBOURED = {"all cores": nabla_background, "one core": nabla_one_core}


def main(name: str, lines: Iterator[str]) -> None:
    """Train the epochs that are requested."""
    prepared: dict[int, TrainEpoch] = {}
    for line in lines:
        number = int(line)
        if number not in prepared:
            prepared.clear()  # one workload in memory at a time
            prepared[number] = {**PEERS, **NEIGHBOURED}[name](WORKLOADS[number])
            prepared[number]()  # compiles
        started = time.perf_counter()
        cost = prepared[number]()
        seconds = time.perf_counter() - started
        assert np.isfinite(cost), f"{name} diverged"
        print(seconds, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], iter(sys.stdin))
