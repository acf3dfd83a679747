"""Training speed on a GPU, compared with the matrix products of a step alone on the same GPU.

    python -m benchmarks.gpu [--rounds 7]

The two are timed in turn. The table has medians, and the fraction of a step that the products alone take.
"""

import argparse
import functools
import statistics
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.support.workloads import WORKLOADS, Workload
from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import Precision
from nabla.engine.nn.cuda.backend import CudaBackend
from nabla.engine.nn.cuda.launcher import Launcher
from nabla.engine.nn.matmul import matmul_nn, matmul_nt, matmul_tn
from nabla.engine.nn.network import Network
from nabla.engine.nn.tracing import StepTrace
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

# More epochs than any benchmark trains.
_EPOCHS = 10**6


@dataclass(frozen=True)
class StepTimes:
    """Microseconds of a step, and of its products alone. `mode`: precision, and how kernels are launched."""

    name: str
    mode: str
    step: float
    products: float

    @property
    def share(self) -> float:
        """Fraction of a step that its products alone take."""
        return self.products / self.step

    def summary(self) -> str:
        """Return one line."""
        times = f"{self.step:,.0f} µs a step, products alone {self.products:,.0f} ({self.share:.0%})"
        return f"{self.name}, {self.mode}: {times}"


class MatrixProducts:
    """The matrix products of a step, in buffers of their own."""

    def __init__(self, cupy: Any, workload: Workload, precision: Precision) -> None:
        architecture, m = workload.architecture, workload.batch
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._steps = workload.steps
        with self.stream:
            self._launcher = Launcher(cupy, architecture, m, precision, single_block=False)
            recording = StepTrace()
            self._arrays: list[Any] = []

            def allocate(*shape: int) -> Any:
                self._arrays.append(cupy.zeros(shape, np.float32))
                return recording.array(self._arrays[-1])

            for layer, (inputs, units) in enumerate(architecture.shapes):
                a, w, z = allocate(m, inputs), allocate(units, inputs), allocate(m, units)
                matmul_nt(a, w, z)
                matmul_tn(z, a, allocate(units, inputs))
                if layer:
                    matmul_nn(z, w, allocate(m, inputs))
            self._program = self._launcher.compile(recording)

    def epoch(self) -> float:
        """Compute the products of an epoch; return its seconds."""
        started = time.perf_counter()
        with self.stream:
            self._launcher.run(self._program, self._steps)
        self.stream.synchronize()
        return time.perf_counter() - started


def measure(
    cupy: Any, workload: Workload, *, rounds: int, precision: Precision = "full", single_block: bool | None = None
) -> StepTimes:
    """Return the times of a workload's step. `single_block`: None launches kernels as a job does."""
    x, y = workload.data()
    spec = TrainingSpec(_EPOCHS, workload.batch, workload.rate, workload.optimizer)
    make = functools.partial(CudaBackend, cupy=cupy, precision=precision, single_block=single_block)
    network = Network(workload.architecture)
    trainer = Trainer(network, OpenDataset(x, y), spec, classes=workload.classes, make_backend=make)
    epochs = (epoch for epoch in trainer.run() if epoch is not None)
    products = MatrixProducts(cupy, workload, precision)
    next(epochs), products.epoch()  # compiles
    steps, products_alone = [], []
    for _ in range(rounds):
        steps.append(next(epochs).seconds / workload.steps * 1e6)
        products_alone.append(products.epoch() / workload.steps * 1e6)
    launches = {None: "", True: "one block", False: "kernels"}[single_block]
    mode = f"{precision} {launches}".strip()
    return StepTimes(workload.name, mode, statistics.median(steps), statistics.median(products_alone))


def main() -> None:
    """Measure every workload in every mode."""
    import cupy

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    table = Table("µs per step", "precision", "Nabla", "products alone", "share", title=name)
    modes: tuple[dict[str, Any], ...] = (
        {"single_block": True},
        {"single_block": False},
        {"precision": "tf32"},
        {"precision": "half"},
    )
    for workload in WORKLOADS:
        for mode in modes:
            if workload.batch > 32 and mode.get("single_block"):
                continue  # one block would take minutes
            times = measure(cupy, workload, rounds=rounds, **mode)
            table.add_row(times.name, times.mode, f"{times.step:,.1f}", f"{times.products:,.1f}", f"{times.share:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
