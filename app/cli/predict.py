"""`nabla predict` and `nabla evaluate`."""

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer

from nabla.app.cli.options import (
    DEFAULT_URL,
    DEFAULT_VERSION,
    CliCommand,
    FileArgument,
    Imputation,
    Json,
    Label,
    Local,
    NetworkArgument,
    Read,
    Target,
    Url,
    Version,
    infer_format,
    parse_read,
    parse_version,
)
from nabla.app.cli.output import echo, log, print_json, print_json_array, print_table
from nabla.app.cli.service import open_client
from nabla.app.client import BatchPrediction, Client, Dataset, NotFound
from nabla.app.schemas.networks import VersionView
from nabla.app.schemas.predictions import EvaluationView
from nabla.engine.literals import RowSelection

predict_app = typer.Typer(add_completion=False)
evaluate_app = typer.Typer(add_completion=False)

_FORMATS = {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".npy": "npy"}


@predict_app.command(cls=CliCommand)
def predict(
    network: NetworkArgument,
    file: FileArgument,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="File to write. Default: CSV to stdout.")
    ] = None,
    format: Annotated[
        Literal["csv", "parquet", "arrow", "npy"] | None,
        typer.Option(help="File format. Default: that of the suffix of --out, else csv."),
    ] = None,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Include the probability of each class.")
    ] = False,
    read: Read = None,
    version: Version = DEFAULT_VERSION,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Predict all rows of a file, in their order.

    The file needs the columns that the network was trained on. Other
    columns are ignored.
    """
    file_format = infer_format(out, format, _FORMATS, "csv")
    if out is None and file_format != "csv":
        raise typer.BadParameter(f"{file_format} requires --out.", param_hint="--format")
    with open_client(url, local) as client:
        predictor = client.get_network(network)
        metadata = predictor.get_version(parse_version(version))
        with _temporary_dataset(client, file, metadata, unlabeled=True, **parse_read(read)) as rows:
            fields = {
                "format": file_format,
                "probabilities": probabilities,
                "version": metadata.version,
                "owned_datasets": [rows.id],
            }
            _output_predictions(predictor.predict_dataset(rows, **fields).wait(), out, json)


def _output_predictions(batch: BatchPrediction, out: Path | None, as_json: bool) -> None:
    for warning in batch.view.warnings or ():
        log(f"Note: {warning}")
    if out is not None:
        batch.download(out)
        if as_json:
            print_json(batch.view)
        else:
            echo(f"Predicted {batch.view.rows:,} rows to {out}.")
        return
    with tempfile.TemporaryDirectory(prefix="nabla-") as directory:
        path = batch.download(Path(directory) / "predictions.csv")
        with path.open(newline="", encoding="utf-8") as text:
            if as_json:
                print_json_array(_parse_row(row) for row in csv.DictReader(text))
            else:
                shutil.copyfileobj(text, sys.stdout)
    log(f"Predicted {batch.view.rows:,} rows with version {batch.view.version}.")


def _parse_row(row: dict[str, str]) -> dict[str, float | str]:
    return {name: value if name == "label" else float(value) for name, value in row.items()}


@evaluate_app.command(cls=CliCommand)
def evaluate(
    network: NetworkArgument,
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATASET]",
            help="Id or name of a dataset, or a file with the target columns. Default: rows that the network was not "
            "trained on.",
        ),
    ] = None,
    target: Target = None,
    label: Label = None,
    imputation: Imputation = None,
    read: Read = None,
    version: Version = DEFAULT_VERSION,
    all_rows: Annotated[
        bool, typer.Option("--all-rows", help="Also use rows that the network was trained on.")
    ] = False,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Measure the cost (loss) and the accuracy or R² of a network.

    It is measured on a dataset, on a file, or on the rows that were held out
    of training. The target columns of a file are by default those that the
    network was trained on.
    """
    path = None if dataset is None else Path(dataset)
    selection: RowSelection | None = "all" if all_rows else None
    with open_client(url, local) as client:
        evaluated = client.get_network(network)
        if path is not None and path.is_file():
            metadata = evaluated.get_version(parse_version(version))
            options: dict[str, Any] = parse_read(read) | ({"imputation": imputation} if imputation else {})
            options |= {"target": target} if target else {"label": label} if label else _target_option(client, metadata)
            with _temporary_dataset(client, path, metadata, classes=metadata.classes, **options) as rows:
                evaluation = evaluated.evaluate(rows, metadata.version, rows=selection)
        else:
            evaluation = evaluated.evaluate(dataset, parse_version(version), rows=selection)
    for warning in evaluation.warnings:
        log(f"Note: {warning}")
    if json:
        print_json(evaluation)
        return
    echo(f"{summarize_evaluation(evaluation)} Cost {evaluation.cost:.4g}.")
    if evaluation.classes:
        rows_by_class = [
            (scores.label, scores.support, f"{scores.precision:.4f}", f"{scores.recall:.4f}", f"{scores.f1:.4f}")
            for scores in evaluation.classes
        ]
        print_table(("class", "rows", "precision", "recall", "f1"), rows_by_class)


def summarize_evaluation(evaluation: EvaluationView, rows: str = "rows") -> str:
    """Return the main metric of an evaluation in words.

    Args:
        evaluation: The evaluation.
        rows: What the rows are called, such as "test rows".
    """
    if evaluation.classes is not None:
        return f"Accuracy on {evaluation.rows:,} {rows}: {evaluation.accuracy:.4f}."
    r2 = "undefined, because all targets are equal" if evaluation.r2 is None else f"{evaluation.r2:.4f}"
    return f"R² on {evaluation.rows:,} {rows}: {r2}; mean absolute error {evaluation.mae:.4g}."


@contextmanager
def _temporary_dataset(client: Client, file: Path, version: VersionView, **options: Any) -> Iterator[Dataset]:
    """Upload a file as a dataset that is deleted at the end of the block.

    Args:
        client: The client.
        file: The file. From a table, only the columns that the version was trained on are read, with the same types and
            formats; what had to be cleaned is logged.
        version: The version that will predict or be evaluated.
        options: Other options of the upload.
    """
    if version.preprocessing is not None and version.preprocessing.columns is not None:
        options = {"network_id": version.network_id, "version": version.version, "cleaning": "auto", **options}
    # A new name: that of the file may be the name of the training data.
    dataset = client.upload(file, name=f"temporary-{uuid4().hex}", **options)
    for note in dataset.view.notes or ():
        log(note)
    try:
        yield dataset
    finally:
        # Listed, because an interrupted command may not have received the id of the batch prediction that it created.
        newer = takewhile(
            lambda batch: batch.view.created_at >= dataset.view.created_at, client.list_batch_predictions()
        )
        for batch in newer:
            if batch.view.dataset_id == dataset.id:
                batch.delete()
        with suppress(NotFound):  # deleted with its batch prediction
            dataset.delete()


def _target_option(client: Client, version: VersionView) -> dict[str, Any]:
    """Return the upload option with the target columns that a version was trained on.

    Raises:
        NotFound: It was not trained on a table, or its job or dataset was deleted.
    """
    columns = None
    if version.job_id is not None:
        with suppress(NotFound):
            columns = client.get_dataset(client.get_job(version.job_id).view.dataset_id).view.target_columns
    if not columns:
        detail = (
            "The network was not trained on a table, or its job or dataset was deleted. Name the target columns with "
            "--target or --label."
        )
        raise NotFound(404, {"detail": detail})
    return {"label": columns[0]} if version.classes else {"target": columns}
