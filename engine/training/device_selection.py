"""Where a job trains: by arithmetic on one of its steps, not by what there is.

A step on the CPU takes the time of its products, and of moving what its optimizer touches. A step on a GPU takes that
too, but no less than the host needs to launch its kernels; a small one can be made by one kernel in one block. The
rates below are round figures: a choice is wrong only where the two are close.
"""

from dataclasses import dataclass

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DeviceKind
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.blas_threads import threads_for
from nabla.engine.nn.cost_model import OVERHEAD_BYTES, Memory, Work, memory_of_run, work_of_step
from nabla.engine.nn.cuda.data_transfer import CHUNK_BYTES
from nabla.engine.nn.cuda.devices import Found, Gpu
from nabla.engine.nn.cuda.launcher import MOST_IN_ONE_BLOCK, multiply_adds
from nabla.engine.training.config import TrainingSpec

# A core with 512-bit lanes, as measured in products of a few hundred rows; half as much in float64.
_CPU_FLOPS_PER_CORE = 90e9
# Of its caches; small networks are there.
_CPU_BYTES_PER_SECOND = 50e9
# From Python: small networks take 0.3 to 1 ms for 20 to 30 launches.
_SECONDS_PER_LAUNCH = 15e-6
# Lanes of a multiprocessor, each with a multiplication and an addition per clock; the share that products reach of all
# of them, and that one block reaches of its own.
_LANES = 128
_SHARE_OF_GPU = 0.5
_SHARE_OF_BLOCK = 0.02
_SECONDS_PER_BARRIER = 1e-6
# Of the memory of a GPU, and what one block moves of it.
_GPU_BYTES_PER_SECOND = 300e9
_BLOCK_BYTES_PER_SECOND = 50e9
# A GPU must be quicker by so much: the figures are no better than that.
_MARGIN = 0.8
# GPUs for computing centres do float64 at half the rate of float32, the others at a small part of it.
_HALF_RATE = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}
# What a precision needs of a GPU.
_NEEDED = {"tf32": (8, 0), "half": (7, 0)}


@dataclass(frozen=True)
class Choice:
    """`reason` is a sentence for the job's owner."""

    device: DeviceKind
    reason: str


def choose(
    spec: TrainingSpec, architecture: Architecture, training_rows: int, rows: int, cores: int, found: Found
) -> Choice:
    """For `training_rows` of `rows` rows, on a slot of so many cores or on one of the GPUs.

    Raises InvalidInput, naming the field, where what is asked for cannot be.
    """
    if spec.device == "cpu":
        _refuse_precision(spec, "The CPU computes with full precision")
        return Choice("cpu", "Asked for.")
    if spec.optimizer == "l-bfgs":
        return _without_gpu(spec, "l-bfgs runs on the CPU: SciPy makes its steps")
    if not found.gpus:
        return _without_gpu(spec, f"There is no GPU to use: {found.missing}")
    # Any of them may get the job.
    gpu = min(found.gpus, key=lambda gpu: (gpu.memory_total, gpu.compute_capability))
    _check_precision(spec, architecture, gpu)
    batch = spec.rows_at_once(training_rows)
    memory = memory_of_run(architecture, spec.optimizer, batch, rows, spec.precision, CHUNK_BYTES)
    if memory.least > gpu.memory_total:
        return _without_gpu(spec, _too_large(memory, gpu))
    if spec.device == "cuda":
        return Choice("cuda", "Asked for.")
    if spec.precision != "full":
        return Choice("cuda", f"The precision {spec.precision} is one of GPUs.")
    work = work_of_step(architecture, spec.optimization(training_rows), batch)
    return _quicker(architecture, work, gpu, threads_for(architecture, batch, cores))


def _without_gpu(spec: TrainingSpec, why: str) -> Choice:
    if spec.device == "cuda":
        raise InvalidInput("device", f"{why}. Accepted here: auto, cpu.")
    _refuse_precision(spec, why)
    return Choice("cpu", f"{why}.")


def _refuse_precision(spec: TrainingSpec, why: str) -> None:
    if spec.precision != "full":
        raise InvalidInput("precision", f"{why}; {spec.precision} needs a GPU. Accepted here: full.")


def _check_precision(spec: TrainingSpec, architecture: Architecture, gpu: Gpu) -> None:
    if spec.precision == "full":
        return
    if architecture.dtype != "float32":
        raise InvalidInput(
            "precision", f"{spec.precision} is for float32 networks; this one is {architecture.dtype}. Accepted: full."
        )
    if gpu.compute_capability < _NEEDED[spec.precision]:
        has, needs = (".".join(map(str, version)) for version in (gpu.compute_capability, _NEEDED[spec.precision]))
        raise InvalidInput(
            "precision", f"{spec.precision} needs a GPU of compute capability {needs}; {gpu.name} has {has}."
        )


def _too_large(memory: Memory, gpu: Gpu) -> str:
    data = min(memory.data, memory.chunks)
    return (
        f"The run needs about {_gib(memory.least)} of GPU memory ({_gib(memory.parameters)} for parameters, gradient "
        f"and moments, {_gib(memory.buffers)} for a mini-batch, {_gib(data)} for data, {_gib(OVERHEAD_BYTES)} for "
        f"CUDA); {gpu.name} has {_gib(gpu.memory_total)}. A smaller network or batch_size needs less"
    )


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _quicker(architecture: Architecture, work: Work, gpu: Gpu, threads: int) -> Choice:
    exact = architecture.dtype == "float64"
    flops = 2.0 * work.multiply_adds
    on_cpu = flops / (_CPU_FLOPS_PER_CORE * threads / (2 if exact else 1)) + work.bytes_moved / _CPU_BYTES_PER_SECOND
    of_multiprocessor = 2.0 * _LANES * gpu.clock_hz * _rate(gpu, exact)
    busy = flops / (of_multiprocessor * gpu.multiprocessors * _SHARE_OF_GPU) + work.bytes_moved / _GPU_BYTES_PER_SECOND
    launching = work.launches * _SECONDS_PER_LAUNCH
    on_gpu, mostly = max((busy, "its work"), (launching, f"launching its {work.launches} kernels"))
    in_one_block = flops / (of_multiprocessor * _SHARE_OF_BLOCK) + work.bytes_moved / _BLOCK_BYTES_PER_SECOND
    in_one_block += work.launches * _SECONDS_PER_BARRIER
    if work.multiply_adds <= MOST_IN_ONE_BLOCK and in_one_block < on_gpu:
        on_gpu, mostly = in_one_block, "one block of threads, which is all that it can use"
    device: DeviceKind = "cuda" if on_gpu < _MARGIN * on_cpu else "cpu"
    cores = "1 core" if threads == 1 else f"{threads} cores"
    return Choice(
        device,
        f"A step of {_counted(work.multiply_adds)} multiply-adds takes about {_time(on_cpu)} on {cores} and about "
        f"{_time(on_gpu)} on {gpu.name}, for {mostly}.",
    )


def _rate(gpu: Gpu, exact: bool) -> float:
    """Of a GPU's arithmetic in the network's type, beside float32."""
    if not exact:
        return 1.0
    return 1 / 2 if gpu.compute_capability in _HALF_RATE else 1 / 64


def _counted(number: int) -> str:
    for size, name in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if number >= size:
            return f"{number / size:.1f} {name}"
    return str(number)


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"


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
