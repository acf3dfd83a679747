"""Schedules of the learning rate in requests and answers: a name, an object with its settings, or a list of stages."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, TypeAdapter

from app.schemas.base import Request
from engine.names import ScheduleName

if TYPE_CHECKING:
    from engine.training.spec import TrainingSpec
    from engine.training.stages import Stage

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


_Kinds = Constant | Step | Exponential | Cosine | InverseScaling | Plateau
_Epochs = Annotated[int, Field(ge=1, strict=True, description="How many epochs the stage has.")]
_Stages = Annotated[
    list[Annotated[tuple[_Epochs, StageFields], Field(strict=False)]],
    Field(min_length=1, max_length=1000, examples=[[[20, {"learning_rate": 3.0}], [10, {"learning_rate": 1.0}]]]),
]


def _by_name(value: object) -> object:
    """A name stands for the object with all defaults."""
    return {"type": value} if isinstance(value, str) else value


def _shape(value: Any) -> str:
    return "stages" if isinstance(value, list) else "rule"


ScheduleFields = Annotated[
    Annotated[
        Annotated[Annotated[_Kinds, Field(discriminator="type")], Tag("rule")] | Annotated[_Stages, Tag("stages")],
        Discriminator(_shape),
    ],
    BeforeValidator(_by_name, json_schema_input_type=ScheduleName | _Kinds | _Stages),
]
_RULE: TypeAdapter[_Kinds] = TypeAdapter(Annotated[_Kinds, Field(discriminator="type")])


def stages_of(schedule: object) -> "tuple[Stage, ...]":
    """Of a list of them; none of a rule."""
    from engine.training.stages import Stage

    if not isinstance(schedule, list):
        return ()
    return tuple(Stage(epochs, **fields.model_dump()) for epochs, fields in schedule)


def settings_of(schedule: _Kinds) -> dict[str, float]:
    """What was set of a rule's settings."""
    return schedule.model_dump(exclude={"type"}, exclude_unset=True)


def view_of(spec: "TrainingSpec") -> _Kinds | list[tuple[int, StageFields]]:
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
