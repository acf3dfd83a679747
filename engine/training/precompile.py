"""Compilation of every kernel in advance, without which one is compiled when a network first needs it.

    python -m nabla.engine.training.precompile [--all-levels] [float32] [float64]

With --all-levels, as for a container image, the code is for each level of x86-64 instead of that of the processor at
hand.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import numpy as np

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import ActivationName, CostName, DtypeName, OptimizerName
from nabla.engine.nn import rng
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.jit import LEVELS, compile_entries
from nabla.engine.nn.losses import COSTS
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer


def compile_all(dtype: DtypeName) -> None:
    """Compile every kernel of a CPU for a dtype. Nothing is run: the code may be for another processor."""
    compile_entries()
    rng.compile_kernels(dtype)
    for architecture, settings in _iter_jobs(dtype):
        network = Network.blank(architecture)
        network.compile()
        data = OpenDataset(np.zeros((2, 1), dtype), np.zeros((2, architecture.outputs), dtype))
        spec = TrainingSpec(epochs=1, batch_size=2, learning_rate=1.0, **settings)
        Trainer(network, data, spec, validation=data).compile()


def _iter_jobs(dtype: DtypeName) -> Iterator[tuple[Architecture, dict[str, Any]]]:
    """Yield architectures and settings that together need every kernel."""
    limits = {"l1": 1.0, "l2": 1.0, "clip_value": 1.0, "clip_norm": 1.0, "max_norm": 1.0}
    for activation in get_args(ActivationName):
        hidden = Layer(2, activation, dropout=0.5, batch_norm=True)
        yield Architecture(1, (hidden, Layer(1, "identity")), "quadratic", dtype=dtype), limits
    for cost in get_args(CostName):
        output = Layer(2, COSTS[cost].outputs[0])
        smoothing = 0.1 if cost == "categorical_cross_entropy" else 0.0
        yield Architecture(1, (output,), cost, dtype=dtype, label_smoothing=smoothing), {}
    for optimizer in get_args(OptimizerName):
        yield Architecture(1, (Layer(1, "identity"),), "quadratic", dtype=dtype), {"optimizer": optimizer}


def main(arguments: Sequence[str]) -> None:
    """Compile as the command line says."""
    dtypes = [dtype for dtype in get_args(DtypeName) if dtype in arguments] or get_args(DtypeName)
    if "--all-levels" in arguments and platform.machine() == "x86_64":
        for level in LEVELS:
            # In a process of its own: Numba compiles for one processor per process.
            environment = {**os.environ, "NUMBA_CPU_NAME": level, "NUMBA_CPU_FEATURES": ""}
            subprocess.run(
                [sys.executable, "-P", "-m", "nabla.engine.training.precompile"], env=environment, check=True
            )
        return
    for dtype in dtypes:
        compile_all(dtype)


if __name__ == "__main__":
    main(sys.argv[1:])
