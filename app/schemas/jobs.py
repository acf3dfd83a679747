"""Jobs in requests and answers."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from nabla.app.schemas import training
from nabla.app.schemas.common import Name, Reference, Request
from nabla.app.schemas.training import Constant, EarlyStoppingFields, TrainingFields, ValidationFields
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DeviceChoice, DeviceKind, ErrorKind, State, StopReason
from nabla.engine.training.state import Epoch

if TYPE_CHECKING:
    from nabla.engine.records.job import Job
    from nabla.engine.training.config import TrainingSpec

_EPOCHS = 30


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
    "checkpoints": {"epochs": 100},
}


_FULL_BATCH = "l-bfgs finds its own steps from all training rows; leave this out."


class CheckpointFields(Request):
    seconds: Annotated[
        float | None, Field(gt=0, description="Save the job so often; by default as the service is set.")
    ] = None
    epochs: Annotated[int | None, Field(ge=1, description="And after each so many epochs.")] = None
    keep: Annotated[
        int | None, Field(ge=1, le=1000, description="How many are kept, the newest; by default as the service is set.")
    ] = None


class ResumeFields(Request):
    job_id: Annotated[Reference, Field(description="Id or name of a job of the same network.")]
    checkpoint: Annotated[int, Field(ge=1, description="The number of one of its checkpoints.")]


Priority = Annotated[
    int, Field(ge=-1000, le=1000, description="Jobs of a higher one start before those of a lower one.")
]


class NewJob(Request, TrainingFields):
    """Train a network on a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    network_id: Annotated[Reference, Field(description="Id or name of the network.")]
    dataset_id: Annotated[Reference, Field(description="Id or name of the dataset.")]
    name: Name | None = None
    epochs: Annotated[
        int | None,
        Field(
            ge=1,
            le=10**9,
            description=f"Passes over the training rows; by default {_EPOCHS}, or as many as the stages have.",
        ),
    ] = None
    batch_size: Annotated[
        int, Field(ge=1, le=2**31, description="Rows of a mini-batch; at least as many as there are: full batch.")
    ] = 32
    learning_rate: Annotated[float, Field(gt=0, description="η: how far a step follows the gradient.")] = 0.1
    device: Annotated[
        DeviceChoice, Field(description="Where to train; auto: where a step takes less time, by arithmetic.")
    ] = "auto"
    priority: Priority = 0
    depends_on: list[Reference] = Field(
        default=[],
        max_length=100,
        description="Ids or names of jobs that must have succeeded before this one starts.",
    )
    checkpoints: Annotated[CheckpointFields, Field(description="When to save the job.")] = CheckpointFields()
    resume_from: Annotated[
        ResumeFields | None,
        Field(
            description="Begin with the weights of a checkpoint, and with what the optimizer had gathered if it is the "
            "same one."
        ),
    ] = None

    def spec(self) -> "TrainingSpec":
        """Raises InvalidInput if the settings do not go together."""
        from nabla.engine.training.config import EarlyStopping, TrainingSpec

        if self.optimizer.type == "l-bfgs":
            for field in ("batch_size", "learning_rate"):
                if field in self.model_fields_set:
                    raise InvalidInput(field, _FULL_BATCH)
        if self.warm_start and self.resume_from is not None:
            raise InvalidInput(
                "resume_from", "With warm_start a job begins with the current version; give one of them."
            )
        stages = training.stages_of(self.schedule)
        rule = Constant(type="constant") if isinstance(self.schedule, list) else self.schedule
        validation, stopping = self.validation, self.early_stopping
        return TrainingSpec(
            epochs=self.epochs or sum(stage.epochs for stage in stages) or _EPOCHS,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer.type,
            optimizer_settings=training.optimizer_settings(self.optimizer),
            schedule=rule.type,
            schedule_settings=training.schedule_settings(rule),
            stages=stages,
            l1=self.l1,
            l2=self.l2,
            clip_value=self.clip_value,
            clip_norm=self.clip_norm,
            max_norm=self.max_norm,
            class_weights=self.class_weights,
            validation_fraction=(validation.fraction if validation else None) or 0.0,
            stratified=validation.stratified if validation else True,
            early_stopping=EarlyStopping(**stopping.model_dump()) if stopping else None,
            target_cost=self.target_cost,
            max_seconds=self.max_seconds,
            warm_start=self.warm_start,
            seed=self.seed,
            shuffle=self.shuffle,
            device=self.device,
            precision=self.precision,
        )


class JobChange(Request):
    """What can be changed of a job that has not ended."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 1, "learning_rate": 0.5}]})

    priority: Priority | None = None
    learning_rate: Annotated[
        float | None,
        Field(gt=0, description="η from the next epoch that begins; a schedule goes on from it."),
    ] = None


class Cancellation(Request):
    """What to keep of a cancelled job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keep": "last"}]})

    keep: Annotated[
        Literal["last", "best"] | None,
        Field(
            description="Publish the weights that it has reached, or those of its best epoch (with early stopping), as "
            "the network's version."
        ),
    ] = None


class ErrorView(BaseModel):
    kind: ErrorKind
    message: str


class JobView(TrainingFields):
    """A job. `cost` is that of the last finished epoch; `queue_position` 0 is the next to run on its kind of device;
    `blocked_by`: those of `depends_on` that have not ended; `pausing`: it runs until it has been saved. `attempts`
    counts its starts, `retries` those after a failure. `start_version`: the version of the network it began with, if not with
    a checkpoint, `network_version` the one it has published; `stopped`: why it ended where it did; `best_epoch`: with
    early stopping, the one whose weights are published. l-bfgs has no batch size and no learning rate."""

    id: str
    name: str | None
    state: State
    queue_position: int | None = None
    priority: int
    depends_on: list[str]
    blocked_by: list[str] = Field(default=[])
    pausing: bool = False
    network_id: str
    dataset_id: str
    epoch: int
    epochs: int
    cost: float | None
    batch_size: int | None
    learning_rate: float | None
    device: Annotated[str | None, Field(description="The one that it was given.", examples=["cpu", "cuda:0"])]
    device_kind: Annotated[DeviceKind, Field(description="The kind of slot that it runs in.")]
    device_reason: Annotated[str | None, Field(description="Why there.")]
    shuffle_mode: Annotated[
        Literal["rows", "blocks", "none"],
        Field(
            description="What is put into a new order in every epoch: rows; or blocks of neighbouring rows, and then "
            "the rows of some blocks at a time, where the prepared data are larger than the memory for them."
        ),
    ]
    attempts: int
    retries: int
    checkpoints: CheckpointFields
    seconds_elapsed: float
    seconds_remaining: float | None
    start_version: int | None
    resume_from: ResumeFields | None
    network_version: int | None
    stopped: StopReason | None
    best_epoch: int | None
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(
        cls, job: "Job", queue_position: int | None = None, blocked_by: Sequence[str] = (), pausing: bool = False
    ) -> "JobView":
        spec = job.spec
        learning_rate = spec.new_rates[-1].learning_rate if spec.new_rates else spec.learning_rate
        by_steps = spec.optimizer != "l-bfgs"
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            queue_position=queue_position,
            priority=job.priority,
            depends_on=list(job.depends_on),
            blocked_by=list(blocked_by),
            pausing=pausing,
            network_id=job.network_id,
            dataset_id=job.dataset_id,
            epoch=job.epoch,
            epochs=spec.epochs,
            cost=job.cost,
            batch_size=spec.batch_size if by_steps else None,
            learning_rate=learning_rate if by_steps else None,
            optimizer=training.optimizer_view(spec.optimizer, spec.optimizer_settings),
            schedule=training.schedule_view(spec),
            l1=spec.l1,
            l2=spec.l2,
            clip_value=spec.clip_value,
            clip_norm=spec.clip_norm,
            max_norm=spec.max_norm,
            class_weights=spec.class_weights,
            validation=_validation_of(job),
            early_stopping=EarlyStoppingFields(**asdict(spec.early_stopping)) if spec.early_stopping else None,
            target_cost=spec.target_cost,
            max_seconds=spec.max_seconds,
            warm_start=spec.warm_start,
            seed=spec.seed,
            shuffle=spec.shuffle,
            shuffle_mode=("rows" if spec.shuffle_block is None else "blocks") if spec.shuffle else "none",
            precision=spec.precision,
            device=job.device,
            device_kind=job.device_kind,
            device_reason=job.device_reason,
            attempts=job.attempt,
            retries=job.retries,
            checkpoints=CheckpointFields(**asdict(job.checkpointing)),
            seconds_elapsed=job.seconds,
            seconds_remaining=_seconds_remaining(job),
            start_version=job.start_version if job.resume_from is None else None,
            resume_from=ResumeFields(job_id=job.resume_from[0], checkpoint=job.resume_from[1])
            if job.resume_from
            else None,
            network_version=job.network_version,
            stopped=job.stopped,
            best_epoch=job.best_epoch,
            error=ErrorView(kind=job.error.kind, message=job.error.message) if job.error else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


OF_THE_MOMENT = {"queue_position", "blocked_by", "pausing"}
"""Fields that depend on more than the job itself, which no record of the past has."""


def _validation_of(job: "Job") -> ValidationFields | None:
    if job.validation_dataset_id is not None:
        return ValidationFields(dataset_id=job.validation_dataset_id)
    if not job.spec.validation_fraction:
        return None
    return ValidationFields(fraction=job.spec.validation_fraction, stratified=job.spec.stratified)


def _seconds_remaining(job: "Job") -> float | None:
    """At the pace so far, to the last epoch or to the end of the time allowed."""
    if not job.epoch or job.finished:
        return None
    remaining = job.seconds / job.epoch * (job.spec.epochs - job.epoch)
    if job.spec.max_seconds is not None:
        remaining = min(remaining, max(job.spec.max_seconds - job.seconds, 0.0))
    return remaining


if TYPE_CHECKING:
    from nabla.engine.records.job import SavedRun


class CheckpointView(BaseModel):
    """A saved run: after so many whole epochs, with the cost of the last of them."""

    number: int
    epoch: int
    cost: float | None
    seconds_elapsed: float
    bytes: int
    created_at: datetime

    @classmethod
    def of(cls, saved: "SavedRun") -> "CheckpointView":
        return cls(
            number=saved.number,
            epoch=saved.epoch,
            cost=saved.cost,
            seconds_elapsed=saved.seconds,
            bytes=saved.bytes,
            created_at=saved.created_at,
        )


class CheckpointsView(BaseModel):
    """Newest first."""

    data: list[CheckpointView]


class Publication(Request):
    """Which weights of a checkpoint to publish."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weights": "last"}]})

    weights: Annotated[
        Literal["last", "best"], Field(description="best: those of the best epoch so far, with early stopping.")
    ] = "last"


class EpochView(BaseModel):
    """One epoch. What does not begin with `validation_` is a mean over it, as each step saw it before its update. Costs
    are weighted and include penalties. `accuracy` is there for classes and labels; `r2`, `mae` and `rmse` for numbers,
    the latter in the units of the targets. The costs are those of the targets as they are prepared for training.
    `learning_rate` and `gradient_norm` (before clipping) are those of the last step."""

    epoch: int
    cost: float
    accuracy: float | None
    r2: float | None
    mae: float | None
    rmse: float | None
    validation_cost: float | None
    validation_accuracy: float | None
    validation_r2: float | None
    validation_mae: float | None
    validation_rmse: float | None
    learning_rate: float | None
    gradient_norm: float | None
    rows_per_second: float | None
    seconds: float

    @classmethod
    def of(cls, epoch: Epoch) -> "EpochView":
        return cls.model_validate(epoch, from_attributes=True)


class HistoryView(BaseModel):
    """Oldest first; what follows is `?after=` the last epoch of this."""

    data: list[EpochView]
    has_more: bool
