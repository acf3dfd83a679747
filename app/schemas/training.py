"""The settings of training that requests and answers have in common."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Discriminator, Field, Tag, model_validator

from app.schemas.base import Reference, Request
from app.schemas.optimizers import OptimizerFields, Sgd
from app.schemas.schedules import Constant, ScheduleFields
from engine.names import LARGEST_SEED, Precision


class ValidationFields(Request):
    """Rows kept from training, or another dataset, to measure the network after every epoch."""

    fraction: Annotated[float | None, Field(gt=0, lt=1, description="Share of the rows, drawn by the seed.")] = None
    stratified: Annotated[bool, Field(description="Draw of each class its share.")] = True
    dataset_id: Annotated[Reference | None, Field(description="Or the id or name of a dataset of the same kind.")] = (
        None
    )

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if (self.fraction is None) == (self.dataset_id is None):
            raise ValueError("Give either fraction or dataset_id")
        return self


class EarlyStoppingFields(Request):
    """End when the cost has stopped falling: the validation cost where there is one."""

    patience: Annotated[int, Field(ge=1, description="Epochs to wait for a lower cost.")] = 10
    min_delta: Annotated[float, Field(ge=0, description="A fall by no more than this does not count.")] = 0.0
    restore_best: Annotated[bool, Field(description="Publish the weights of the best epoch, not the last.")] = True


def _kind_of_weights(value: Any) -> str:
    return "name" if isinstance(value, str) else "weights"


ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("name")] | Annotated[dict[str, Annotated[float, Field(ge=0)]], Tag("weights")],
    Discriminator(_kind_of_weights),
]


def _sgd() -> Sgd:
    return Sgd(type="sgd")


def _constant() -> Constant:
    return Constant(type="constant")


class TrainingFields(BaseModel):
    """The settings that requests and answers have in common."""

    optimizer: Annotated[
        OptimizerFields, Field(description="A name, or an object with its settings.", default_factory=_sgd)
    ]
    schedule: Annotated[
        ScheduleFields,
        Field(
            description="How the learning rate changes: a name, an object with its settings, or a list of stages "
            "[[epochs, {learning_rate, l2, momentum}], …].",
            default_factory=_constant,
        ),
    ]
    l1: Annotated[float, Field(ge=0, description="λ: the cost grows by λ/n Σ|w|, n training rows, biases apart.")] = 0.0
    l2: Annotated[float, Field(ge=0, description="λ: the cost grows by λ/2n Σw², n training rows, biases apart.")] = 0.0
    clip_value: Annotated[
        float | None, Field(gt=0, description="Keep every component of a gradient within ± this.")
    ] = None
    clip_norm: Annotated[float | None, Field(gt=0, description="Shorten a gradient that is longer than this.")] = None
    max_norm: Annotated[
        float | None, Field(gt=0, description="After each step shorten the weights into a unit to this length.")
    ] = None
    class_weights: Annotated[
        ClassWeights | None,
        Field(
            description="How much a row of each class counts, 1 where none is given; balanced: n / (K nₖ). They "
            "multiply the dataset's weights, and all are scaled so that training rows weigh 1 on average."
        ),
    ] = None
    validation: ValidationFields | None = None
    early_stopping: EarlyStoppingFields | None = None
    target_cost: Annotated[
        float | None, Field(description="End when the cost is no higher: the validation cost where there is one.")
    ] = None
    max_seconds: Annotated[float | None, Field(gt=0, description="End after so many seconds of training.")] = None
    warm_start: Annotated[
        bool, Field(description="Begin with the network's current version, not with its start; moments begin anew.")
    ] = False
    seed: Annotated[
        int, Field(ge=0, le=LARGEST_SEED, description="The same seed shuffles, splits and drops the same way.")
    ] = 0
    precision: Annotated[
        Precision,
        Field(
            description="Of products on a GPU, for float32 networks: full; tf32: operands rounded to TensorFloat-32; "
            "half: operands rounded to 16 bits. Weights and all else stay float32."
        ),
    ] = "full"
    shuffle: Annotated[bool, Field(description="Draw a new order of the rows for every epoch.")] = True
