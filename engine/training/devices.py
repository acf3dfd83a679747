"""Devices on which a worker trains: they create the backend of a run, and free its memory."""

import functools
import importlib
from typing import Any, Protocol, get_args

import numpy as np

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import DeviceKind, DtypeName
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.backend import BackendFactory, CpuBackend
from nabla.engine.nn.blas import limit_blas_threads
from nabla.engine.nn.cuda.backend import CudaBackend
from nabla.engine.nn.matmul import count_matmul_threads
from nabla.engine.nn.matmul_threads import MatmulThreads
from nabla.engine.nn.network import Network
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer


class Device(Protocol):
    """A CPU or GPU."""

    @property
    def kind(self) -> DeviceKind:
        """Whether it is a CPU or a GPU."""

    def compile(self) -> None:
        """Compile or load the code that all runs share. `Trainer.compile` does that for a run."""

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
        """Do nothing: a run compiles the kernels that it needs."""

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
        """Compile all kernels, for both ways to launch them, by training minimal networks."""
        spec = TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1)
        for dtype in get_args(DtypeName):
            data = OpenDataset(np.zeros((2, 1), dtype), np.zeros((2, 1), dtype))
            architecture = Architecture(1, (Layer(1, "identity"),), "quadratic", dtype=dtype)
            for single_block in (False, True):
                make_backend = functools.partial(CudaBackend, cupy=self._cupy, single_block=single_block)
                for _ in Trainer(Network.blank(architecture), data, spec, make_backend=make_backend).run():
                    pass
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
