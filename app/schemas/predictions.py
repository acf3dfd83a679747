"""Requests and responses about predictions, batch predictions and evaluations."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, WithJsonSchema

from nabla.app.schemas.common import FIRST_ERROR, Name, Reference, RequestModel, VersionReference
from nabla.app.schemas.jobs import ErrorView
from nabla.engine.data.schema import Classes, ClassLabel
from nabla.engine.literals import MAX_CONFUSION_CLASSES, BatchState, FileFormat, RowSelection

if TYPE_CHECKING:
    from nabla.engine.records.batch_prediction import ActiveBatch, BatchPrediction
    from nabla.engine.records.network import NetworkRecord
    from nabla.engine.services.evaluations import EvaluatedVersion
    from nabla.engine.training.evaluation import ClassificationReport, ClassMetrics
    from nabla.engine.training.metrics import RegressionMetrics

EXAMPLE = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]]}
_BATCH_EXAMPLE: dict[str, JsonValue] = {"name": "xor", "dataset_id": "xor", "format": "csv", "probabilities": True}
_EVALUATION_EXAMPLE: dict[str, JsonValue] = {"dataset_id": "xor"}
MAX_TOP_K = 1000

# Which values are valid depends on the columns of the version. Numbers are checked as an array, not one by one.
Value = Annotated[Any, WithJsonSchema({"type": ["number", "string", "boolean", "null"]})]

Version = Annotated[
    VersionReference | None,
    Field(description="Number or tag of a published version; by default the current one."),
]
TopK = Annotated[
    int | None,
    Field(ge=1, le=MAX_TOP_K, description="Return this many most likely classes for each row, most likely first."),
]
Probabilities = Annotated[
    bool,
    Field(
        description="Return the probability of each class. Requires a cross-entropy cost: the outputs of other costs "
        "are not probabilities."
    ),
]


class NewLivePrediction(RequestModel):
    """Raw rows to predict; they are preprocessed like the training data."""

    inputs: Annotated[
        Annotated[list[Annotated[list[Value], Field(min_length=1), FIRST_ERROR]], FIRST_ERROR] | None,
        Field(
            min_length=1,
            description="One row per example: a number for each input of the network; for a network trained on a "
            "table, a value for each of its columns in their order, null where it is missing.",
        ),
    ] = None
    rows: Annotated[
        Annotated[list[dict[str, Value]], FIRST_ERROR] | None,
        Field(
            min_length=1,
            description="One object per example with the value of each column, instead of inputs.",
            examples=[[{"age": 31, "job": "clerk"}]],
        ),
    ] = None
    top_k: TopK = None
    probabilities: Probabilities = False


class NewPrediction(NewLivePrediction):
    """Raw rows to predict with a version of a network; they are preprocessed like its training data."""

    version: Version = None


class ClassScore(BaseModel):
    """A class and its score, which is its output. A single output p scores the second class, 1 − p the first."""

    label: ClassLabel
    score: float


class PredictionView(BaseModel):
    """Predictions, row by row."""

    network_id: str
    version: int | None = Field(description="Version that predicted; null for a running job.")
    job_id: Annotated[str | None, Field(description="The running job that predicted.")] = None
    epoch: Annotated[
        int | None,
        Field(description="Number of epochs that the job had finished; its weights may be some steps further."),
    ] = None
    outputs: Annotated[list[list[float]], Field(description="Outputs in the units of the targets.")]
    labels: Annotated[
        list[ClassLabel] | None,
        Field(
            description="Predicted classes, if the network was trained on classes; they have the type of the labels."
        ),
    ]
    probabilities: Annotated[
        list[list[float]] | None, Field(description="Probability of each class, if requested.")
    ] = None
    top: Annotated[list[list[ClassScore]] | None, Field(description="Most likely classes, if requested.")] = None
    warnings: Annotated[
        list[str],
        Field(
            description="Sentences about unusual rows: with categories that did not occur in training, or with numbers "
            "far outside the range of the training rows."
        ),
    ]


class NewBatchPrediction(RequestModel):
    """Predict all rows of a dataset into a file."""

    model_config = ConfigDict(json_schema_extra={"examples": [_BATCH_EXAMPLE]})

    dataset_id: Annotated[
        Reference,
        Field(
            description="Id or name of a dataset that fits the network as for an evaluation, or of an unlabeled one "
            "with fitting inputs. Columns of a table are matched by name, in any order."
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
            description="Add the columns probability_CLASS; npy: the probabilities instead of the outputs. Requires a "
            "cross-entropy cost."
        ),
    ] = False
    name: Name | None = None
    owned_datasets: list[Reference] = Field(
        default=[],
        max_length=100,
        description="Ids or names of datasets that are deleted together with the batch prediction, such as the one "
        "that was uploaded for it.",
    )


class BatchPredictionView(BaseModel):
    """A batch prediction."""

    id: str
    name: str | None
    state: BatchState | Literal["running"]
    network_id: str
    version: Annotated[int, Field(description="Version that predicts, fixed when the request was made.")]
    dataset_id: str
    format: FileFormat
    probabilities: bool
    rows: Annotated[int, Field(description="Number of rows of the dataset.")]
    rows_done: Annotated[int, Field(description="Number of rows predicted; starts over at 0 after a crash.")]
    bytes: Annotated[int | None, Field(description="Size of the file; null unless `succeeded`.")]
    warnings: Annotated[
        list[str],
        Field(
            description="Sentences about unusual rows: with categories that did not occur in training, or with numbers "
            "far outside the range of the training rows."
        ),
    ]
    error: ErrorView | None
    owned_datasets: Annotated[
        list[str], Field(description="Datasets that are deleted together with the batch prediction.")
    ]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @classmethod
    def of(cls, batch: "BatchPrediction", active: "ActiveBatch | None" = None) -> "BatchPredictionView":
        """Return the view of a batch prediction, and of its progress if it is running."""
        rows_done = batch.rows if batch.state == "succeeded" else 0
        return cls(
            id=batch.id,
            name=batch.name,
            state="running" if active else batch.state,
            network_id=batch.network_id,
            version=batch.version,
            dataset_id=batch.dataset_id,
            format=batch.format,
            probabilities=batch.probabilities,
            rows=batch.rows,
            rows_done=active.rows_done if active else rows_done,
            bytes=batch.bytes,
            warnings=list(batch.warnings),
            error=ErrorView(kind=batch.error.kind, message=batch.error.message) if batch.error else None,
            owned_datasets=list(batch.owned_datasets),
            created_at=batch.created_at,
            started_at=active.started_at if active else batch.started_at,
            finished_at=batch.finished_at,
        )


class NewEvaluation(RequestModel):
    """Evaluate a network on a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EVALUATION_EXAMPLE]})

    dataset_id: Annotated[
        Reference | None,
        Field(
            description="Id or name of a dataset that fits the network. If the version was trained on classes, the "
            "dataset has some or all of them, in any order; otherwise the classes of the dataset are used. By default "
            "a dataset with rows that the version was not trained on."
        ),
    ] = None
    version: Version = None
    rows: Annotated[
        RowSelection | None,
        Field(
            description="unseen: only rows that the version was not trained on; all: every row. By default the unseen "
            "rows of a dataset that it was trained on, wholly or in part, and all rows of other datasets."
        ),
    ] = None


class ScoresView(BaseModel):
    """Precision, recall and F1, from 0 to 1; 0 where the denominator is 0."""

    precision: Annotated[float, Field(description="Fraction of the rows predicted as the class that belong to it.")]
    recall: Annotated[float, Field(description="Fraction of the rows of the class that are predicted as it.")]
    f1: Annotated[float, Field(description="Harmonic mean of precision and recall.")]

    @classmethod
    def of(cls, scores: "ClassMetrics") -> "ScoresView":
        """Return the view of a class's scores."""
        return cls(precision=scores.precision, recall=scores.recall, f1=scores.f1)


class ClassScoresView(ScoresView):
    """Precision, recall and F1 of one class."""

    label: ClassLabel
    support: Annotated[int, Field(description="Number of rows of the class.")]


class RegressionMetricsView(BaseModel):
    """Regression metrics of one target column."""

    r2: Annotated[float | None, Field(description="Coefficient of determination; null if the targets are constant.")]
    mae: Annotated[float, Field(description="Mean absolute error.")]
    rmse: Annotated[float, Field(description="Root mean squared error.")]

    @classmethod
    def of(cls, metrics: "RegressionMetrics") -> "RegressionMetricsView":
        """Return the view of a column's metrics."""
        return cls(r2=metrics.r2, mae=metrics.mae, rmse=metrics.rmse)


class EvaluationView(BaseModel):
    """Metrics of a version on a dataset.

    `classes`, `macro` and `confusion_matrix` are for classes; `r2`, `mae`, `rmse` and `outputs` are for numbers. All
    metrics except `cost` count each row once, whatever its sample weight.
    """

    network_id: str
    version: int
    dataset_id: str
    rows: Annotated[int, Field(description="Number of rows that were used.")]
    selection: Annotated[
        RowSelection, Field(description="Whether all rows of the dataset were used, or only the unseen ones.")
    ]
    trained_rows: Annotated[
        int | None,
        Field(
            description="How many of these rows equal rows that the version was trained on; null if it is from a "
            "file, or a job or dataset of its training was deleted."
        ),
    ]
    warnings: Annotated[list[str], Field(description="Sentences about the rows, such as trained ones among them.")]
    cost: Annotated[
        float,
        Field(
            description="Cost (loss) of the network, with its label smoothing: mean over the rows, by sample weight, "
            "of the preprocessed targets."
        ),
    ]
    accuracy: Annotated[
        float | None,
        Field(
            description="Fraction of rows whose class is predicted. For numeric targets: with binary_cross_entropy the "
            "fraction of outputs on the correct side of ½, with categorical_cross_entropy the fraction of rows whose "
            "largest output is at the largest target, otherwise null. Each row counts once."
        ),
    ]
    classes: Annotated[
        list[ClassScoresView] | None,
        Field(description="Precision, recall and F1 of each class, in the network's order. Each row counts once."),
    ]
    macro: Annotated[
        ScoresView | None,
        Field(description="Macro averages: means over the classes that occur, as true or as predicted class."),
    ]
    confusion_matrix: Annotated[
        list[list[int]] | None,
        Field(
            description="Number of rows by true class (rows of the matrix) and predicted class (columns), in the order "
            f"of `classes`. Each row counts once. Null for more than {MAX_CONFUSION_CLASSES} classes."
        ),
    ]
    r2: Annotated[
        float | None,
        Field(
            description="Mean over the target columns that are not constant; null if there is none. Each row counts "
            "once."
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
    outputs: Annotated[
        list[RegressionMetricsView] | None, Field(description="Metrics of each target column. Each row counts once.")
    ]

    @classmethod
    def of(cls, network: "NetworkRecord", evaluated: "EvaluatedVersion") -> "EvaluationView":
        """Return the view of an evaluation of a version on a dataset."""
        version, dataset, evaluation = evaluated.version, evaluated.dataset, evaluated.evaluation
        classification, regression = evaluation.classification, evaluation.regression
        confusion = classification.confusion if classification else None
        mean = regression.mean if regression else None
        classes = version.classes or dataset.classes
        return cls(
            network_id=network.id,
            version=version.number,
            dataset_id=dataset.id,
            rows=evaluation.rows,
            selection=evaluated.selection,
            trained_rows=evaluated.trained_rows,
            warnings=list(evaluated.warnings),
            cost=evaluation.cost,
            accuracy=evaluation.accuracy,
            classes=_class_scores(classes, classification) if classes and classification else None,
            macro=ScoresView.of(classification.macro) if classification else None,
            confusion_matrix=None if confusion is None else confusion.tolist(),
            r2=mean.r2 if mean else None,
            mae=mean.mae if mean else None,
            rmse=mean.rmse if mean else None,
            outputs=[RegressionMetricsView.of(column) for column in regression.columns] if regression else None,
        )


def _class_scores(labels: Classes, classification: "ClassificationReport") -> list[ClassScoresView]:
    return [
        ClassScoresView(label=label, precision=scores.precision, recall=scores.recall, f1=scores.f1, support=support)
        for label, scores, support in zip(labels, classification.classes, classification.support, strict=True)
    ]
