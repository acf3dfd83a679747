"""Choice of the device for a job, and its memory and time limits, estimated from the arithmetic of one training step.

A step on the CPU takes the time of its matrix products, and of moving what its optimizer touches. A step on a GPU takes
that too, but at least the time in which the host launches its kernels; a small step can run as a single kernel in one
block. The rates are round figures: the choice is wrong only if the two times are close.
"""

from dataclasses import dataclass

from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DeviceKind
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.cost_model import CUDA_OVERHEAD_BYTES, RunMemory, StepWork, estimate_run_memory, estimate_step_work
from nabla.engine.nn.cuda.data_transfer import CHUNK_BYTES
from nabla.engine.nn.cuda.devices import Gpu, GpuInventory
from nabla.engine.nn.cuda.launcher import MAX_SINGLE_BLOCK_MULTIPLY_ADDS
from nabla.engine.nn.matmul import count_matmul_threads
from nabla.engine.training.config import TrainingSpec

# A core with 512-bit vectors, measured in matrix products of a few hundred rows; half as much in float64.
_CPU_FLOPS_PER_CORE = 90e9
# Bandwidth of its caches, where small networks reside.
_CPU_BYTES_PER_SECOND = 50e9
# Launched from Python, a step of a small network takes 0.3 to 1 ms for 20 to 30 launches.
_SECONDS_PER_LAUNCH = 15e-6
# Lanes of a multiprocessor, each with a fused multiply-add per clock; the share of all lanes of a GPU that matrix
# products reach, and the share of its own that a single block reaches.
_LANES = 128
_GPU_EFFICIENCY = 0.5
_SINGLE_BLOCK_EFFICIENCY = 0.02
_SECONDS_PER_BARRIER = 1e-6
# Bandwidth of the memory of a GPU, and the part of it that a single block reaches.
_GPU_BYTES_PER_SECOND = 300e9
_SINGLE_BLOCK_BYTES_PER_SECOND = 50e9
# The estimates are uncertain: a GPU is chosen only if it takes at most this share of the time.
_GPU_MARGIN = 0.8
# Compute capabilities of data centre GPUs, whose float64 rate is half that of float32; others reach 1/64.
_HALF_RATE_FLOAT64 = {(6, 0), (7, 0), (8, 0), (9, 0), (10, 0)}
# Minimum compute capability of each reduced precision.
_MIN_COMPUTE_CAPABILITY = {"tf32": (8, 0), "half": (7, 0)}

# Rates that every working machine exceeds, even a busy one with slow disks: multiply-adds of a core, and bytes of files
# that are read, verified, preprocessed and written.
_MIN_MULTIPLY_ADDS_PER_SECOND = 0.2e9
_MIN_FILE_BYTES_PER_SECOND = 20e6
# Passes over the stored data before the first step: verification, imputation, scaling and preprocessing.
_PASSES_BEFORE_TRAINING = 4


@dataclass(frozen=True)
class DeviceDecision:
    """The device for a job, and the reason for it as a sentence."""

    device: DeviceKind
    reason: str


@dataclass(frozen=True)
class ResourceEstimate:
    """Estimated memory of a job, and a bound on its time without progress.

    Attributes:
        memory_bytes: Parameters, gradient, moments and one mini-batch. Data are mapped from files and do not count.
        peak_bytes: The same while a checkpoint is saved, which copies the parameters.
        max_silence_seconds: Upper bound on the time without reported progress: a step, a checkpoint, or the
            preparation before the first step.
    """

    memory_bytes: int
    peak_bytes: int
    max_silence_seconds: float


def select_device(
    spec: TrainingSpec,
    architecture: Architecture,
    training_rows: int,
    rows: int,
    cores: int,
    inventory: GpuInventory,
) -> DeviceDecision:
    """Select the device on which a job is expected to train faster, unless its settings name one.

    Args:
        spec: Settings of the job.
        architecture: Architecture of the network.
        training_rows: Number of rows to train on.
        rows: Number of rows including those for validation.
        cores: CPU cores of a slot.
        inventory: GPUs of the machine.

    Raises:
        InvalidInput: No device satisfies the settings; the field names the setting.
    """
    if spec.device == "cpu":
        _reject_reduced_precision(spec, "The CPU computes with full precision")
        return DeviceDecision("cpu", "Requested.")
    if spec.optimizer == "l-bfgs":
        return _require_cpu(spec, "l-bfgs runs on the CPU")
    if not inventory.gpus:
        return _require_cpu(spec, f"No GPU is available: {inventory.unavailable_reason}")
    # Any GPU may get the job, so the decision is made for the weakest one.
    gpu = min(inventory.gpus, key=lambda gpu: (gpu.memory_total, gpu.compute_capability))
    _check_precision(spec, architecture, gpu)
    batch = spec.effective_batch_size(training_rows)
    memory = estimate_run_memory(architecture, spec.optimizer, batch, rows, spec.precision, CHUNK_BYTES)
    if memory.minimum > gpu.memory_total:
        return _require_cpu(spec, _describe_excess(memory, gpu))
    if spec.device == "cuda":
        return DeviceDecision("cuda", "Requested.")
    if spec.precision != "full":
        return DeviceDecision("cuda", f"The precision {spec.precision} needs a GPU.")
    work = estimate_step_work(architecture, spec.step_settings(training_rows), batch)
    return _compare_devices(architecture, work, gpu, count_matmul_threads(architecture, batch, cores))


def estimate_resources(
    spec: TrainingSpec, architecture: Architecture, rows: int, stored_bytes: int
) -> ResourceEstimate:
    """Estimate the memory and time limits of a job.

    Args:
        spec: Settings of the job.
        architecture: Architecture of the network.
        rows: Number of rows of the dataset.
        stored_bytes: Size of the dataset, and of the one for validation.
    """
    batch = spec.effective_batch_size(rows - spec.validation_rows(rows))
    memory = estimate_run_memory(architecture, spec.optimizer, batch, rows, "full", 1)
    step_seconds = architecture.multiply_adds(batch) / _MIN_MULTIPLY_ADDS_PER_SECOND
    file_bytes = stored_bytes * _PASSES_BEFORE_TRAINING + memory.data + memory.parameters
    return ResourceEstimate(
        memory_bytes=memory.parameters + memory.buffers,
        peak_bytes=2 * memory.parameters + memory.buffers,
        max_silence_seconds=step_seconds + file_bytes / _MIN_FILE_BYTES_PER_SECOND,
    )


def _require_cpu(spec: TrainingSpec, reason: str) -> DeviceDecision:
    if spec.device == "cuda":
        raise InvalidInput("device", f"{reason}. Accepted here: auto, cpu.")
    _reject_reduced_precision(spec, reason)
    return DeviceDecision("cpu", f"{reason}.")


def _reject_reduced_precision(spec: TrainingSpec, reason: str) -> None:
    if spec.precision != "full":
        raise InvalidInput("precision", f"{reason}; {spec.precision} needs a GPU. Accepted here: full.")


def _check_precision(spec: TrainingSpec, architecture: Architecture, gpu: Gpu) -> None:
    if spec.precision == "full":
        return
    if architecture.dtype != "float32":
        raise InvalidInput(
            "precision", f"{spec.precision} is for float32 networks; this one is {architecture.dtype}. Accepted: full."
        )
    needed = _MIN_COMPUTE_CAPABILITY[spec.precision]
    if gpu.compute_capability < needed:
        actual_version, needed_version = (".".join(map(str, version)) for version in (gpu.compute_capability, needed))
        raise InvalidInput(
            "precision",
            f"{spec.precision} needs a GPU of compute capability {needed_version}; {gpu.name} has {actual_version}.",
        )


def _describe_excess(memory: RunMemory, gpu: Gpu) -> str:
    data = min(memory.data, memory.chunks)
    return (
        f"The run needs about {_format_gib(memory.minimum)} of GPU memory ({_format_gib(memory.parameters)} for "
        f"parameters, gradient and moments, {_format_gib(memory.buffers)} for a mini-batch, {_format_gib(data)} for "
        f"data, {_format_gib(CUDA_OVERHEAD_BYTES)} for CUDA); {gpu.name} has {_format_gib(gpu.memory_total)}. "
        "A smaller network or batch_size needs less"
    )


def _compare_devices(architecture: Architecture, work: StepWork, gpu: Gpu, threads: int) -> DeviceDecision:
    float64 = architecture.dtype == "float64"
    flops = 2.0 * work.multiply_adds
    cpu_flops = _CPU_FLOPS_PER_CORE * threads / (2 if float64 else 1)
    cpu_seconds = flops / cpu_flops + work.bytes_moved / _CPU_BYTES_PER_SECOND

    multiprocessor_flops = 2.0 * _LANES * gpu.clock_hz * _relative_rate(gpu, float64)
    gpu_flops = multiprocessor_flops * gpu.multiprocessors * _GPU_EFFICIENCY
    compute_seconds = flops / gpu_flops + work.bytes_moved / _GPU_BYTES_PER_SECOND
    launch_seconds = work.launches * _SECONDS_PER_LAUNCH
    gpu_seconds, bottleneck = max(
        (compute_seconds, "limited by its arithmetic"),
        (launch_seconds, f"limited by launching its {work.launches} kernels"),
    )
    if work.multiply_adds <= MAX_SINGLE_BLOCK_MULTIPLY_ADDS:
        block_seconds = (
            flops / (multiprocessor_flops * _SINGLE_BLOCK_EFFICIENCY)
            + work.bytes_moved / _SINGLE_BLOCK_BYTES_PER_SECOND
            + work.launches * _SECONDS_PER_BARRIER
        )
        if block_seconds < gpu_seconds:
            gpu_seconds, bottleneck = block_seconds, "limited by a single block of threads"

    device: DeviceKind = "cuda" if gpu_seconds < _GPU_MARGIN * cpu_seconds else "cpu"
    cores = "1 core" if threads == 1 else f"{threads} cores"
    return DeviceDecision(
        device,
        f"A step of {_format_count(work.multiply_adds)} multiply-adds takes about {_format_time(cpu_seconds)} on "
        f"{cores} and about {_format_time(gpu_seconds)} on {gpu.name}, {bottleneck}.",
    )


def _relative_rate(gpu: Gpu, float64: bool) -> float:
    """Return the arithmetic rate of a GPU in the dtype of the network, relative to float32."""
    if not float64:
        return 1.0
    return 1 / 2 if gpu.compute_capability in _HALF_RATE_FLOAT64 else 1 / 64


def _format_gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"


def _format_count(number: int) -> str:
    for size, name in ((10**9, "billion"), (10**6, "million"), (10**3, "thousand")):
        if number >= size:
            return f"{number / size:.1f} {name}"
    return str(number)


def _format_time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
