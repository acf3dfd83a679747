"""Devices on which a worker trains: they compile code, create the backend of a run, and free its memory."""

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Protocol, get_args

import numpy as np

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import DeviceKind, DtypeName
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.backend import BackendFactory, CpuBackend
from nabla.engine.nn.cuda.backend import CudaBackend
from nabla.engine.nn.matmul import count_matmul_threads, limit_blas_threads
from nabla.engine.nn.matmul_threads import MatmulThreads
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer
from nabla.engine.training.warmup import compile_predictions, minimal_network


class Device(Protocol):
    """A CPU or GPU."""

    @property
    def kind(self) -> DeviceKind:
        """Whether it is a CPU or a GPU."""

    def compile(self) -> None:
        """Compile or load all machine code, so that no run has to wait for it."""

    def backend_for(self, architecture: Architecture, spec: TrainingSpec, rows: int) -> BackendFactory:
        """Return the factory of the backend for a run on a dataset with `rows` rows."""

    def release_memory(self) -> None:
        """Free the memory of finished runs."""

    def free_memory_bytes(self) -> int | None:
        """Return the free memory of a GPU; None for a CPU."""


class CpuDevice:
    """The CPU cores of a slot."""

    kind: DeviceKind = "cpu"

    def __init__(self, cores: int) -> None:
        limit_blas_threads()
        self._cores = cores
        self._threads = MatmulThreads(cores)

    def compile(self) -> None:
        """Compile or load all machine code."""
        compile_training()

    def backend_for(self, architecture: Architecture, spec: TrainingSpec, rows: int) -> BackendFactory:
        """Return the factory of the backend; its large products are shared by the cores."""
        if count_matmul_threads(architecture, spec.effective_batch_size(rows), self._cores) == 1:
            return CpuBackend
        return functools.partial(CpuBackend, threads=self._threads)

    def release_memory(self) -> None:
        """Do nothing: the interpreter has freed it."""

    def free_memory_bytes(self) -> None:
        """Return None: the memory is that of the machine."""


class CudaDevice:
    """The only GPU that this process sees. CuPy is imported when it is created, not before."""

    kind: DeviceKind = "cuda"

    def __init__(self) -> None:
        self._cupy: Any = importlib.import_module("cupy")

    def compile(self) -> None:
        """Compile or load all machine code, for the CPU and for both ways to launch kernels."""
        compile_training()
        for single_block in (False, True):
            compile_training(functools.partial(CudaBackend, cupy=self._cupy, single_block=single_block))
        self.release_memory()

    def backend_for(self, architecture: Architecture, spec: TrainingSpec, rows: int) -> BackendFactory:
        """Return the factory of the backend."""
        return functools.partial(CudaBackend, cupy=self._cupy, precision=spec.precision)

    def release_memory(self) -> None:
        """Return the memory of finished runs to the GPU."""
        # Kernels that are still running may write to memory that is about to be freed.
        self._cupy.cuda.Device().synchronize()
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def free_memory_bytes(self) -> int:
        """Return the free memory of the GPU."""
        return int(self._cupy.cuda.runtime.memGetInfo()[0])


def compile_training(
    make_backend: BackendFactory = CpuBackend, dtypes: Sequence[DtypeName] = get_args(DtypeName)
) -> None:
    """Compile the code for training on a device, and for predictions."""
    compile_predictions(dtypes)
    spec = TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1, validation_fraction=0.5, l2=1.0)
    for dtype in dtypes:
        rows = np.zeros((3, 1), dtype)
        network, dataset = minimal_network(dtype), OpenDataset(rows, rows)
        for _ in Trainer(network, dataset, spec, make_backend=make_backend).run():
            pass
