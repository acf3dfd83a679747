"""What a worker trains on: it makes the steppers of runs, and gives their memory back."""

import functools
import importlib
from collections.abc import Sequence
from typing import Any, Protocol, get_args

import numpy as np

from nabla.engine.data.loading import OpenDataset
from nabla.engine.literals import DeviceKind, DtypeName
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.backend import CpuStepper, MakeStepper
from nabla.engine.nn.blas_threads import BlasThreads, threads_for
from nabla.engine.nn.cuda.backend import CudaStepper
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.trainer import Trainer
from nabla.engine.training.warmup import compile_predictions, smallest


def compile_training(make_stepper: MakeStepper = CpuStepper, dtypes: Sequence[DtypeName] = get_args(DtypeName)) -> None:
    """What a run on a device needs, besides the start of a network and predictions."""
    compile_predictions(dtypes)
    spec = TrainingSpec(epochs=1, batch_size=1, learning_rate=0.1, validation_fraction=0.5, l2=1.0)
    for dtype in dtypes:
        rows = np.zeros((3, 1), dtype)
        network, dataset = smallest(dtype), OpenDataset(rows, rows)
        for _ in Trainer(network, dataset, spec, make_stepper=make_stepper).run():
            pass


class Device(Protocol):
    @property
    def kind(self) -> DeviceKind: ...

    def prepare(self) -> None:
        """Make or load all machine code, so that no run waits for it."""

    def stepper_for(self, architecture: Architecture, spec: TrainingSpec, rows: int) -> MakeStepper:
        """For a run on a dataset of so many rows."""

    def release(self) -> None:
        """Give back the memory of runs that are no more."""

    def memory_free(self) -> int | None:
        """Bytes, or None where the memory is the machine's."""


class Cpu:
    kind: DeviceKind = "cpu"

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._blas = BlasThreads()

    def prepare(self) -> None:
        compile_training()

    def stepper_for(self, architecture: Architecture, spec: TrainingSpec, rows: int) -> MakeStepper:
        self._blas.set(threads_for(architecture, spec.rows_at_once(rows), self._cores))
        return CpuStepper

    def release(self) -> None:
        """The interpreter has done so."""

    def memory_free(self) -> None:
        """It is the machine's."""


class Cuda:
    """The one GPU that this process sees. CuPy is imported here and not before."""

    kind: DeviceKind = "cuda"

    def __init__(self) -> None:
        self._cupy: Any = importlib.import_module("cupy")

    def prepare(self) -> None:
        compile_training()
        for in_one_block in (False, True):
            compile_training(functools.partial(CudaStepper, cupy=self._cupy, in_one_block=in_one_block))
        self.release()

    def stepper_for(self, architecture: Architecture, spec: TrainingSpec, rows: int) -> MakeStepper:
        return functools.partial(CudaStepper, cupy=self._cupy, precision=spec.precision)

    def release(self) -> None:
        # Memory may be given back when nothing that is still on its way writes to it.
        self._cupy.cuda.Device().synchronize()
        self._cupy.get_default_memory_pool().free_all_blocks()
        self._cupy.get_default_pinned_memory_pool().free_all_blocks()

    def memory_free(self) -> int:
        return int(self._cupy.cuda.runtime.memGetInfo()[0])
