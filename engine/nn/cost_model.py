"""Estimates the cost of training: the work of a step, counted by tracing it, and the memory of a run."""

from typing import Any, NamedTuple

import numpy as np

from nabla.engine.literals import Precision
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.cuda.launcher import MATMULS, operand_sizes
from nabla.engine.nn.layout import Buffers
from nabla.engine.nn.optimizers import MAX_COEFFICIENTS, OPTIMIZERS
from nabla.engine.nn.tracing import StepTrace, TracedArray
from nabla.engine.nn.training_step import Examples, Optimization, train_step

# Approximate GPU memory of CUDA's context, the kernels' code and cuBLAS's workspace, in use before the first array is.
CUDA_OVERHEAD_BYTES = 600 * 2**20


class StepWork(NamedTuple):
    """Launches, arithmetic and memory traffic of one step.

    Attributes:
        launches: Number of kernel launches.
        multiply_adds: Multiply-adds of the matrix products.
        bytes_moved: Bytes that the other kernels read and write.
    """

    launches: int
    multiply_adds: int
    bytes_moved: int


def estimate_step_work(architecture: Architecture, optimization: Optimization, rows: int) -> StepWork:
    """Count the work of a step on `rows` rows by tracing it with arrays that have no memory.

    The arrays of `optimization` are not used, and may be missing.
    """
    trace = StepTrace()
    itemsize = np.dtype(architecture.dtype).itemsize

    def placeholder(*shape: int) -> Any:
        return TracedArray(trace, 0, shape, architecture.dtype)

    parameters = placeholder(architecture.parameters)
    moments = placeholder(OPTIMIZERS[optimization.rule].moments, architecture.parameters)
    train_step(
        parameters,
        placeholder(2 * architecture.batch_norm_units),
        parameters,
        optimization._replace(
            settings=placeholder(MAX_COEFFICIENTS),
            moments=moments,
            optimizer_state=placeholder(2),
            rates=placeholder(1),
        ),
        architecture.layout(),
        Buffers(rows, *(placeholder(size) for size, _ in architecture.buffer_sizes(rows))),
        Examples(placeholder(rows, architecture.inputs), placeholder(rows, architecture.outputs), placeholder(0)),
        placeholder(rows),
        rows,
        False,
    )
    other_calls = [call for call in trace.calls if call.kernel.name not in MATMULS]
    return StepWork(
        launches=len(trace.calls),
        multiply_adds=architecture.multiply_adds(rows),
        bytes_moved=itemsize * sum(array.size for call in other_calls for array in call.arrays),
    )


class RunMemory(NamedTuple):
    """The memory that a run needs, in bytes.

    Attributes:
        parameters: Parameters, gradient and moments.
        buffers: Buffers of a mini-batch.
        data: All rows.
        chunks: Two chunks of rows, which a GPU holds instead of all rows if these do not fit.
    """

    parameters: int
    buffers: int
    data: int
    chunks: int

    @property
    def minimum(self) -> int:
        """GPU memory without which the run is impossible."""
        return CUDA_OVERHEAD_BYTES + self.parameters + self.buffers + min(self.data, self.chunks)


def estimate_run_memory(
    architecture: Architecture, optimizer: str, batch_size: int, rows: int, precision: Precision, chunk_bytes: int
) -> RunMemory:
    """Estimate the memory of a run on `rows` training and validation rows."""
    itemsize = np.dtype(architecture.dtype).itemsize
    vectors = 2 + OPTIMIZERS[optimizer].moments  # type: ignore[index]  # checked before
    buffers = sum(size * np.dtype(dtype).itemsize for size, dtype in architecture.buffer_sizes(batch_size))
    half_operands = 2 * sum(operand_sizes(architecture, batch_size)) if precision == "half" else 0
    row_bytes = itemsize * (architecture.inputs + architecture.outputs)
    order_bytes = 8 * rows
    chunk_bytes = max(batch_size * row_bytes, chunk_bytes)
    return RunMemory(
        parameters=itemsize * architecture.parameters * vectors,
        buffers=buffers + half_operands,
        data=rows * row_bytes + order_bytes,
        chunks=2 * chunk_bytes + order_bytes,
    )
