"""Job validation: checks a requested job against its data, the limits and the devices, and plans how it runs."""

from dataclasses import dataclass, field, replace

import numpy as np

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.preprocessing import Preprocessor
from nabla.engine.data.schema import Column, describe_column_mismatch
from nabla.engine.errors import Damaged, InvalidInput
from nabla.engine.literals import DeviceKind
from nabla.engine.nn.cuda.devices import GpuInventory
from nabla.engine.records.job import Checkpointing, CheckpointRecord, Job
from nabla.engine.records.network import NetworkRecord
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.training.checkpoint import TrainedClasses, load_classes, load_preprocessor
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.device_selection import DeviceDecision, estimate_resources, select_device
from nabla.engine.training.shuffling import choose_shuffle_block


@dataclass(frozen=True)
class JobLimits:
    """Limits of a service for its jobs.

    Attributes:
        queued_jobs: Maximum number of jobs that are queued or paused.
        job_bytes: Maximum memory of a run for parameters, gradient, moments and a mini-batch.
        slot_bytes: Memory of each slot.
        data_bytes: Memory for the data of a run; None derives it from `slot_bytes`.
    """

    queued_jobs: int
    job_bytes: int
    slot_bytes: int = 2**62
    data_bytes: int | None = None

    def data_memory(self, peak_bytes: int) -> int:
        """Return the memory for the data of a run that itself takes `peak_bytes`.

        By default this is half of what the slot has left: the service and pages not yet written need memory too.
        """
        return self.data_bytes or max(0, self.slot_bytes - peak_bytes) // 2


@dataclass(frozen=True)
class JobRequest:
    """A requested job, with the records that it refers to.

    Attributes:
        validation: Dataset to measure after every epoch, in place of a fraction of `dataset`.
        depends_on: Jobs that must succeed before this one starts.
        resume_from: A job of the same network, and its checkpoint to start from.
        owned_datasets: Datasets that are deleted with the job.
    """

    network: NetworkRecord
    dataset: Dataset
    spec: TrainingSpec
    name: str | None = None
    validation: Dataset | None = None
    priority: int = 0
    depends_on: tuple[Job, ...] = ()
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    resume_from: tuple[Job, CheckpointRecord] | None = None
    owned_datasets: tuple[Dataset, ...] = ()


@dataclass(frozen=True)
class JobPlan:
    """A validated job, and how it runs.

    Attributes:
        spec: The requested settings, with the shuffle block filled in.
        memory_bytes: Memory of the run: parameters, gradient, moments and a mini-batch.
        peak_memory_bytes: The same while a checkpoint is copied.
        device: Kind of device that it trains on.
        device_reason: Why that kind was chosen, as a sentence.
    """

    request: JobRequest
    spec: TrainingSpec
    memory_bytes: int
    peak_memory_bytes: int
    device: DeviceKind
    device_reason: str


def plan_job(request: JobRequest, limits: JobLimits, data_dir: DataDir, cores: int, gpus: GpuInventory) -> JobPlan:
    """Validate a job and decide how it runs. What may change before its submission is checked again by `submit`.

    Args:
        request: The job.
        limits: Limits of the service.
        data_dir: Where the initial weights are.
        cores: Cores of a CPU slot.
        gpus: The GPUs that have slots.

    Raises:
        InvalidInput: Data, network and settings do not fit together, the run would take too much memory, or the
            requested device does not exist.
    """
    network, dataset, spec = request.network, request.dataset, request.spec
    preprocessor, classes = _load_start(request, data_dir)
    validate_data(request, preprocessor, classes)
    spec.check_fits(network.architecture, dataset.rows, classes or dataset.classes)
    demand = estimate_resources(spec, network.architecture, dataset.rows, dataset.bytes)
    if demand.memory_bytes > limits.job_bytes:
        raise InvalidInput(
            "batch_size",
            f"The run needs {demand.memory_bytes} bytes of memory for parameters, gradient, moments and one "
            f"mini-batch; at most {limits.job_bytes} are allowed. A smaller batch_size or network needs less.",
        )
    decision = _choose_device(request, cores, gpus)
    return JobPlan(
        request=request,
        spec=replace(spec, shuffle_block=_shuffle_block(request, limits.data_memory(demand.peak_bytes))),
        memory_bytes=demand.memory_bytes,
        peak_memory_bytes=demand.peak_bytes,
        device=decision.device,
        device_reason=decision.reason,
    )


def validate_data(request: JobRequest, preprocessor: Preprocessor | None, classes: TrainedClasses) -> None:
    """Check the datasets of a job against its network.

    Args:
        request: The job.
        preprocessor: Preprocessor that was fitted with the initial weights, if any.
        classes: Classes that the initial weights were trained on, if any.

    Raises:
        InvalidInput: The network cannot be trained on the dataset or measured on the validation dataset.
    """
    network, dataset, columns = request.network, request.dataset, request.dataset.features
    network.preprocessing.check_classes(dataset.classes)
    if preprocessor is not None:
        preprocessor.check_columns(columns, for_training=True)
        columns = preprocessor.columns
    dataset.check_fits(network.architecture, network.preprocessing, columns, classes)
    if request.validation is not None:
        _validate_validation_dataset(request.validation, network, columns, classes or dataset.classes)


def require_can_succeed(job: Job, field: str) -> None:
    """Raise InvalidInput, naming the field, if a job has ended without success."""
    if job.finished and job.state != "succeeded":
        raise InvalidInput(field, f"The job {job.id} is {job.state}; a job that depends on it would never start.")


def _validate_validation_dataset(
    validation: Dataset, network: NetworkRecord, columns: tuple[Column, ...] | None, classes: TrainedClasses
) -> None:
    """Raise InvalidInput unless `validation` has the columns and classes that the network is trained on."""
    field = "validation.dataset_id"
    mismatch = describe_column_mismatch(columns, validation.features, for_training=True)
    if mismatch is not None:
        raise InvalidInput(field, f"The dataset does not have the columns of the training dataset: {mismatch}.")
    if classes is None and validation.classes is not None:
        raise InvalidInput(field, "The training dataset has numbers as targets; the validation dataset needs them too.")
    try:
        validation.check_fits(network.architecture, network.preprocessing, columns, classes)
    except InvalidInput as error:
        raise InvalidInput(field, error.problems[0][1]) from error


def _load_start(request: JobRequest, data_dir: DataDir) -> tuple[Preprocessor | None, TrainedClasses]:
    """Return the preprocessor and the classes stored with the initial weights; None for random ones."""
    network = request.network
    if request.resume_from is not None:
        file = request.resume_from[1].file
    else:
        start = network.initial_version(request.spec)
        if start.origin == "drawn":
            return None, None
        file = start.file
    path = data_dir.network_dir(network.id) / file
    try:
        durable_files.verify(path)
        return load_preprocessor(path), load_classes(path)
    except Damaged:
        return None, None  # the run reports it


def _choose_device(request: JobRequest, cores: int, gpus: GpuInventory) -> DeviceDecision:
    spec, rows = request.spec, request.dataset.rows
    validation_rows = request.validation.rows if request.validation else 0
    return select_device(
        spec, request.network.architecture, rows - spec.validation_rows(rows), rows + validation_rows, cores, gpus
    )


def _shuffle_block(request: JobRequest, data_memory: int) -> int | None:
    """Return the rows of a shuffle block if the preprocessed rows take more than `data_memory` bytes, else None."""
    if not request.spec.shuffle:
        return None
    architecture = request.network.architecture
    rows = request.dataset.rows + (request.validation.rows if request.validation else 0)
    row_bytes = np.dtype(architecture.dtype).itemsize * (architecture.inputs + architecture.outputs)
    return choose_shuffle_block(rows, row_bytes, data_memory)
