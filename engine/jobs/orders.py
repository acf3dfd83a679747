"""Jobs to be: what belongs to them, and whether it goes together."""

from dataclasses import dataclass, field, replace

import numpy as np

from engine.data.columns import Column, difference
from engine.data.dataset import Dataset
from engine.data.preparation import Preparation
from engine.errors import InvalidInput
from engine.jobs.job import Checkpointing, Job, SavedRun
from engine.jobs.network import NetworkRecord
from engine.training.order import block_for
from engine.training.spec import TrainingSpec


@dataclass(frozen=True)
class Limits:
    """What a service takes: jobs that wait, and bytes of memory of one run. `slot_bytes`: memory that a slot has.
    `data_bytes`: how much of a run's data may be in memory beside it, where that was set."""

    queued_jobs: int
    job_bytes: int
    slot_bytes: int = 2**62
    data_bytes: int | None = None

    def data_beside(self, held: int) -> int:
        """Bytes of data that may be in memory beside a run that holds so many itself: half of what it leaves, since the
        service and what stands on its way to the disk have to be there too."""
        return self.data_bytes or max(0, self.slot_bytes - held) // 2


@dataclass(frozen=True)
class Order:
    """A job to be. `validation` is measured after every epoch, in place of a fraction of the dataset; `after`: jobs
    that must have succeeded before; `begin_with`: a checkpoint of a job of the same network."""

    network: NetworkRecord
    dataset: Dataset
    spec: TrainingSpec
    name: str | None = None
    validation: Dataset | None = None
    priority: int = 0
    after: tuple[Job, ...] = ()
    checkpointing: Checkpointing = field(default_factory=Checkpointing)
    begin_with: tuple[Job, SavedRun] | None = None


def check_data(order: Order, fitted: Preparation | None) -> None:
    """Raises InvalidInput if the network cannot be trained on the data, as its rule says, or as was `fitted` before
    what it begins with."""
    network, dataset, columns = order.network, order.dataset, order.dataset.features
    network.preparation.check_classes(dataset.classes)
    if fitted is not None:
        fitted.check_columns(columns)
        columns = fitted.columns
    dataset.check_fits(network.architecture, network.preparation, columns)
    if order.validation is not None:
        _check_validation(order.validation, dataset, network, columns)


def with_order(order: Order, data_bytes: int) -> TrainingSpec:
    """The settings, with rows shuffled in blocks where all of them take more than so many bytes once prepared."""
    spec, architecture = order.spec, order.network.architecture
    rows = order.dataset.rows + (order.validation.rows if order.validation else 0)
    bytes_of_row = np.dtype(architecture.dtype).itemsize * (architecture.inputs + architecture.outputs)
    block = block_for(rows, bytes_of_row, data_bytes) if spec.shuffle else None
    return replace(spec, shuffle_block=block)


def _check_validation(
    validation: Dataset, dataset: Dataset, network: NetworkRecord, columns: tuple[Column, ...] | None
) -> None:
    """Raises InvalidInput, naming `validation.dataset_id`, if it cannot measure what is learned from `dataset`, whose
    `columns` the network knows."""
    field = "validation.dataset_id"
    differs = difference(columns, validation.features)
    if differs is not None:
        raise InvalidInput(field, f"The dataset is not of the columns that are trained on: {differs}.")
    try:
        validation.check_fits(network.architecture, network.preparation, columns)
    except InvalidInput as refused:
        raise InvalidInput(field, refused.problems[0][1]) from refused
    if validation.classes != dataset.classes:
        expected = f"the classes {', '.join(dataset.classes)}" if dataset.classes else "targets, no classes"
        raise InvalidInput(field, f"The dataset for training has {expected}; the one for validation needs the same.")
