"""Networks in requests and answers."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.base import Name, Request, VersionReference
from engine.names import LARGEST_SEED, ActivationName, CostName, DtypeName, InitializerName, ScalingWord

if TYPE_CHECKING:
    from engine.data.preparation import PreparationRule
    from engine.jobs.network import NetworkRecord
    from engine.nn.architecture import Architecture


class LayerFields(Request):
    units: Annotated[int, Field(ge=1, le=2**24, description="How many outputs the layer has.", examples=[30])]
    activation: Annotated[ActivationName, Field(description="What is applied to W a + b.")] = "sigmoid"
    dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of the outputs that is dropped in training; 0 in the last layer.")
    ] = 0.0
    batch_norm: Annotated[
        bool,
        Field(
            description="Batch normalization of W a before b is added, with a scale for each unit; ε 1e-5, running "
            "statistics follow each mini-batch by a tenth."
        ),
    ] = False


class PreparationFields(Request):
    """How inputs and targets are prepared, in training, predictions and evaluations alike."""

    inputs: Annotated[
        ScalingWord,
        Field(
            description="standardize: mean 0 and variance 1; min_max: from 0 to 1; robust: by median and quartiles. "
            "Found for each input in the rows that a job trains on. Of a table booleans and categories stay as they "
            "are."
        ),
    ] = "none"
    targets: Annotated[
        ScalingWord,
        Field(
            description="The same for targets that are numbers, with the costs quadratic, mean_absolute and huber; "
            "outputs and errors come in the units of the targets all the same."
        ),
    ] = "none"
    unseen: Annotated[
        Literal["refuse", "ignore"],
        Field(description="A category that was not learned: refuse the row, or leave all its inputs 0."),
    ] = "refuse"

    def rule(self) -> "PreparationRule":
        from engine.data.preparation import PreparationRule

        return PreparationRule(self.inputs, self.targets, self.unseen)


Layers = Annotated[list[LayerFields], Field(min_length=1, max_length=1000)]

_EXAMPLE: dict[str, JsonValue] = {
    "name": "xor",
    "inputs": 2,
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
    "initializer": "glorot_uniform",
    "seed": 7,
    "dtype": "float32",
}


class NewNetwork(Request):
    """A fully connected network."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Name | None = None
    inputs: Annotated[int, Field(ge=1, le=2**24, description="How many numbers a row of inputs has.")]
    layers: Annotated[Layers, Field(description="From the first hidden layer to the output layer.")]
    cost: Annotated[
        CostName,
        Field(
            description="quadratic, mean_absolute and huber go with every output activation, poisson with softplus, "
            "binary_cross_entropy (also for several labels at once) with sigmoid, categorical_cross_entropy with "
            "softmax."
        ),
    ] = "quadratic"
    label_smoothing: Annotated[
        float, Field(ge=0, lt=1, description="categorical_cross_entropy: share of a target spread over all classes.")
    ] = 0.0
    huber_delta: Annotated[
        float, Field(gt=0, description="huber: the error up to which the cost is quadratic; beyond, it is linear.")
    ] = 1.0
    input_dropout: Annotated[
        float, Field(ge=0, lt=1, description="Share of the inputs that is dropped in training.")
    ] = 0.0
    initializer: Annotated[
        InitializerName,
        Field(description="How weights start. Biases start at 0, with standard_normal like the weights."),
    ] = "glorot_uniform"
    seed: Annotated[int, Field(ge=0, le=LARGEST_SEED, description="The same seed draws the same weights.")] = 0
    dtype: Annotated[DtypeName, Field(description="Precision of parameters and training.")] = "float32"
    preparation: Annotated[
        PreparationFields,
        Field(
            description="What is done to raw inputs and targets. It is found in the rows that are trained on, belongs "
            "to the version that was trained, and is applied wherever that is used."
        ),
    ] = PreparationFields()

    def architecture(self) -> "Architecture":
        from engine.nn.architecture import Architecture, Layer

        return Architecture(
            self.inputs,
            tuple(Layer(**layer.model_dump()) for layer in self.layers),
            self.cost,
            self.initializer,
            self.seed,
            self.dtype,
            self.label_smoothing,
            self.huber_delta,
            self.input_dropout,
        )


class NewClone(Request):
    """A network like another one, and from then on its own."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "xor-clone", "version": "current"}]})

    name: Name | None = None
    version: Annotated[
        VersionReference | None,
        Field(
            description="The version of the other one that it starts with, a number or a tag; by default the current."
        ),
    ] = None


class NetworkChange(Request):
    """What can be changed of a network."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 0}]})

    name: Name | None = None
    version: Annotated[
        VersionReference | None, Field(description="The version that predicts from now on, a number or a tag.")
    ] = None


class NetworkView(BaseModel):
    """A network. `version` is the current one, which predicts: 0 is the start; each job that succeeds publishes the
    next, and so does publishing a checkpoint. Of a network that came as a file, 1 is what was in it. `tags`: versions
    by the names that they were given. `initializer` and `seed` are what the start was drawn by; that of a clone is what
    it was cloned from."""

    id: str
    name: str | None
    inputs: int
    outputs: int
    layers: list[LayerFields]
    cost: CostName
    label_smoothing: float
    huber_delta: float
    input_dropout: float
    initializer: InitializerName
    seed: int
    dtype: DtypeName
    preparation: PreparationFields
    parameters: int
    version: int
    tags: dict[str, int]
    created_at: datetime

    @classmethod
    def of(cls, record: "NetworkRecord") -> "NetworkView":
        architecture = record.architecture
        return cls(
            id=record.id,
            name=record.name,
            inputs=architecture.inputs,
            outputs=architecture.outputs,
            layers=[LayerFields(**asdict(layer)) for layer in architecture.layers],
            cost=architecture.cost,
            label_smoothing=architecture.label_smoothing,
            huber_delta=architecture.huber_delta,
            input_dropout=architecture.input_dropout,
            initializer=architecture.initializer,
            seed=architecture.seed,
            dtype=architecture.dtype,
            preparation=PreparationFields(**asdict(record.preparation)),
            parameters=architecture.parameters,
            version=record.current,
            tags=record.tags,
            created_at=record.created_at,
        )
