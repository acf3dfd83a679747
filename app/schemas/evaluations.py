"""Evaluations in requests and answers."""

from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from app.schemas.base import Reference, Request, VersionReference
from engine.names import MOST_CLASSES_CONFUSED

if TYPE_CHECKING:
    from engine.data.dataset import Dataset
    from engine.jobs.network import NetworkRecord, Version
    from engine.training.evaluation import Classification, Deviations, Evaluation, Scores

_EXAMPLE: dict[str, JsonValue] = {"dataset_id": "xor"}


class NewEvaluation(Request):
    """Measure a network on a dataset."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

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
        cls, record: "NetworkRecord", version: "Version", dataset: "Dataset", found: "Evaluation"
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
