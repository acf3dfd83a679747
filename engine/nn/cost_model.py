"""What a step asks of a GPU, counted on the step itself: it is recorded with arrays that stand for no memory."""

from typing import Any, NamedTuple

import numpy as np

from nabla.engine.literals import Precision
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.compiled_layout import Buffers
from nabla.engine.nn.cuda.cublas import PRODUCTS
from nabla.engine.nn.cuda.launcher import multiply_adds, sizes_of_operands
from nabla.engine.nn.cuda.tracing import Recorded, Recording
from nabla.engine.nn.optimizers import COEFFICIENTS, OPTIMIZERS
from nabla.engine.nn.training_step import Examples, Optimization, train_step

# CUDA's own data, the kernels' code and cuBLAS's workspace: about so much is gone before the first array.
OVERHEAD_BYTES = 600 * 2**20


class Work(NamedTuple):
    """Of one step: its launches, the multiply-adds of its products, and the bytes that its other kernels read and
    write."""

    launches: int
    multiply_adds: int
    bytes_moved: int


def work_of_step(architecture: Architecture, optimization: Optimization, rows: int) -> Work:
    """`optimization` may have no arrays."""
    recording = Recording()
    itemsize = np.dtype(architecture.dtype).itemsize

    def standing_for(*shape: int) -> Any:
        return Recorded(recording, 0, shape, itemsize)

    parameters = standing_for(architecture.parameters)
    moments = standing_for(list(OPTIMIZERS.values())[optimization.rule].moments, architecture.parameters)
    train_step(
        parameters,
        standing_for(2 * architecture.normalized),
        parameters,
        optimization._replace(
            settings=standing_for(COEFFICIENTS), moments=moments, memory=standing_for(2), rates=standing_for(1)
        ),
        architecture.plan(),
        Buffers(rows, *(standing_for(size) for size, _ in architecture.sizes_of_buffers(rows))),
        Examples(standing_for(rows, architecture.inputs), standing_for(rows, architecture.outputs), standing_for(0)),
        standing_for(rows),
        rows,
        False,
    )
    others = [call for call in recording.calls if call.kernel.name not in PRODUCTS]
    return Work(
        launches=len(recording.calls),
        multiply_adds=multiply_adds(architecture, rows),
        bytes_moved=itemsize * sum(array.size for call in others for array in call.arrays),
    )


class Memory(NamedTuple):
    """Bytes that a run takes on a GPU. `data`: of all its rows; `chunks`: of the parts of it that are there at a time
    where not all of it fits."""

    parameters: int
    buffers: int
    data: int
    chunks: int

    @property
    def least(self) -> int:
        """Without which there is no run."""
        return OVERHEAD_BYTES + self.parameters + self.buffers + min(self.data, self.chunks)


def memory_of_run(
    architecture: Architecture, optimizer: str, rows_at_once: int, rows: int, precision: Precision, chunk_bytes: int
) -> Memory:
    """`rows`: those that it trains on and that validate."""
    itemsize = np.dtype(architecture.dtype).itemsize
    vectors = 2 + OPTIMIZERS[optimizer].moments  # type: ignore[index]  # a name that has been checked
    buffers = sum(size * np.dtype(dtype).itemsize for size, dtype in architecture.sizes_of_buffers(rows_at_once))
    halves = 2 * sum(sizes_of_operands(architecture, rows_at_once)) if precision == "half" else 0
    bytes_of_row = itemsize * (architecture.inputs + architecture.outputs)
    orders = 8 * rows
    chunk = max(rows_at_once * bytes_of_row, chunk_bytes)
    return Memory(
        parameters=itemsize * architecture.parameters * vectors,
        buffers=buffers + halves,
        data=rows * bytes_of_row + orders,
        chunks=2 * chunk + orders,
    )
