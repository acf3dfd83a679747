"""What a run asks of a machine, by arithmetic, before it begins."""

from dataclasses import dataclass

from engine.nn.architecture import Architecture
from engine.nn.cuda.estimate import memory_of_run
from engine.nn.cuda.launching import multiply_adds
from engine.training.spec import TrainingSpec

# Paces that no sound machine falls below, even a busy one with slow disks: multiply-adds of a core, and bytes of files
# that are read, compared with their digest, prepared and written.
_SLOWEST_MULTIPLY_ADDS = 0.2e9
_SLOWEST_BYTES = 20e6
# How often what is stored is gone through before the first step: for its digest, for what fills and what scales, and to
# be prepared.
_PASSES = 4


@dataclass(frozen=True)
class Demand:
    """`memory`: bytes for parameters, gradient, moments and one mini-batch; data are mapped from files and do not
    count. `held`: the same while a checkpoint is made, of a copy. `silence`: seconds for the longest part of it that
    does not tell of progress: a step, a checkpoint, or what comes before the first step."""

    memory: int
    held: int
    silence: float


def demand_of(spec: TrainingSpec, architecture: Architecture, rows: int, stored_bytes: int) -> Demand:
    """For a dataset of so many rows, and of so many bytes with all that is measured besides."""
    at_once = spec.rows_at_once(rows - spec.validation_rows(rows))
    memory = memory_of_run(architecture, spec.optimizer, at_once, rows, "full", 1)
    step = multiply_adds(architecture, at_once) / _SLOWEST_MULTIPLY_ADDS
    return Demand(
        memory=memory.parameters + memory.buffers,
        held=2 * memory.parameters + memory.buffers,
        silence=step + (stored_bytes * _PASSES + memory.data + memory.parameters) / _SLOWEST_BYTES,
    )
