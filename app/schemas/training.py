"""The settings of training that requests and answers have in common."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, Discriminator, Field, Tag, TypeAdapter, model_validator

from nabla.app.schemas.common import Reference, Request
from nabla.engine.literals import LARGEST_SEED, OptimizerName, Precision, ScheduleName

_Decay = Annotated[float, Field(ge=0, lt=1)]
_Epsilon = Annotated[float, Field(gt=0, description="ε: keeps a quotient finite where the gradient vanishes.")]
_Momentum = Annotated[_Decay, Field(description="μ: how much of the last step's direction is kept.")]
_Beta1 = Annotated[_Decay, Field(description="β₁: decay of the mean of gradients.")]
_Beta2 = Annotated[_Decay, Field(description="β₂: decay of the mean of squared gradients.")]


class Sgd(Request):
    """Gradient descent: w ← w − η g."""

    type: Literal["sgd"]


class Momentum(Request):
    """Gradient descent with momentum."""

    type: Literal["momentum"]
    momentum: _Momentum = 0.9


class Nesterov(Request):
    """Gradient descent with Nesterov's momentum."""

    type: Literal["nesterov"]
    momentum: _Momentum = 0.9


class Adagrad(Request):
    """Steps divided by the root of the sum of squared gradients."""

    type: Literal["adagrad"]
    epsilon: _Epsilon = 1e-10


class Rmsprop(Request):
    """Steps divided by the root of a running mean of squared gradients."""

    type: Literal["rmsprop"]
    rho: Annotated[_Decay, Field(description="Decay of the mean of squared gradients.")] = 0.9
    epsilon: _Epsilon = 1e-8


class Adam(Request):
    """Running means of gradients and of their squares, both corrected for their start."""

    type: Literal["adam"]
    beta_1: _Beta1 = 0.9
    beta_2: _Beta2 = 0.999
    epsilon: _Epsilon = 1e-8


class Adamw(Request):
    """adam with weight decay apart from the gradient."""

    type: Literal["adamw"]
    beta_1: _Beta1 = 0.9
    beta_2: _Beta2 = 0.999
    epsilon: _Epsilon = 1e-8
    weight_decay: Annotated[
        float, Field(ge=0, description="λ: all parameters shrink by the share η λ in each step.")
    ] = 0.01


class Nadam(Request):
    """adam with Nesterov's momentum."""

    type: Literal["nadam"]
    beta_1: _Beta1 = 0.9
    beta_2: _Beta2 = 0.999
    epsilon: _Epsilon = 1e-8
    momentum_decay: Annotated[float, Field(ge=0, description="ψ: how fast the momentum rises to β₁.")] = 0.004


class Lbfgs(Request):
    """SciPy's L-BFGS, for small data: every epoch is an iteration over all training rows at once. It has no learning
    rate and no mini-batches, and float64 serves it best."""

    type: Literal["l-bfgs"]
    maxcor: Annotated[int, Field(ge=1, le=100, description="How many steps it remembers.")] = 10
    gtol: Annotated[float, Field(ge=0, description="It ends when no component of the gradient is larger.")] = 1e-5
    ftol: Annotated[float, Field(ge=0, description="It ends when the cost falls by no larger share.")] = (
        2.220446049250313e-09
    )


_OptimizerKinds = Sgd | Momentum | Nesterov | Adagrad | Rmsprop | Adam | Adamw | Nadam | Lbfgs


def _by_name(value: object) -> object:
    """A name stands for the object with all defaults."""
    return {"type": value} if isinstance(value, str) else value


OptimizerFields = Annotated[
    _OptimizerKinds,
    Field(discriminator="type"),
    BeforeValidator(_by_name, json_schema_input_type=OptimizerName | _OptimizerKinds),
]
_ANY: TypeAdapter[_OptimizerKinds] = TypeAdapter(OptimizerFields)


def optimizer_settings(optimizer: _OptimizerKinds) -> dict[str, float]:
    """What was set of its settings."""
    return optimizer.model_dump(exclude={"type"}, exclude_unset=True)


def optimizer_view(name: OptimizerName, settings: dict[str, float]) -> _OptimizerKinds:
    """With all its settings, defaults included."""
    return _ANY.validate_python({"type": name, **settings}, strict=False)


if TYPE_CHECKING:
    from nabla.engine.training.config import Stage, TrainingSpec

_Factor = Annotated[float, Field(gt=0, description="What the rate is multiplied with.")]
_Minimum = Annotated[float, Field(ge=0, description="The rate does not fall below this.")]


class Constant(Request):
    """The same rate in every step."""

    type: Literal["constant"]


class Step(Request):
    """η · factor every so many epochs."""

    type: Literal["step"]
    every: Annotated[int, Field(ge=1, description="Epochs from one change to the next.")] = 10
    factor: _Factor = 0.1


class Exponential(Request):
    """η · factor after every epoch."""

    type: Literal["exponential"]
    factor: _Factor = 0.95


class Cosine(Request):
    """From 0 to η in a line over the warm-up, then half a cosine down to the minimum at the last step."""

    type: Literal["cosine"]
    warmup_epochs: Annotated[float, Field(ge=0, description="Length of the warm-up.")] = 0.0
    minimum: Annotated[float, Field(ge=0, description="The rate at the end.")] = 0.0


class InverseScaling(Request):
    """η / (t + 1)^power at step t."""

    type: Literal["inverse_scaling"]
    power: Annotated[float, Field(ge=0, description="How fast the rate falls.")] = 0.5


class Plateau(Request):
    """η · factor each time the cost has stopped falling: the validation cost where there is one."""

    type: Literal["plateau"]
    factor: _Factor = 0.1
    patience: Annotated[int, Field(ge=1, description="Epochs to wait for a lower cost.")] = 10
    min_delta: Annotated[float, Field(ge=0, description="A fall by no more than this does not count.")] = 1e-4
    minimum: _Minimum = 0.0


class StageFields(Request):
    """Settings that change; what is left out stays as it was."""

    learning_rate: Annotated[float | None, Field(gt=0, description="η from here on.")] = None
    l2: Annotated[float | None, Field(ge=0, description="λ from here on.")] = None
    momentum: Annotated[float | None, Field(ge=0, lt=1, description="μ from here on, with momentum and nesterov.")] = (
        None
    )


_ScheduleKinds = Constant | Step | Exponential | Cosine | InverseScaling | Plateau
_Epochs = Annotated[int, Field(ge=1, strict=True, description="How many epochs the stage has.")]
_Stages = Annotated[
    list[Annotated[tuple[_Epochs, StageFields], Field(strict=False)]],
    Field(min_length=1, max_length=1000, examples=[[[20, {"learning_rate": 3.0}], [10, {"learning_rate": 1.0}]]]),
]


def _shape(value: Any) -> str:
    return "stages" if isinstance(value, list) else "rule"


ScheduleFields = Annotated[
    Annotated[
        Annotated[Annotated[_ScheduleKinds, Field(discriminator="type")], Tag("rule")]
        | Annotated[_Stages, Tag("stages")],
        Discriminator(_shape),
    ],
    BeforeValidator(_by_name, json_schema_input_type=ScheduleName | _ScheduleKinds | _Stages),
]
_RULE: TypeAdapter[_ScheduleKinds] = TypeAdapter(Annotated[_ScheduleKinds, Field(discriminator="type")])


def stages_of(schedule: object) -> "tuple[Stage, ...]":
    """Of a list of them; none of a rule."""
    from nabla.engine.training.config import Stage

    if not isinstance(schedule, list):
        return ()
    return tuple(Stage(epochs, **fields.model_dump()) for epochs, fields in schedule)


def schedule_settings(schedule: _ScheduleKinds) -> dict[str, float]:
    """What was set of a rule's settings."""
    return schedule.model_dump(exclude={"type"}, exclude_unset=True)


def schedule_view(spec: "TrainingSpec") -> _ScheduleKinds | list[tuple[int, StageFields]]:
    """With all its settings, defaults included."""
    if spec.stages:
        return [
            (
                stage.epochs,
                StageFields(learning_rate=stage.learning_rate, l2=stage.l2, momentum=stage.momentum),
            )
            for stage in spec.stages
        ]
    return _RULE.validate_python({"type": spec.schedule, **spec.schedule_settings}, strict=False)


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
    restore_best_weights: Annotated[bool, Field(description="Publish the weights of the best epoch, not the last.")] = (
        True
    )


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
