"""`nabla predict`"""

import csv
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from typing import Annotated, Any, Literal
from uuid import uuid4

import typer

from nabla.app.cli.options import (
    DEFAULT_URL,
    File,
    Imputation,
    Json,
    Label,
    Local,
    Target,
    Told,
    Url,
    Version,
    version_of,
)
from nabla.app.cli.output import note, say, show_json, show_json_rows, show_table
from nabla.app.cli.service import connected
from nabla.app.client import BatchPrediction, Client, Dataset, Network, NotFound
from nabla.app.schemas.networks import VersionView
from nabla.app.schemas.predictions import EvaluationView


@contextmanager
def uploaded(client: Client, file: Path, version: VersionView, **options: Any) -> Iterator[Dataset]:
    """Of a table the columns that the version has learned from, of the types that they had there, whatever others there
    are. By a name of its own: that of the file may stand for what was learned from it."""
    if version.preprocessing is not None and version.preprocessing.columns is not None:
        columns = version.preprocessing.columns
        known = {"features": [column.name for column in columns], "types": {one.name: one.type for one in columns}}
        options = {**known, **options}
    dataset = client.upload(file, name=f"asked-{uuid4().hex}", **options)
    try:
        yield dataset
    finally:
        # Also one that was asked for a moment before the command was interrupted, and of which it has not heard.
        for batch in takewhile(lambda one: one.view.created_at >= dataset.view.created_at, client.batch_predictions()):
            if batch.view.dataset_id == dataset.id:
                batch.delete()
        dataset.delete()


def answers_of(client: Client, version: VersionView) -> dict[str, Any]:
    """The option that names what it has learned, as its job's dataset had it. Raises NotFound if nobody knows."""
    answers = None
    if version.job_id is not None:
        answers = client.dataset(client.job(version.job_id).view.dataset_id).view.target_columns
    if not answers:
        unknown = "It has not learned from a table by a job: say with --target or --label what to measure it by."
        raise NotFound(404, {"detail": unknown})
    return {"label": answers[0]} if version.classes else {"target": answers}


def version_asked(network: Network, version: int | str | None) -> VersionView:
    return network.published("current" if version is None else version)


predict_commands = typer.Typer(add_completion=False)
_FORMATS = {".csv": "csv", ".parquet": "parquet", ".arrow": "arrow", ".npy": "npy"}


@predict_commands.command(cls=Told)
def predict(
    network: Annotated[str, typer.Argument(help="Id or name of a network.")],
    file: File,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", dir_okay=False, help="A file; else what is predicted goes to stdout.")
    ] = None,
    format: Annotated[
        Literal["csv", "parquet", "arrow", "npy"] | None, typer.Option(help="By default as --out says, else csv.")
    ] = None,
    probabilities: Annotated[bool, typer.Option("--probabilities", help="Of each class.")] = False,
    version: Version = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Predict all rows of a file, in their order. It needs the columns that the network has learned from; others are
    left out."""
    kind = format or (_FORMATS.get(out.suffix.lower(), "csv") if out else "csv")
    if out is None and kind != "csv":
        raise typer.BadParameter(f"{kind} is for files: give --out.", param_hint="--format")
    with connected(url, local) as client:
        found = client.network(network)
        said = version_asked(found, version_of(version))
        with uploaded(client, file, said, unlabeled=True) as rows:
            fields = {"format": kind, "probabilities": probabilities, "version": said.version}
            _handed_out(found.predict_dataset(rows, **fields).wait(), out, json)


def _handed_out(batch: BatchPrediction, out: Path | None, json: bool) -> None:
    if out is not None:
        batch.download(out)
        if json:
            show_json(batch.view)
        else:
            say(f"{batch.view.rows:,} rows are predicted in {out}.")
        return
    with tempfile.TemporaryDirectory(prefix="nabla-") as folder:
        path = batch.download(Path(folder) / "predicted.csv")
        with path.open(newline="", encoding="utf-8") as text:
            if json:
                show_json_rows(_numbered(row) for row in csv.DictReader(text))
            else:
                shutil.copyfileobj(text, sys.stdout)
    note(f"{batch.view.rows:,} rows are predicted by version {batch.view.version}.")


def _numbered(row: dict[str, str]) -> dict[str, float | str]:
    return {name: value if name == "label" else float(value) for name, value in row.items()}


evaluate_commands = typer.Typer(add_completion=False)


@evaluate_commands.command(cls=Told)
def evaluate(
    network: Annotated[str, typer.Argument(help="Id or name of a network.")],
    dataset: Annotated[str, typer.Argument(help="Id or name of a dataset; or a file, with answers.")],
    target: Target = None,
    label: Label = None,
    imputation: Imputation = None,
    version: Version = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Measure a network on a dataset or a file: its cost, and accuracy or R²."""
    path = Path(dataset)
    with connected(url, local) as client:
        found = client.network(network)
        if path.is_file():
            said = version_asked(found, version_of(version))
            asked = {"target": target} if target else {"label": label} if label else answers_of(client, said)
            filled = {"imputation": imputation} if imputation else {}
            with uploaded(client, path, said, classes=said.classes, **asked, **filled) as rows:
                measured = found.evaluate(rows, said.version)
        else:
            measured = found.evaluate(dataset, version_of(version))
    if json:
        show_json(measured)
        return
    say(sentence(measured) + f" Cost {measured.cost:.4g}.")
    if measured.classes:
        rows_of = [
            (one.label, one.support, f"{one.precision:.4f}", f"{one.recall:.4f}", f"{one.f1:.4f}")
            for one in measured.classes
        ]
        show_table(("class", "rows", "precision", "recall", "f1"), rows_of)


def sentence(measured: EvaluationView, rows: str = "rows") -> str:
    """What matters most."""
    if measured.classes is not None:
        return f"Accuracy on {measured.rows:,} {rows}: {measured.accuracy:.4f}."
    r2 = "none, as all targets are the same" if measured.r2 is None else f"{measured.r2:.4f}"
    return f"R² on {measured.rows:,} {rows}: {r2}; mean absolute error {measured.mae:.4g}."
