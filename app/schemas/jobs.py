"""Requests and responses about jobs, their checkpoints and their cost histories."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from nabla.app.schemas import training
from nabla.app.schemas.common import Name, Reference, RequestModel
from nabla.app.schemas.training import Constant, EarlyStoppingFields, TrainingFields, ValidationFields
from nabla.engine.errors import InvalidInput
from nabla.engine.literals import DeviceChoice, DeviceKind, ErrorKind, JobState, StopReason

if TYPE_CHECKING:
    from nabla.engine.records.job import CheckpointRecord, Job
    from nabla.engine.training.config import TrainingSpec
    from nabla.engine.training.state import Epoch

_DEFAULT_EPOCHS = 30
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
TRANSIENT_FIELDS = {"queue_position", "blocked_by", "pausing", "compiling"}
"""Fields of `JobView` that depend on other jobs or on pending requests, and so are not part of recorded states."""


class CheckpointFields(RequestModel):
    """When to save a job, and how many of its checkpoints to keep."""

    seconds: Annotated[
        float | None,
        Field(gt=0, description="Interval between checkpoints, in seconds; by default NABLA_CHECKPOINT_INTERVAL."),
    ] = None
    epochs: Annotated[int | None, Field(ge=1, description="Also save after every this many epochs.")] = None
    keep: Annotated[
        int | None,
        Field(ge=1, le=1000, description="Number of newest checkpoints to keep; by default NABLA_MAX_CHECKPOINTS."),
    ] = None


class ResumeFields(RequestModel):
    """A checkpoint to start from."""

    job_id: Annotated[Reference, Field(description="Id or name of a job of the same network.")]
    checkpoint: Annotated[int, Field(ge=1, description="Number of one of its checkpoints.")]


Priority = Annotated[
    int, Field(ge=-1000, le=1000, description="Queued jobs with a higher priority start first; ties by age.")
]


class NewJob(RequestModel, TrainingFields):
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
            description=f"Passes over the training rows; by default {_DEFAULT_EPOCHS}, or the sum of the schedule's "
            "stages.",
        ),
    ] = None
    batch_size: Annotated[
        int,
        Field(ge=1, le=2**31, description="Rows of a mini-batch. From the number of training rows on: full batch."),
    ] = 32
    learning_rate: Annotated[float, Field(gt=0, description="Learning rate η (step size).")] = 0.1
    device: Annotated[
        DeviceChoice,
        Field(description="Kind of device to train on; auto: the one with the lower estimated time per step."),
    ] = "auto"
    priority: Priority = 0
    depends_on: list[Reference] = Field(
        default=[],
        max_length=100,
        description="Ids or names of jobs that have to succeed before this one starts.",
    )
    owned_datasets: list[Reference] = Field(
        default=[],
        max_length=100,
        description="Ids or names of datasets that are deleted together with the job, such as the parts of a split.",
    )
    checkpoints: Annotated[CheckpointFields, Field(description="When to save checkpoints.")] = CheckpointFields()
    resume_from: Annotated[
        ResumeFields | None,
        Field(
            description="Start from the weights of a checkpoint, and from its optimizer state if the optimizer is the "
            "same."
        ),
    ] = None

    def spec(self) -> "TrainingSpec":
        """Return the training configuration.

        Raises:
            InvalidInput: Two settings contradict each other.
        """
        from nabla.engine.training.config import EarlyStopping, TrainingSpec

        if self.optimizer.type == "l-bfgs":
            for field in ("batch_size", "learning_rate"):
                if field in self.model_fields_set:
                    raise InvalidInput(
                        field, f"l-bfgs uses all training rows and searches its own step sizes; leave out {field}."
                    )
        if self.warm_start and self.resume_from is not None:
            raise InvalidInput(
                "resume_from", "warm_start starts from the current version instead; give only one of them."
            )
        stages = training.parse_stages(self.schedule)
        rule = Constant(type="constant") if isinstance(self.schedule, list) else self.schedule
        validation, stopping = self.validation, self.early_stopping
        return TrainingSpec(
            epochs=self.epochs or sum(stage.epochs for stage in stages) or _DEFAULT_EPOCHS,
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


class JobChange(RequestModel):
    """New settings of an unfinished job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"priority": 1, "learning_rate": 0.5}]})

    priority: Priority | None = None
    learning_rate: Annotated[
        float | None,
        Field(gt=0, description="η from the next epoch on; a schedule continues from it."),
    ] = None


class Cancellation(RequestModel):
    """How to cancel a job."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"keep": "last"}]})

    keep: Annotated[
        Literal["last", "best"] | None,
        Field(
            description="Publish the weights reached so far, or those of the best epoch (with early stopping), as a "
            "new version of the network. By default nothing is published."
        ),
    ] = None


class ErrorView(BaseModel):
    """Why a job or batch prediction failed."""

    kind: ErrorKind
    message: str


class JobView(TrainingFields):
    """A training job. With l-bfgs, `batch_size` and `learning_rate` are null."""

    id: str
    name: str | None
    state: JobState
    queue_position: Annotated[
        int | None, Field(description="Position in the queue of its kind of device; 0 starts next.")
    ] = None
    priority: int
    depends_on: list[str]
    owned_datasets: Annotated[list[str], Field(description="Datasets that are deleted together with the job.")]
    blocked_by: list[str] = Field(default=[], description="The jobs of `depends_on` that are not finished.")
    pausing: Annotated[bool, Field(description="A pause was requested; the job runs until it has been saved.")] = False
    compiling: Annotated[
        bool,
        Field(
            description="The job runs, and code for its network is being compiled, which takes seconds. That happens "
            "once on a machine for each activation, cost and optimizer."
        ),
    ] = False
    network_id: str
    dataset_id: str
    epoch: Annotated[int, Field(description="Number of finished epochs.")]
    epochs: int
    cost: Annotated[float | None, Field(description="Cost (loss) of the last finished epoch.")]
    batch_size: int | None
    learning_rate: float | None
    device: Annotated[str | None, Field(description="Device that the job was assigned to.", examples=["cpu", "cuda:0"])]
    device_kind: Annotated[DeviceKind, Field(description="Kind of device that the job is queued for or runs on.")]
    device_reason: Annotated[str | None, Field(description="Why this kind of device was selected.")]
    shuffle_mode: Annotated[
        Literal["rows", "blocks", "none"],
        Field(
            description="What each epoch shuffles: all rows; or blocks of consecutive rows, and then the rows within a "
            "few blocks at a time, if the preprocessed data exceed the data memory limit."
        ),
    ]
    attempts: Annotated[int, Field(description="Number of starts.")]
    retries: Annotated[int, Field(description="Number of starts after a failure.")]
    checkpoints: CheckpointFields
    seconds_elapsed: float
    seconds_remaining: Annotated[float | None, Field(description="Estimate from the speed so far.")]
    start_version: Annotated[
        int | None, Field(description="Version that the job started from; null if it started from a checkpoint.")
    ]
    resume_from: ResumeFields | None
    network_version: Annotated[int | None, Field(description="Version that the job published.")]
    stop_reason: Annotated[StopReason | None, Field(description="Why the job stopped training.")]
    best_epoch: Annotated[int | None, Field(description="With early stopping: the epoch whose weights are published.")]
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(
        cls,
        job: "Job",
        queue_position: int | None = None,
        blocked_by: Sequence[str] = (),
        pausing: bool = False,
        compiling: bool = False,
    ) -> "JobView":
        """Return the view of a job; the other arguments are its `TRANSIENT_FIELDS`."""
        spec = job.spec
        learning_rate = spec.new_rates[-1].learning_rate if spec.new_rates else spec.learning_rate
        has_steps = spec.optimizer != "l-bfgs"
        return cls(
            id=job.id,
            name=job.name,
            state=job.state,
            queue_position=queue_position,
            priority=job.priority,
            depends_on=list(job.depends_on),
            owned_datasets=list(job.owned_datasets),
            blocked_by=list(blocked_by),
            pausing=pausing,
            compiling=compiling,
            network_id=job.network_id,
            dataset_id=job.dataset_id,
            epoch=job.epoch,
            epochs=spec.epochs,
            cost=job.cost,
            batch_size=spec.batch_size if has_steps else None,
            learning_rate=learning_rate if has_steps else None,
            optimizer=training.optimizer_view(spec.optimizer, spec.optimizer_settings),
            schedule=training.schedule_view(spec),
            l1=spec.l1,
            l2=spec.l2,
            clip_value=spec.clip_value,
            clip_norm=spec.clip_norm,
            max_norm=spec.max_norm,
            class_weights=spec.class_weights,
            validation=_validation_fields(job),
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
            resume_from=_resume_fields(job),
            network_version=job.network_version,
            stop_reason=job.stopped,
            best_epoch=job.best_epoch,
            error=ErrorView(kind=job.error.kind, message=job.error.message) if job.error else None,
            created_at=job.created_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
        )


def _validation_fields(job: "Job") -> ValidationFields | None:
    if job.validation_dataset_id is not None:
        return ValidationFields(dataset_id=job.validation_dataset_id)
    if not job.spec.validation_fraction:
        return None
    return ValidationFields(fraction=job.spec.validation_fraction, stratified=job.spec.stratified)


def _resume_fields(job: "Job") -> ResumeFields | None:
    if job.resume_from is None:
        return None
    job_id, checkpoint = job.resume_from
    return ResumeFields(job_id=job_id, checkpoint=checkpoint)


def _seconds_remaining(job: "Job") -> float | None:
    """Extrapolate the speed so far to the last epoch or to `max_seconds`, whichever is first."""
    if not job.epoch or job.finished:
        return None
    remaining = job.seconds / job.epoch * (job.spec.epochs - job.epoch)
    if job.spec.max_seconds is not None:
        remaining = min(remaining, max(job.spec.max_seconds - job.seconds, 0.0))
    return remaining


class CheckpointView(BaseModel):
    """A checkpoint of a job."""

    number: int
    epoch: Annotated[int, Field(description="Number of finished epochs.")]
    cost: Annotated[float | None, Field(description="Cost of the last finished epoch.")]
    seconds_elapsed: float
    bytes: int
    created_at: datetime

    @classmethod
    def of(cls, checkpoint: "CheckpointRecord") -> "CheckpointView":
        """Return the view of a checkpoint."""
        return cls(
            number=checkpoint.number,
            epoch=checkpoint.epoch,
            cost=checkpoint.cost,
            seconds_elapsed=checkpoint.seconds,
            bytes=checkpoint.bytes,
            created_at=checkpoint.created_at,
        )


class CheckpointsView(BaseModel):
    """Checkpoints of a job, newest first."""

    data: list[CheckpointView]


class Publication(RequestModel):
    """Which weights of a checkpoint to publish."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weights": "last"}]})

    weights: Annotated[
        Literal["last", "best"],
        Field(
            description="last: the weights at the checkpoint; best: those of the best epoch so far, with early "
            "stopping."
        ),
    ] = "last"


class EpochView(BaseModel):
    """Metrics of one epoch.

    Training metrics are means over the epoch, each step measured before its update. Costs are weighted, in the units of
    the preprocessed targets, and include penalties. `accuracy` is for classes and labels; `r2`, `mae` and `rmse` are
    for numbers, the latter two in the units of the targets.
    """

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
    learning_rate: Annotated[float | None, Field(description="Learning rate of the last step.")]
    gradient_norm: Annotated[float | None, Field(description="Gradient norm of the last step, before clipping.")]
    rows_per_second: Annotated[float | None, Field(description="Training speed, without validation.")]
    seconds: Annotated[float, Field(description="Duration of the epoch, with validation.")]

    @classmethod
    def of(cls, epoch: "Epoch") -> "EpochView":
        """Return the view of an epoch."""
        return cls.model_validate(epoch, from_attributes=True)


class HistoryView(BaseModel):
    """Epochs, oldest first. The next page is `?after=` the last epoch of this one."""

    data: list[EpochView]
    has_more: bool
