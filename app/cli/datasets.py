"""`nabla datasets`."""

from collections.abc import Mapping
from typing import Annotated

import typer

from nabla.app.cli.options import (
    DEFAULT_URL,
    CliCommand,
    DatasetArgument,
    Exclude,
    Features,
    FileArgument,
    Imputation,
    Json,
    Label,
    Limit,
    ListByDefaultGroup,
    Local,
    Read,
    Strict,
    Target,
    Types,
    Url,
    Yes,
    drop_unset,
    parse_read,
    parse_types,
    table_options,
)
from nabla.app.cli.output import confirm_deletion, echo, log, print_deleted, print_json, print_list, print_table
from nabla.app.cli.service import open_client
from nabla.app.schemas.datasets import ColumnProfileView, ColumnView, DatasetView

datasets_app = typer.Typer(cls=ListByDefaultGroup, add_completion=False)

_MAX_FREQUENT_VALUES = 3
_MAX_ROWS_SHOWN = 3


@datasets_app.callback()
def datasets() -> None:
    """Upload, preview, list, profile or delete datasets."""


@datasets_app.command(cls=CliCommand)
def upload(
    file: FileArgument,
    target: Target = None,
    label: Label = None,
    unlabeled: Annotated[
        bool, typer.Option("--unlabeled", help="The rows have no targets, and are for predictions only.")
    ] = False,
    features: Features = None,
    exclude: Exclude = None,
    types: Types = None,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Clean a file that needs it, and say how, instead of rejecting it."),
    ] = False,
    weight: Annotated[str | None, typer.Option(metavar="COLUMN", help="Column with the sample weights.")] = None,
    imputation: Imputation = None,
    read: Read = None,
    name: Annotated[str | None, typer.Option(help="Name of the dataset. Default: that of the file.")] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Upload a file as a dataset. Large files resume when the connection breaks."""
    options = drop_unset(
        target=target,
        label=label,
        features=features,
        exclude=exclude,
        types=parse_types(types),
        cleaning="auto" if clean else None,
        weight=weight,
        imputation=imputation,
        name=name,
        unlabeled=unlabeled or None,
        **parse_read(read),
    )
    with open_client(url, local) as client:
        view = client.upload(file, **options).view
    for note in view.notes or ():
        log(note)
    if json:
        print_json(view)
    else:
        echo(f"{view.id} {view.name or ''}: {view.rows:,} rows, {view.inputs} inputs, {_describe_targets(view)}.")


@datasets_app.command(cls=CliCommand)
def preview(
    file: FileArgument,
    target: Target = None,
    label: Label = None,
    features: Features = None,
    exclude: Exclude = None,
    types: Types = None,
    strict: Strict = False,
    read: Read = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Show how a file would be read, and what would be learned from it."""
    options = table_options(
        target=target, label=label, features=features, exclude=exclude, types=types, strict=strict, read=read
    )
    with open_client(url, local) as client:
        view = client.preview(file, **options)
    if json:
        print_json(view)
        return
    for name, value in view.options.model_dump(exclude_none=True).items():
        echo(f"{name}: {value}")
    for note in view.notes:
        echo(note)
    for error in view.errors:
        echo(f"{error.field}: {error.message}")
    kept = {column.name: column for column in view.columns or ()}
    rows = [
        (
            name,
            _describe_column(name, kept, view.options.target),
            *(row[position] for row in view.rows[:_MAX_ROWS_SHOWN]),
        )
        for position, name in enumerate(view.names)
    ]
    if rows:
        print_table(("column", "type", *(f"row {number}" for number in range(1, len(rows[0]) - 1))), rows)


def _describe_column(name: str, kept: Mapping[str, ColumnView], target: str | None) -> str:
    if not kept:  # the table would be rejected
        return ""
    if name == target:
        return "target"
    return kept[name].type if name in kept else "left out"


def _describe_targets(view: DatasetView) -> str:
    if view.classes:
        return f"{len(view.classes)} classes"
    return f"{view.targets} targets" if view.targets else "unlabeled"


@datasets_app.command("list", cls=CliCommand)
def list_datasets(url: Url = DEFAULT_URL, local: Local = False, json: Json = False, limit: Limit = 20) -> None:
    """List datasets, newest first."""
    with open_client(url, local) as client:
        header = ("id", "name", "state", "rows", "inputs", "outputs")
        print_list(client.list_datasets(), limit, json, header, _table_row)


def _table_row(view: DatasetView) -> tuple[object, ...]:
    return view.id, view.name, view.state, view.rows, view.inputs, len(view.classes) if view.classes else view.targets


@datasets_app.command(cls=CliCommand)
def profile(dataset: DatasetArgument, url: Url = DEFAULT_URL, local: Local = False, json: Json = False) -> None:
    """Show statistics of each column, and warnings about what may impair training."""
    with open_client(url, local) as client:
        view = client.get_dataset(dataset).profile()
    if json:
        print_json(view)
        return
    rows = [
        (column.name, column.role, column.type, column.missing, column.distinct, _describe_values(column))
        for column in view.columns
    ]
    echo(f"{view.rows:,} rows")
    print_table(("column", "role", "type", "missing", "distinct", "values"), rows)
    if view.classes:
        echo("classes: " + ", ".join(f"{label} {count:,}" for label, count in view.classes.items()))
    for warning in view.warnings:
        log(f"Warning: {warning}")


def _describe_values(column: ColumnProfileView) -> str:
    """Return the most frequent values, or the range, the mean and the standard deviation."""
    if column.top_values:
        return ", ".join(f"{item.value} {item.rows:,}" for item in column.top_values[:_MAX_FREQUENT_VALUES])
    if column.mean is None or column.std is None:
        return ""
    return f"{column.min:.4g} … {column.max:.4g}, {column.mean:.4g} ± {column.std:.3g}"


@datasets_app.command(cls=CliCommand)
def delete(
    dataset: DatasetArgument, yes: Yes = False, url: Url = DEFAULT_URL, local: Local = False, json: Json = False
) -> None:
    """Delete a dataset, unless an unfinished job or batch prediction needs it."""
    with open_client(url, local) as client:
        deleted = client.get_dataset(dataset)
        confirm_deletion(deleted, dataset, deleted.view.shadows, yes)
        deleted.delete()
    print_deleted(deleted, json)
