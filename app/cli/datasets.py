"""`nabla dataset`"""

from typing import Annotated, Any

import typer

from nabla.app.cli.main import ListedByDefault
from nabla.app.cli.options import DEFAULT_URL, File, Imputation, Json, Label, Limit, Local, Target, Told, Url
from nabla.app.cli.output import note, say, show_deleted, show_json, show_list, show_table
from nabla.app.cli.service import connected
from nabla.app.schemas.datasets import ColumnProfileView, DatasetView

commands = typer.Typer(cls=ListedByDefault, add_completion=False)
Reference = Annotated[str, typer.Argument(metavar="DATASET", help="Id or name of a dataset.")]


@commands.callback()
def dataset() -> None:
    """Upload, list, profile or delete datasets."""


@commands.command(cls=Told)
def upload(
    file: File,
    target: Target = None,
    label: Label = None,
    unlabeled: Annotated[
        bool, typer.Option("--unlabeled", help="The rows have no answers, and are to be predicted.")
    ] = False,
    features: Annotated[list[str] | None, typer.Option(help="A column to learn from; by default all others.")] = None,
    weight: Annotated[str | None, typer.Option(help="The column that says how much a row counts.")] = None,
    imputation: Imputation = None,
    name: Annotated[str | None, typer.Option(help="By default that of the file.")] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Hand in a file: CSV, TSV, Parquet, Arrow, NDJSON, JSON or .npz. A large one goes on where it was when the
    connection breaks."""
    given: dict[str, Any] = {
        "target": target,
        "label": label,
        "features": features,
        "weight": weight,
        "imputation": imputation,
        "name": name,
        "unlabeled": True if unlabeled else None,
    }
    with connected(url, local) as client:
        view = client.upload(file, **{option: value for option, value in given.items() if value is not None}).view
    if json:
        show_json(view)
    else:
        say(f"{view.id} {view.name or ''}: {view.rows:,} rows of {view.inputs} inputs{_answers(view)}.")


def _answers(view: DatasetView) -> str:
    if view.classes:
        return f", {len(view.classes)} classes"
    return f", {view.targets} targets" if view.targets else ", unlabeled"


@commands.command("list", cls=Told)
def list_datasets(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List datasets, newest first."""
    with connected(url, local) as client:
        show_list(client.datasets(), limit, json, ("id", "name", "state", "rows", "inputs", "outputs"), _row)


def _row(view: DatasetView) -> tuple[object, ...]:
    return view.id, view.name, view.state, view.rows, view.inputs, len(view.classes) if view.classes else view.targets


@commands.command(cls=Told)
def profile(dataset: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show what the columns hold, and what may stand in the way of training."""
    with connected(url, local) as client:
        found = client.dataset(dataset).profile()
    if json:
        show_json(found)
        return
    rows = [
        (column.name, column.role, column.type, column.missing, column.distinct, _figures(column))
        for column in found.columns
    ]
    say(f"{found.rows:,} rows")
    show_table(("column", "role", "type", "missing", "distinct", "values"), rows)
    if found.classes:
        say("classes: " + ", ".join(f"{name} {rows:,}" for name, rows in found.classes.items()))
    for warning in found.warnings:
        note(f"! {warning}")


def _figures(column: ColumnProfileView) -> str:
    if column.frequent:
        return ", ".join(f"{one.value} {one.rows:,}" for one in column.frequent[:3])
    if column.mean is None or column.deviation is None:
        return ""
    return f"{column.min:.4g} … {column.max:.4g}, {column.mean:.4g} ± {column.deviation:.3g}"


@commands.command(cls=Told)
def delete(dataset: Reference, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Delete a dataset; refused while a job needs it."""
    with connected(url, local) as client:
        found = client.dataset(dataset)
        found.delete()
    show_deleted(found, json)
