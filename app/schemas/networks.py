"""Networks in requests and answers."""

from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from nabla.app.schemas.common import Name, Request, VersionReference
from nabla.app.schemas.datasets import listed
from nabla.engine.data.schema import ColumnType
from nabla.engine.literals import (
    LARGEST_SEED,
    ActivationName,
    CostName,
    DtypeName,
    InitializerName,
    NetworkFormat,
    Origin,
    ScalingWord,
)
from nabla.engine.model_io.bundle import Hints

if TYPE_CHECKING:
    from nabla.engine.data.preprocessing import PreprocessingConfig
    from nabla.engine.nn.architecture import Architecture
    from nabla.engine.records.network import NetworkRecord


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


class PreprocessingFields(Request):
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
    handle_unknown: Annotated[
        Literal["error", "ignore"],
        Field(description="A category that was not learned: refuse the row, or leave all its inputs 0."),
    ] = "error"

    def rule(self) -> "PreprocessingConfig":
        from nabla.engine.data.preprocessing import PreprocessingConfig

        return PreprocessingConfig(self.inputs, self.targets, self.handle_unknown)


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
    preprocessing: Annotated[
        PreprocessingFields,
        Field(
            description="What is done to raw inputs and targets. It is found in the rows that are trained on, belongs "
            "to the version that was trained, and is applied wherever that is used."
        ),
    ] = PreprocessingFields()

    def architecture(self) -> "Architecture":
        from nabla.engine.nn.architecture import Architecture, Layer

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
    preprocessing: PreprocessingFields
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
            preprocessing=PreprocessingFields(**asdict(record.preprocessing)),
            parameters=architecture.parameters,
            version=record.current,
            tags=record.tags,
            created_at=record.created_at,
        )


if TYPE_CHECKING:
    from nabla.engine.records.network import NetworkRecord, Version


class ColumnName(BaseModel):
    name: str
    type: ColumnType


class VersionPreprocessing(PreprocessingFields):
    """How raw inputs become those of this version. `columns`: those of the table that it was trained on, in the order
    of values in a row; null for plain numbers."""

    columns: list[ColumnName] | None


class Source(BaseModel):
    network_id: str
    version: int


class VersionView(BaseModel):
    """Published weights. `origin`: whether they were drawn from a seed, trained, or came in a file; `job_id`: the job
    that trained them; `imported`: the format of the file; `epoch`: after which of the job's epochs, where they were
    published before its end; `cloned_from`: whose they were before; `classes`: what they tell apart; `preprocessing`:
    null where nothing has been trained."""

    network_id: str
    version: int
    current: bool
    tags: list[str]
    origin: Origin
    job_id: str | None
    imported: NetworkFormat | None
    epoch: int | None
    cloned_from: Source | None
    classes: list[str] | None
    preprocessing: VersionPreprocessing | None
    created_at: datetime

    @classmethod
    def of(cls, version: "Version", network: "NetworkRecord") -> "VersionView":
        source = version.cloned_from
        return cls(
            network_id=network.id,
            version=version.number,
            current=version.number == network.current,
            tags=network.tags_of(version),
            origin=version.origin,
            job_id=version.job_id,
            imported=version.imported,
            epoch=version.epoch,
            cloned_from=Source(network_id=source[0], version=source[1]) if source else None,
            classes=list(version.classes) if version.classes else None,
            preprocessing=None if version.origin == "drawn" else _preparation_of(version, network),
            created_at=version.created_at,
        )


def _preparation_of(version: "Version", network: "NetworkRecord") -> VersionPreprocessing:
    columns = None
    if version.columns is not None:
        columns = [ColumnName(name=name, type=type_) for name, type_ in version.columns]
    return VersionPreprocessing(**asdict(network.preprocessing), columns=columns)


class VersionsView(BaseModel):
    """Newest first; what follows is `?before=` the last version of this."""

    data: list[VersionView]
    has_more: bool


class TagFields(Request):
    """Where a tag is to be."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "current"}]})

    version: Annotated[
        VersionReference, Field(description="A published version, by its number or another tag; current: as it is now.")
    ]


class TagView(BaseModel):
    """A name of a version."""

    tag: str
    version: int


class TagsView(BaseModel):
    """In the order of the alphabet."""

    data: list[TagView]

    @classmethod
    def of(cls, network: "NetworkRecord") -> "TagsView":
        return cls(data=[TagView(tag=tag, version=version) for tag, version in network.tags.items()])


def _layers(value: Any) -> Any:
    """Names of activations stand for layers that have them."""
    found = listed(value)
    return tuple({"activation": one} if isinstance(one, str) else one for one in found) if found is not value else value


class LayerActivation(Request):
    """What a file of plain arrays does not say of a layer."""

    activation: ActivationName


class NetworkFields(Request):
    """What goes with the file, as fields of the form or in the query. A file that was copied out of a service needs
    none of them; an ONNX file of another maker may have a cost and classes; plain arrays need the activations. Lists
    have commas between their items or are JSON."""

    name: Annotated[Name | None, Field(description="By default that of the file, where it can be one.")] = None
    format: Annotated[
        NetworkFormat | None, Field(description="What the file is; by default its first bytes tell, and they have to.")
    ] = None
    layers: Annotated[
        tuple[LayerActivation, ...] | None,
        BeforeValidator(_layers),
        Field(
            min_length=1,
            max_length=1000,
            description="Plain arrays: the activation of each layer, as JSON or as a list of names.",
        ),
        WithJsonSchema(
            {"type": "string", "examples": ['[{"activation": "relu"}, {"activation": "softmax"}]', "relu, softmax"]}
        ),
    ] = None
    cost: Annotated[
        CostName | None,
        Field(
            description="The cost that jobs go on with, of plain arrays and of ONNX files of other makers. By default "
            "categorical_cross_entropy behind softmax, binary_cross_entropy behind sigmoid, else quadratic."
        ),
    ] = None
    classes: Annotated[
        tuple[str, ...] | None,
        BeforeValidator(listed),
        Field(
            min_length=2,
            description="The names of the classes in the order of the outputs (two for a single output), of plain "
            "arrays and of ONNX files of other makers.",
        ),
        WithJsonSchema({"type": "string", "examples": ['["no", "yes"]', "no, yes"]}),
    ] = None

    def hints(self) -> Hints:
        activations = None if self.layers is None else tuple(layer.activation for layer in self.layers)
        return Hints(self.format, activations, self.cost, self.classes)


class NetworkFile(NetworkFields):
    """A network in `file`: safetensors, npz or ONNX."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]
