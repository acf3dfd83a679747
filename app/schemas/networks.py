"""Requests and responses about networks, their versions and tags, and imported files."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, WithJsonSchema

from nabla.app.schemas.common import Name, RequestModel, VersionReference
from nabla.app.schemas.ingest import Label, parse_list
from nabla.engine.data.schema import ClassLabel, ColumnType, class_names, infer_class_types
from nabla.engine.literals import (
    MAX_SEED,
    ActivationName,
    CostName,
    DtypeName,
    InitializerName,
    NetworkFormat,
    OutlierHandling,
    ScalingName,
    WeightsOrigin,
)

if TYPE_CHECKING:
    from nabla.engine.data.preprocessing import PreprocessingConfig
    from nabla.engine.model_io.bundle import ImportHints
    from nabla.engine.nn.architecture import Architecture
    from nabla.engine.records.network import NetworkRecord, Version

_EXAMPLE: dict[str, JsonValue] = {
    "name": "xor",
    "inputs": 2,
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
    "initializer": "glorot_uniform",
    "seed": 7,
    "dtype": "float32",
}


class LayerFields(RequestModel):
    """A dense layer."""

    units: Annotated[int, Field(ge=1, le=2**24, description="Number of outputs.", examples=[30])]
    activation: Annotated[ActivationName, Field(description="Activation function, applied to W a + b.")] = "sigmoid"
    dropout: Annotated[
        float,
        Field(ge=0, lt=1, description="Probability of dropping an output in training; 0 in the last layer."),
    ] = 0.0
    batch_norm: Annotated[
        bool,
        Field(
            description="Batch normalization of W a before b is added, with a scale for each unit; ε 1e-5, momentum "
            "0.1 for the running statistics."
        ),
    ] = False


class PreprocessingFields(RequestModel):
    """Preprocessing of inputs and targets, the same in training, prediction and evaluation."""

    inputs: Annotated[
        ScalingName,
        Field(
            description="standardize: mean 0 and variance 1; min_max: to [0, 1]; robust: by median and quartiles. "
            "Fitted for each input to the training rows. In tables, booleans and categories are not scaled."
        ),
    ] = "none"
    targets: Annotated[
        ScalingName,
        Field(
            description="The same for numeric targets, with the costs quadratic, mean_absolute and huber. Outputs and "
            "errors are converted back to the units of the targets."
        ),
    ] = "none"
    handle_unknown: Annotated[
        Literal["error", "ignore"],
        Field(description="Categories that did not occur in training: reject the row, or set all their inputs to 0."),
    ] = "error"
    outliers: Annotated[
        OutlierHandling | None,
        Field(
            description="Scaled inputs beyond ±3: keep them, or compress them smoothly to less than ±6. By default "
            "compress for standardize and robust, otherwise keep."
        ),
    ] = None

    def config(self) -> "PreprocessingConfig":
        """Return the configuration of the engine."""
        from nabla.engine.data.preprocessing import PreprocessingConfig

        default: OutlierHandling = "compress" if self.inputs in ("standardize", "robust") else "keep"
        return PreprocessingConfig(self.inputs, self.targets, self.handle_unknown, self.outliers or default)


Layers = Annotated[list[LayerFields], Field(min_length=1, max_length=1000)]


class NewNetwork(RequestModel):
    """A fully connected network."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    name: Name | None = None
    inputs: Annotated[int, Field(ge=1, le=2**24, description="Number of inputs.")]
    layers: Annotated[Layers, Field(description="Layers from the first hidden layer to the output layer.")]
    cost: Annotated[
        CostName,
        Field(
            description="Cost function (loss) to minimize. quadratic, mean_absolute and huber go with any output "
            "activation, poisson with softplus, binary_cross_entropy (also multi-label) with sigmoid, "
            "categorical_cross_entropy with softmax."
        ),
    ] = "quadratic"
    label_smoothing: Annotated[
        float,
        Field(ge=0, lt=1, description="categorical_cross_entropy: fraction of each target spread over all classes."),
    ] = 0.0
    huber_delta: Annotated[
        float, Field(gt=0, description="huber: error above which the cost is linear instead of quadratic.")
    ] = 1.0
    input_dropout: Annotated[float, Field(ge=0, lt=1, description="Probability of dropping an input in training.")] = (
        0.0
    )
    initializer: Annotated[
        InitializerName,
        Field(description="Initialization of the weights. Biases start at 0; with standard_normal, like the weights."),
    ] = "glorot_uniform"
    seed: Annotated[int, Field(ge=0, le=MAX_SEED, description="Seed of the initial weights.")] = 0
    dtype: Annotated[DtypeName, Field(description="Precision of the parameters and of training.")] = "float32"
    preprocessing: Annotated[
        PreprocessingFields,
        Field(
            description="Preprocessing of raw inputs and targets. Each job fits it to its training rows; it belongs to "
            "the version that the job publishes, and is applied wherever that version is used."
        ),
    ] = PreprocessingFields()

    def architecture(self) -> "Architecture":
        """Return the architecture.

        Raises:
            InvalidInput: Two settings contradict each other.
        """
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


class NewClone(RequestModel):
    """A new network that starts as a copy of a version of another one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"name": "xor-clone", "version": "current"}]})

    name: Name | None = None
    version: Annotated[
        VersionReference | None,
        Field(description="Number or tag of the version to copy; by default the current one."),
    ] = None


class NetworkChange(RequestModel):
    """New name or current version of a network."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 0}]})

    name: Name | None = None
    version: Annotated[VersionReference | None, Field(description="Number or tag of the version to make current.")] = (
        None
    )


class NetworkView(BaseModel):
    """A network.

    `initializer` and `seed` produced version 0; those of a clone are the original's.
    """

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
    parameters: Annotated[int, Field(description="Number of weights, biases and scales.")]
    version: Annotated[
        int,
        Field(
            description="The current version, which predicts. 0 is the initial one (1 for a network from a file); each "
            "job that succeeds and each published checkpoint adds one."
        ),
    ]
    tags: Annotated[dict[str, int], Field(description="Numbers of the tagged versions.")]
    shadows: Annotated[
        list[str],
        Field(
            description="Ids of up to 20 older networks with the same name, which stands for this one or a newer one."
        ),
    ]
    created_at: datetime

    @classmethod
    def of(cls, record: "NetworkRecord", shadows: Sequence[str]) -> "NetworkView":
        """Return the view of a network. `shadows`: ids of older networks with its name."""
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
            shadows=list(shadows),
            created_at=record.created_at,
        )


class ColumnName(BaseModel):
    """Name and type of a feature column."""

    name: str
    type: ColumnType


class VersionPreprocessing(PreprocessingFields):
    """Preprocessing of a version."""

    columns: Annotated[
        list[ColumnName] | None,
        Field(description="Columns of the table it was trained on, in the order of a row's values; null for arrays."),
    ]


class VersionSource(BaseModel):
    """The version that a clone started from."""

    network_id: str
    version: int


class VersionView(BaseModel):
    """A version: published weights of a network."""

    network_id: str
    version: int
    current: bool
    tags: list[str]
    origin: Annotated[
        WeightsOrigin, Field(description="drawn: initialized from the seed; trained: by a job; imported: from a file.")
    ]
    job_id: Annotated[str | None, Field(description="Job that trained the weights.")]
    import_format: Annotated[NetworkFormat | None, Field(description="Format of the imported file.")]
    epoch: Annotated[
        int | None, Field(description="Epoch of the job, if the weights were published before the job's end.")
    ]
    cloned_from: VersionSource | None
    classes: Annotated[
        list[ClassLabel] | None, Field(description="The classes in order; null if the targets are numbers.")
    ]
    preprocessing: Annotated[VersionPreprocessing | None, Field(description="Null until a job has fitted it.")]
    created_at: datetime

    @classmethod
    def of(cls, version: "Version", network: "NetworkRecord") -> "VersionView":
        """Return the view of a version."""
        source = version.cloned_from
        return cls(
            network_id=network.id,
            version=version.number,
            current=version.number == network.current,
            tags=network.tags_of(version),
            origin=version.origin,
            job_id=version.job_id,
            import_format=version.imported,
            epoch=version.epoch,
            cloned_from=VersionSource(network_id=source[0], version=source[1]) if source else None,
            classes=list(version.classes) if version.classes else None,
            preprocessing=None if version.origin == "drawn" else _version_preprocessing(version, network),
            created_at=version.created_at,
        )


def _version_preprocessing(version: "Version", network: "NetworkRecord") -> VersionPreprocessing:
    columns = None
    if version.columns is not None:
        columns = [ColumnName(name=name, type=type_) for name, type_ in version.columns]
    return VersionPreprocessing(**asdict(network.preprocessing), columns=columns)


class VersionsView(BaseModel):
    """Versions, newest first. The next page is `?before=` the last version of this one."""

    data: list[VersionView]
    has_more: bool


class TagFields(RequestModel):
    """The version to tag."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": "current"}]})

    version: Annotated[
        VersionReference,
        Field(description="Number of the version, or another of its tags; current: the version that is current now."),
    ]


class TagView(BaseModel):
    """A tag: a movable name for a version."""

    tag: str
    version: int


class TagsView(BaseModel):
    """Tags, in alphabetical order."""

    data: list[TagView]

    @classmethod
    def of(cls, network: "NetworkRecord") -> "TagsView":
        """Return the tags of a network."""
        return cls(data=[TagView(tag=tag, version=version) for tag, version in network.tags.items()])


def _parse_layers(value: Any) -> Any:
    """Parse a list of layers, in which a bare name stands for a layer with this activation."""
    layers = parse_list(value)
    if layers is value:
        return value
    return tuple({"activation": layer} if isinstance(layer, str) else layer for layer in layers)


class LayerActivation(RequestModel):
    """Activation of a layer, which a file with bare arrays does not contain."""

    activation: ActivationName


class NetworkFields(RequestModel):
    """Options of an import, as fields of the form or in the query.

    A file that this service exported needs none of them; an ONNX file of another tool may need a cost and classes; bare
    arrays need the activations. Lists are separated by commas or are JSON arrays.
    """

    name: Annotated[Name | None, Field(description="By default the file name without extension, if it is valid.")] = (
        None
    )
    format: Annotated[
        NetworkFormat | None,
        Field(
            description="Format of the file; by default detected from its first bytes. If given, the file must have it."
        ),
    ] = None
    layers: Annotated[
        tuple[LayerActivation, ...] | None,
        BeforeValidator(_parse_layers),
        Field(
            min_length=1,
            max_length=1000,
            description="Bare arrays: the activation of each layer, as JSON or as a list of names.",
        ),
        WithJsonSchema(
            {"type": "string", "examples": ['[{"activation": "relu"}, {"activation": "softmax"}]', "relu, softmax"]}
        ),
    ] = None
    cost: Annotated[
        CostName | None,
        Field(
            description="Bare arrays and ONNX files of other tools: cost of further training. By default "
            "categorical_cross_entropy after softmax, binary_cross_entropy after sigmoid, otherwise quadratic."
        ),
    ] = None
    classes: Annotated[
        tuple[Label, ...] | None,
        BeforeValidator(parse_list),
        Field(
            min_length=2,
            description="Bare arrays and ONNX files of other tools: names of the classes in the order of the outputs "
            "(two for a single output).",
        ),
        WithJsonSchema({"type": "string", "examples": ['["no", "yes"]', "no, yes"]}),
    ] = None

    def hints(self) -> "ImportHints":
        """Return the hints about what the file itself may not contain."""
        from nabla.engine.model_io.bundle import ImportHints

        activations = None if self.layers is None else tuple(layer.activation for layer in self.layers)
        # Forms have no types.
        classes = None if self.classes is None else infer_class_types(class_names(self.classes))
        return ImportHints(self.format, activations, self.cost, classes)


class NetworkFile(NetworkFields):
    """A network in `file`: safetensors, npz or ONNX."""

    file: Annotated[str, Field(json_schema_extra={"format": "binary"})]
