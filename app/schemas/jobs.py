"""Jobs and their histories in requests and answers."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.base import Name, Request
from app.schemas.optimizers import OptimizerFields, Sgd, settings_of, view_of
from engine.jobs.job import ErrorKind, Job, State
from engine.nn.network import LARGEST_SEED
from engine.training.spec import DeviceChoice, Epoch, TrainingSpec


class ValidationFields(Request):
    """Rows kept from training, to measure the network after every epoch."""

    fraction: Annotated[float, Field(gt=0, lt=1, description="Share of the rows, drawn by the seed.")]


_EXAMPLE: dict[str, JsonValue] = {
    "name": "xor",
    "network_id": "xor",
    "dataset_id": "xor",
    "epochs": 500,
    "batch_size": 4,
    "learning_rate": 1.0,
    "optimizer": "sgd",
    "seed": 7,
    "device": "auto",
}


def _sgd() -> Sgd:
    return Sgd(type="sgd")


class NewJob(Request):
    """Train a network, from its start, on a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    network_id: Annotated[str, Field(description="Id or name of the network.")]
    dataset_id: Annotated[str, Field(description="Id or name of the dataset.")]
    name: Name | None = None
    epochs: Annotated[int, Field(ge=1, le=10**9, description="Passes over the training rows.")] = 30
    batch_size: Annotated[
        int, Field(ge=1, le=2**31, description="Rows of a mini-batch; at least as many as there are: full batch.")
    ] = 32
    learning_rate: Annotated[float, Field(gt=0, description="η: how far a step follows the gradient.")] = 0.1
    optimizer: Annotated[
        OptimizerFields, Field(description="A name, or an object with its settings.", default_factory=_sgd)
    ]
    validation: ValidationFields | None = None
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, description="The same seed shuffles the same way.")] = 0
    shuffle: Annotated[bool, Field(description="Draw a new order of the rows for every epoch.")] = True
    device: Annotated[DeviceChoice, Field(description="Where to train.")] = "auto"

    def spec(self) -> TrainingSpec:
        return TrainingSpec(
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer.type,
            optimizer_settings=settings_of(self.optimizer),
            validation_fraction=self.validation.fraction if self.validation else 0.0,
            seed=self.seed,
            shuffle=self.shuffle,
            device=self.device,
        )


class ErrorView(BaseModel):
    kind: ErrorKind
    message: str


class JobView(BaseModel):
    """A job. `cost` is that of the last finished epoch; `queue_position` 0 is the next to run."""

    id: str
    name: str | None
    state: State
    queue_position: int | None
    network_id: str
    dataset_id: str
    epoch: int
    epochs: int
    cost: float | None
    batch_size: int
    learning_rate: float
    optimizer: OptimizerFields
    validation: ValidationFields | None
    seed: int
    shuffle: bool
    device: str | None
    attempt: int
    seconds_elapsed: float
    seconds_remaining: float | None
    network_version: int | None
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, job: Job, queue_position: int | None) -> "JobView":
        spec = job.spec
        remaining = None
        if job.epoch and not job.finished:
            remaining = job.seconds / job.epoch * (spec.epochs - job.epoch)
        fraction = spec.validation_fraction
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            queue_position=queue_position,
            network_id=job.network_id,
            dataset_id=job.dataset_id,
            epoch=job.epoch,
            epochs=spec.epochs,
            cost=job.cost,
            batch_size=spec.batch_size,
            learning_rate=spec.learning_rate,
            optimizer=view_of(spec.optimizer, spec.optimizer_settings),
            validation=ValidationFields(fraction=fraction) if fraction else None,
            seed=spec.seed,
            shuffle=spec.shuffle,
            device=job.device,
            attempt=job.attempt,
            seconds_elapsed=job.seconds,
            seconds_remaining=remaining,
            network_version=job.network_version,
            error=ErrorView(kind=job.error.kind, message=job.error.message) if job.error else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


class EpochView(BaseModel):
    """One epoch. Cost and accuracy are means over it, as each step saw them before its update."""

    epoch: int
    cost: float
    accuracy: float | None
    validation_cost: float | None
    validation_accuracy: float | None
    learning_rate: float
    seconds: float

    @classmethod
    def of(cls, epoch: Epoch) -> "EpochView":
        return cls.model_validate(epoch, from_attributes=True)


class HistoryView(BaseModel):
    """Oldest first; what follows is `?after=` the last epoch of this."""

    data: list[EpochView]
    has_more: bool
