"""Training speed on a GPU, beside the matrix products of a step alone on the same GPU, and beside our own CPU engine.

    python -m benchmarks.gpu [--rounds 7]

The two are timed in turn; the table has medians, and the share of the time that the products alone take.
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

from benchmarks.workloads import WORKLOADS, Workload
from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import Precision
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.cuda.backend import CudaStepper
from nabla.engine.nn.cuda.launcher import Launcher
from nabla.engine.nn.cuda.tracing import Recording
from nabla.engine.nn.matmul import multiply_by_transpose, multiply_plainly, multiply_transpose
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer

_FOREVER = 10**6


@dataclass(frozen=True)
class Measured:
    """Microseconds per step, and of its products alone."""

    name: str
    way: str
    step: float
    products: float

    @property
    def share(self) -> float:
        return self.products / self.step

    def line(self) -> str:
        times = f"{self.step:,.0f} µs a step, products alone {self.products:,.0f} ({self.share:.0%})"
        return f"{self.name}, {self.way}: {times}"


def architecture_of(workload: Workload) -> Architecture:
    inputs, *hidden, outputs = workload.units
    layers = (*(Layer(units, workload.hidden) for units in hidden), Layer(outputs, workload.output))
    return Architecture(inputs, layers, workload.cost)


class Products:
    """The products of a step, in buffers of their own."""

    def __init__(self, cupy: Any, workload: Workload, precision: Precision) -> None:
        architecture, m = architecture_of(workload), workload.batch
        self.stream = cupy.cuda.Stream(non_blocking=True)
        self._steps = workload.steps
        with self.stream:
            self._launcher = Launcher(cupy, architecture, m, precision, in_one_block=False)
            recording = Recording()
            self._arrays: list[Any] = []

            def room(*shape: int) -> Any:
                self._arrays.append(cupy.zeros(shape, np.float32))
                return recording.array(self._arrays[-1])

            for place, (inputs, units) in enumerate(architecture.shapes):
                a, w, z = room(m, inputs), room(units, inputs), room(m, units)
                multiply_by_transpose(a, w, z)
                multiply_transpose(z, a, room(units, inputs))
                if place:
                    multiply_plainly(z, w, room(m, inputs))
            self._program = self._launcher.program(recording)

    def epoch(self) -> float:
        """Seconds."""
        started = time.perf_counter()
        with self.stream:
            self._launcher.run(self._program, self._steps)
        self.stream.synchronize()
        return time.perf_counter() - started


def measured(
    cupy: Any, workload: Workload, *, rounds: int, precision: Precision = "full", in_one_block: bool | None = None
) -> Measured:
    """`in_one_block`: by default what a job does."""
    architecture = architecture_of(workload)
    x, y = workload.data()
    classes = tuple(map(str, range(architecture.outputs))) if architecture.outputs > 1 else None
    spec = TrainingSpec(_FOREVER, workload.batch, workload.rate, workload.optimizer)
    make = functools.partial(CudaStepper, cupy=cupy, precision=precision, in_one_block=in_one_block)
    trainer = Trainer(Network(architecture), OpenDataset(x, y), spec, classes=classes, make_stepper=make)
    epochs = (epoch for epoch in trainer.run() if epoch is not None)
    products = Products(cupy, workload, precision)
    next(epochs), products.epoch()  # to prepare
    ours, floor = [], []
    for _ in range(rounds):
        ours.append(next(epochs).seconds / workload.steps * 1e6)
        floor.append(products.epoch() / workload.steps * 1e6)
    way = {None: "", True: "one block", False: "kernels"}[in_one_block]
    return Measured(workload.name, f"{precision} {way}".strip(), statistics.median(ours), statistics.median(floor))


def main() -> None:
    import cupy

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    rounds = parser.parse_args().rounds
    name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
    table = Table("µs per step", "precision", "Nabla", "products alone", "share", title=name)
    ways: tuple[dict[str, Any], ...] = (
        {"in_one_block": True},
        {"in_one_block": False},
        {"precision": "tf32"},
        {"precision": "half"},
    )
    for workload in WORKLOADS:
        for way in ways:
            if workload.batch > 32 and way.get("in_one_block"):
                continue  # one block would take minutes
            found = measured(cupy, workload, rounds=rounds, **way)
            table.add_row(found.name, found.way, f"{found.step:,.1f}", f"{found.products:,.1f}", f"{found.share:.0%}")
    Console().print(table)


if __name__ == "__main__":
    main()
