"""Predictions in requests and answers."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from nabla.app.schemas.common import Name, Reference, Request, VersionReference
from nabla.app.schemas.jobs import ErrorView
from nabla.engine.literals import MOST_CLASSES_CONFUSED, BatchState, FileFormat

EXAMPLE = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}
MOST_TOP = 1000

# What a value may be depends on the version's columns; it is looked at with them. Rows are not looked at value by value
# but as an array, as long as nothing is wrong.
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean", "null"]})]

Version = Annotated[
    VersionReference | None,
    Field(description="A published version, by its number or a tag; by default the current one."),
]
TopK = Annotated[
    int | None,
    Field(ge=1, le=MOST_TOP, description="So many of the most likely classes of each row, the likeliest first."),
]
Probabilities = Annotated[
    bool,
    Field(
        description="The probability of each class. The network has to learn by a cross-entropy: other costs make no "
        "probabilities of outputs."
    ),
]


class NewLivePrediction(Request):
    """Rows to work through a network, raw: they are prepared as those were that it was trained on."""

    inputs: Annotated[
        list[Annotated[list[Value], Field(min_length=1)]] | None,
        Field(
            min_length=1,
            description="One row per example: as many numbers as the network has inputs; or, where it was trained on a "
            "table, values in the order of its columns, null where there is none.",
        ),
    ] = None
    rows: Annotated[
        list[dict[str, Value]] | None,
        Field(
            min_length=1,
            description="Or one object per example, with the value of each column under its name.",
            examples=[[{"age": 31, "job": "clerk"}]],
        ),
    ] = None
    top_k: TopK = None
    probabilities: Probabilities = False


class NewPrediction(NewLivePrediction):
    """Rows to work through a version of a network, raw: they are prepared as those were that it was trained on."""

    version: Version = None


class Likely(BaseModel):
    """A class and its score: the output for it. A single output p is the second class's, and 1 − p the first's."""

    label: str
    score: float


class PredictionView(BaseModel):
    """Outputs, in the units of the targets; and labels where the network was trained on classes. `probabilities` (of
    each class, row by row) and `top` are there if they were asked for; `job_id` and `epoch` if a running job was."""

    network_id: str
    version: int | None = Field(description="That of the weights; null for those of a running job.")
    job_id: str | None = None
    epoch: int | None = Field(
        None, description="How many epochs the job's weights had seen; steps of the next one may be in them."
    )
    outputs: list[list[float]]
    labels: list[str] | None
    probabilities: list[list[float]] | None = None
    top: list[list[Likely]] | None = None


if TYPE_CHECKING:
    from nabla.engine.records.batch_prediction import BatchPrediction, Underway

_BATCH_EXAMPLE: dict[str, JsonValue] = {"name": "xor", "dataset_id": "xor", "format": "csv", "probabilities": True}


class NewBatchPrediction(Request):
    """Work all rows of a dataset through a network, into a file."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BATCH_EXAMPLE]})

    dataset_id: Annotated[
        Reference,
        Field(
            description="Id or name of a dataset that fits the network, as an evaluation needs it; or of an unlabeled "
            "one, whose inputs do: a table's columns are found by their names, in any order."
        ),
    ]
    version: Version = None
    format: Annotated[
        FileFormat,
        Field(
            description="csv, parquet, arrow: a table with the columns output_1, output_2, …, and label if the version "
            "was trained on classes. npy: an array of the outputs."
        ),
    ] = "csv"
    probabilities: Annotated[
        bool,
        Field(
            description="Columns probability_CLASS as well; in npy the probabilities instead of the outputs. The "
            "network has to learn by a cross-entropy."
        ),
    ] = False
    name: Name | None = None


class BatchPredictionView(BaseModel):
    """A batch prediction. `version`: the one that predicts, also when another is current by now; `rows_done` of `rows`:
    how far it is, and what is done is done again after a crash; `bytes`: of the file, when it has succeeded."""

    id: str
    name: str | None
    state: BatchState | Literal["running"]
    network_id: str
    version: int
    dataset_id: str
    format: FileFormat
    probabilities: bool
    rows: int
    rows_done: int
    bytes: int | None
    error: ErrorView | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, batch: "BatchPrediction", underway: "Underway | None" = None) -> "BatchPredictionView":
        done = batch.rows if batch.state == "succeeded" else 0
        return cls(
            id=batch.id,
            name=batch.name,
            state="running" if underway else batch.state,
            network_id=batch.network_id,
            version=batch.version,
            dataset_id=batch.dataset_id,
            format=batch.format,
            probabilities=batch.probabilities,
            rows=batch.rows,
            rows_done=underway.rows_done if underway else done,
            bytes=batch.bytes,
            error=ErrorView(kind=batch.error.kind, message=batch.error.message) if batch.error else None,
            created_at=batch.created_at,
            started_at=underway.started_at if underway else batch.started_at,
            finished_at=batch.finished_at,
        )


if TYPE_CHECKING:
    from nabla.engine.data.dataset import Dataset
    from nabla.engine.records.network import NetworkRecord
    from nabla.engine.records.network import Version as VersionRecord
    from nabla.engine.training.evaluation import Classification, Deviations, Evaluation, Scores

_EVALUATION_EXAMPLE: dict[str, JsonValue] = {"dataset_id": "xor"}


class NewEvaluation(Request):
    """Measure a network on a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVALUATION_EXAMPLE]})

    dataset_id: Annotated[
        Reference,
        Field(
            description="Id or name of a dataset that fits the network. A version that was trained on classes needs "
            "the same classes; one that was not takes those of the dataset."
        ),
    ]
    version: Annotated[
        VersionReference | None,
        Field(description="A published version, by its number or a tag; by default the current one."),
    ] = None


class ScoresView(BaseModel):
    """Each from 0 to 1, and 0 where there is nothing to divide by."""

    precision: Annotated[float, Field(description="Of the rows predicted as the class, the share that are.")]
    recall: Annotated[float, Field(description="Of the rows of the class, the share that are predicted so.")]
    f1: Annotated[float, Field(description="The harmonic mean of precision and recall.")]

    @classmethod
    def of(cls, scores: "Scores") -> "ScoresView":
        return cls(precision=scores.precision, recall=scores.recall, f1=scores.f1)


class ClassView(ScoresView):
    label: str
    support: Annotated[int, Field(description="How many rows are of the class.")]


class DeviationsView(BaseModel):
    r2: Annotated[float | None, Field(description="Coefficient of determination; null if all targets are the same.")]
    mae: Annotated[float, Field(description="Mean absolute error.")]
    rmse: Annotated[float, Field(description="Root of the mean squared error.")]

    @classmethod
    def of(cls, deviations: "Deviations") -> "DeviationsView":
        return cls(r2=deviations.r2, mae=deviations.mae, rmse=deviations.rmse)


class EvaluationView(BaseModel):
    """How good a version is on a dataset: `classes`, `macro` and `confusion_matrix` if the dataset has classes; `r2`,
    `mae`, `rmse` and `outputs` if it has targets. All but `cost` count each row once, whatever its weight."""

    network_id: str
    version: int
    dataset_id: str
    rows: int
    cost: Annotated[
        float,
        Field(
            description="The network's cost, with its label smoothing: the mean over the rows, by their weights if the "
            "dataset has some. That of the targets as they are prepared for the network."
        ),
    ]
    accuracy: Annotated[
        float | None,
        Field(
            description="The share of rows whose class is predicted. For targets: with binary_cross_entropy the share "
            "of outputs on the right side of ½, with categorical_cross_entropy the share of rows whose largest output "
            "is at the largest target, else null. Each row counts once."
        ),
    ]
    classes: Annotated[
        list[ClassView] | None, Field(description="In the order of the dataset's classes. Each row counts once.")
    ]
    macro: Annotated[ScoresView | None, Field(description="The means over all classes, each counting the same.")]
    confusion_matrix: Annotated[
        list[list[int]] | None,
        Field(
            description="Numbers of rows; a row of the matrix is a true class, a column a predicted one, in the order "
            f"of `classes`. Each row counts once. Null above {MOST_CLASSES_CONFUSED} classes."
        ),
    ]
    r2: Annotated[
        float | None,
        Field(
            description="Mean over the target columns that are not constant; null if there are none. "
            "Each row counts once."
        ),
    ]
    mae: Annotated[
        float | None,
        Field(description="Mean over the target columns, in the units of the targets. Each row counts once."),
    ]
    rmse: Annotated[
        float | None,
        Field(description="Mean over the target columns, in the units of the targets. Each row counts once."),
    ]
    outputs: Annotated[list[DeviationsView] | None, Field(description="For each target column. Each row counts once.")]

    @classmethod
    def of(
        cls, record: "NetworkRecord", version: "VersionRecord", dataset: "Dataset", found: "Evaluation"
    ) -> "EvaluationView":
        classification, regression = found.classification, found.regression
        confusion = classification.confusion if classification else None
        mean = regression.mean if regression else None
        return cls(
            network_id=record.id,
            version=version.number,
            dataset_id=dataset.id,
            rows=found.rows,
            cost=found.cost,
            accuracy=found.accuracy,
            classes=_classes(dataset.classes, classification) if dataset.classes and classification else None,
            macro=ScoresView.of(classification.macro) if classification else None,
            confusion_matrix=None if confusion is None else confusion.tolist(),
            r2=mean.r2 if mean else None,
            mae=mean.mae if mean else None,
            rmse=mean.rmse if mean else None,
            outputs=[DeviationsView.of(column) for column in regression.columns] if regression else None,
        )


def _classes(labels: tuple[str, ...], found: "Classification") -> list[ClassView]:
    return [
        ClassView(label=label, precision=scores.precision, recall=scores.recall, f1=scores.f1, support=support)
        for label, scores, support in zip(labels, found.classes, found.support, strict=True)
    ]
