"""Optimizers in requests and answers: a name, or an object with its settings."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, TypeAdapter

from app.schemas.base import Request
from engine.names import OptimizerName

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


_Kinds = Sgd | Momentum | Nesterov | Adagrad | Rmsprop | Adam | Adamw | Nadam | Lbfgs


def _by_name(value: object) -> object:
    """A name stands for the object with all defaults."""
    return {"type": value} if isinstance(value, str) else value


OptimizerFields = Annotated[
    _Kinds,
    Field(discriminator="type"),
    BeforeValidator(_by_name, json_schema_input_type=OptimizerName | _Kinds),
]
_ANY: TypeAdapter[_Kinds] = TypeAdapter(OptimizerFields)


def settings_of(optimizer: _Kinds) -> dict[str, float]:
    """What was set of its settings."""
    return optimizer.model_dump(exclude={"type"}, exclude_unset=True)


def view_of(name: OptimizerName, settings: dict[str, float]) -> _Kinds:
    """With all its settings, defaults included."""
    return _ANY.validate_python({"type": name, **settings}, strict=False)
