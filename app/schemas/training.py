"""Training settings, shared by requests and responses: optimizers, schedules, regularization and stopping."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, TypeAdapter, model_validator

from nabla.app.schemas.common import Reference, RequestModel
from nabla.engine.literals import MAX_SEED, OptimizerName, Precision, ScheduleName

if TYPE_CHECKING:
    from nabla.engine.training.config import Stage, TrainingSpec

_Decay = Annotated[float, Field(ge=0, lt=1)]
_Epsilon = Annotated[float, Field(gt=0, description="ε: avoids a division by zero.")]
_Momentum = Annotated[_Decay, Field(description="μ: fraction of the previous step that is added.")]
_Beta1 = Annotated[_Decay, Field(description="β₁: decay of the running mean of gradients.")]
_Beta2 = Annotated[_Decay, Field(description="β₂: decay of the running mean of squared gradients.")]


class Sgd(RequestModel):
    """Gradient descent: w ← w − η g."""

    type: Literal["sgd"]


class Momentum(RequestModel):
    """Gradient descent with momentum."""

    type: Literal["momentum"]
    momentum: _Momentum = 0.9


class Nesterov(RequestModel):
    """Gradient descent with Nesterov momentum."""

    type: Literal["nesterov"]
    momentum: _Momentum = 0.9


class Adagrad(RequestModel):
    """Steps divided by the square root of the sum of squared gradients."""

    type: Literal["adagrad"]
    epsilon: _Epsilon = 1e-10


class Rmsprop(RequestModel):
    """Steps divided by the square root of a running mean of squared gradients."""

    type: Literal["rmsprop"]
    rho: Annotated[_Decay, Field(description="ρ: decay of the running mean of squared gradients.")] = 0.9
    epsilon: _Epsilon = 1e-8


class Adam(RequestModel):
    """Running means of gradients and of squared gradients, both bias-corrected."""

    type: Literal["adam"]
    beta_1: _Beta1 = 0.9
    beta_2: _Beta2 = 0.999
    epsilon: _Epsilon = 1e-8


class Adamw(RequestModel):
    """Adam with decoupled weight decay."""

    type: Literal["adamw"]
    beta_1: _Beta1 = 0.9
    beta_2: _Beta2 = 0.999
    epsilon: _Epsilon = 1e-8
    weight_decay: Annotated[
        float, Field(ge=0, description="λ: each step also multiplies all parameters by 1 − η λ.")
    ] = 0.01


class Nadam(RequestModel):
    """Adam with Nesterov momentum."""

    type: Literal["nadam"]
    beta_1: _Beta1 = 0.9
    beta_2: _Beta2 = 0.999
    epsilon: _Epsilon = 1e-8
    momentum_decay: Annotated[float, Field(ge=0, description="ψ: how fast the momentum rises to β₁.")] = 0.004


class Lbfgs(RequestModel):
    """L-BFGS with the line search of Moré and Thuente, for small data. float64 is recommended.

    Each epoch is one iteration over all training rows; there are no mini-batches and no learning rate.
    """

    type: Literal["l-bfgs"]
    maxcor: Annotated[int, Field(ge=1, le=100, description="Number of past steps that approximate the Hessian.")] = 10
    gtol: Annotated[float, Field(ge=0, description="Stop when no component of the gradient exceeds this.")] = 1e-5
    ftol: Annotated[float, Field(ge=0, description="Stop when the relative decrease of the cost is at most this.")] = (
        2.220446049250313e-09
    )


_OptimizerKinds = Sgd | Momentum | Nesterov | Adagrad | Rmsprop | Adam | Adamw | Nadam | Lbfgs


def _expand_name(value: object) -> object:
    """Expand a bare name to an object with all defaults."""
    return {"type": value} if isinstance(value, str) else value


OptimizerFields = Annotated[
    _OptimizerKinds,
    Field(discriminator="type"),
    BeforeValidator(_expand_name, json_schema_input_type=OptimizerName | _OptimizerKinds),
]
_OPTIMIZER: TypeAdapter[_OptimizerKinds] = TypeAdapter(OptimizerFields)


def optimizer_settings(optimizer: _OptimizerKinds) -> dict[str, float]:
    """Return the settings that the request contains, without defaults."""
    return optimizer.model_dump(exclude={"type"}, exclude_unset=True)


def optimizer_view(name: OptimizerName, settings: dict[str, float]) -> _OptimizerKinds:
    """Return an optimizer with all its settings, including defaults."""
    return _OPTIMIZER.validate_python({"type": name, **settings}, strict=False)


_Factor = Annotated[float, Field(gt=0, description="Factor of the learning rate.")]
_Minimum = Annotated[float, Field(ge=0, description="Lower bound of the learning rate.")]


class Constant(RequestModel):
    """The same learning rate in every step."""

    type: Literal["constant"]


class Step(RequestModel):
    """Multiply η by `factor` every `every` epochs."""

    type: Literal["step"]
    every: Annotated[int, Field(ge=1, description="Number of epochs between two changes.")] = 10
    factor: _Factor = 0.1


class Exponential(RequestModel):
    """Multiply η by `factor` after every epoch."""

    type: Literal["exponential"]
    factor: _Factor = 0.95


class Cosine(RequestModel):
    """Linear warm-up from 0 to η, then a half cosine down to `minimum` at the last step."""

    type: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0, description="Length of the warm-up in epochs.")] = 0.0
    minimum: Annotated[float, Field(ge=0, description="Learning rate at the end.")] = 0.0


class InverseScaling(RequestModel):
    """η / (t + 1)^power at step t."""

    type: Literal["inverse_scaling"]
    power: Annotated[float, Field(ge=0, description="How fast the learning rate falls.")] = 0.5


class Plateau(RequestModel):
    """Multiply η by `factor` when the cost (the validation cost, if there is one) has stopped falling."""

    type: Literal["plateau"]
    factor: _Factor = 0.1
    patience: Annotated[int, Field(ge=1, description="Number of epochs without a lower cost.")] = 10
    min_delta: Annotated[float, Field(ge=0, description="A smaller decrease does not count.")] = 1e-4
    minimum: _Minimum = 0.0


class StageFields(RequestModel):
    """Settings that a stage changes; omitted ones keep their value."""

    learning_rate: Annotated[float | None, Field(gt=0, description="η from this stage on.")] = None
    l2: Annotated[float | None, Field(ge=0, description="λ from this stage on.")] = None
    momentum: Annotated[
        float | None, Field(ge=0, lt=1, description="μ from this stage on, for momentum and nesterov.")
    ] = None


_ScheduleKinds = Constant | Step | Exponential | Cosine | InverseScaling | Plateau
_Epochs = Annotated[int, Field(ge=1, strict=True, description="Number of epochs of the stage.")]
_Stages = Annotated[
    list[Annotated[tuple[_Epochs, StageFields], Field(strict=False)]],
    Field(min_length=1, max_length=1000, examples=[[[20, {"learning_rate": 3.0}], [10, {"learning_rate": 1.0}]]]),
]


def _rule_or_stages(value: Any) -> str:
    return "stages" if isinstance(value, list) else "rule"


ScheduleFields = Annotated[
    Annotated[
        Annotated[Annotated[_ScheduleKinds, Field(discriminator="type")], Tag("rule")]
        | Annotated[_Stages, Tag("stages")],
        Discriminator(_rule_or_stages),
    ],
    BeforeValidator(_expand_name, json_schema_input_type=ScheduleName | _ScheduleKinds | _Stages),
]
_SCHEDULE: TypeAdapter[_ScheduleKinds] = TypeAdapter(Annotated[_ScheduleKinds, Field(discriminator="type")])


def parse_stages(schedule: object) -> "tuple[Stage, ...]":
    """Return the stages of a schedule; none if it is a rule."""
    from nabla.engine.training.config import Stage

    if not isinstance(schedule, list):
        return ()
    return tuple(Stage(epochs, **fields.model_dump()) for epochs, fields in schedule)


def schedule_settings(schedule: _ScheduleKinds) -> dict[str, float]:
    """Return the settings that the request contains, without defaults."""
    return schedule.model_dump(exclude={"type"}, exclude_unset=True)


def schedule_view(spec: "TrainingSpec") -> _ScheduleKinds | list[tuple[int, StageFields]]:
    """Return a schedule with all its settings, including defaults."""
    if spec.stages:
        return [
            (stage.epochs, StageFields(learning_rate=stage.learning_rate, l2=stage.l2, momentum=stage.momentum))
            for stage in spec.stages
        ]
    return _SCHEDULE.validate_python({"type": spec.schedule, **spec.schedule_settings}, strict=False)


class ValidationFields(RequestModel):
    """Validation after every epoch: on rows held out from training, or on another dataset."""

    fraction: Annotated[
        float | None, Field(gt=0, lt=1, description="Fraction of the rows to hold out, chosen by the seed.")
    ] = None
    stratified: Annotated[bool, Field(description="Preserve the proportions of the classes.")] = True
    dataset_id: Annotated[
        Reference | None, Field(description="Id or name of a dataset with the same columns, instead of fraction.")
    ] = None

    @model_validator(mode="after")
    def _check_exclusive(self) -> Self:
        if (self.fraction is None) == (self.dataset_id is None):
            raise ValueError("Give exactly one of fraction and dataset_id")
        return self


class EarlyStoppingFields(RequestModel):
    """Stop when the cost (the validation cost, if there is one) has stopped falling."""

    patience: Annotated[int, Field(ge=1, description="Number of epochs without a lower cost.")] = 10
    min_delta: Annotated[float, Field(ge=0, description="A smaller decrease does not count.")] = 0.0
    restore_best_weights: Annotated[
        bool, Field(description="Publish the weights of the best epoch instead of the last.")
    ] = True


def _name_or_weights(value: Any) -> str:
    return "name" if isinstance(value, str) else "weights"


ClassWeights = Annotated[
    Annotated[Literal["balanced"], Tag("name")] | Annotated[dict[str, Annotated[float, Field(ge=0)]], Tag("weights")],
    Discriminator(_name_or_weights),
]


def _sgd() -> Sgd:
    return Sgd(type="sgd")


def _constant() -> Constant:
    return Constant(type="constant")


class TrainingFields(BaseModel):
    """Training settings, the same in requests and responses."""

    optimizer: Annotated[
        OptimizerFields,
        Field(description="Name of an optimizer, or an object with its settings.", default_factory=_sgd),
    ]
    schedule: Annotated[
        ScheduleFields,
        Field(
            description="Learning rate schedule: a name, an object with its settings, or a list of stages "
            "[[epochs, {learning_rate, l2, momentum}], …].",
            default_factory=_constant,
        ),
    ]
    l1: Annotated[
        float,
        Field(
            ge=0,
            description="L1 regularization: adds λ/n Σ|w| to the cost (weights w, not biases; n training rows).",
        ),
    ] = 0.0
    l2: Annotated[
        float,
        Field(
            ge=0,
            description="L2 regularization: adds λ/2n Σw² to the cost (weights w, not biases; n training rows).",
        ),
    ] = 0.0
    clip_value: Annotated[float | None, Field(gt=0, description="Clip each component of the gradient to ± this.")] = (
        None
    )
    clip_norm: Annotated[
        float | None, Field(gt=0, description="Scale the gradient down to this norm if it is larger.")
    ] = None
    max_norm: Annotated[
        float | None,
        Field(
            gt=0,
            description="After each step, scale incoming weights of a unit with a larger norm down to this norm.",
        ),
    ] = None
    class_weights: Annotated[
        ClassWeights | None,
        Field(
            description="Weight of each class, by default 1; balanced: n / (K nₖ). Class weights multiply the sample "
            "weights, and the products are scaled to a mean of 1 over the training rows."
        ),
    ] = None
    validation: ValidationFields | None = None
    early_stopping: EarlyStoppingFields | None = None
    target_cost: Annotated[
        float | None, Field(description="Stop when the cost (the validation cost, if there is one) is at most this.")
    ] = None
    max_seconds: Annotated[float | None, Field(gt=0, description="Stop after this many seconds of training.")] = None
    warm_start: Annotated[
        bool,
        Field(description="Start from the current version instead of version 0; the optimizer state starts empty."),
    ] = False
    seed: Annotated[
        int, Field(ge=0, le=MAX_SEED, description="Seed of shuffling, of the validation split and of dropout.")
    ] = 0
    precision: Annotated[
        Precision,
        Field(
            description="Matrix products of float32 networks on a GPU: full; tf32: operands rounded to TensorFloat-32; "
            "half: operands rounded to 16 bits. Weights and everything else stay float32."
        ),
    ] = "full"
    shuffle: Annotated[bool, Field(description="Shuffle the rows in every epoch.")] = True
