"""`nabla train`: upload a file, split it, train a network and test it."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from nabla.app.cli.options import (
    DEFAULT_HIDDEN,
    DEFAULT_URL,
    CliCommand,
    Features,
    FileArgument,
    Hidden,
    Imputation,
    Json,
    Label,
    Local,
    Target,
    Url,
    parse_hidden,
)
from nabla.app.cli.output import echo, log, print_json
from nabla.app.cli.predict import summarize_evaluation
from nabla.app.cli.progress import follow_job
from nabla.app.cli.service import open_client
from nabla.app.client import Client, Dataset, InvalidInput, Network
from nabla.app.client.defaults import default_job, default_network
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.predictions import EvaluationView

train_app = typer.Typer(add_completion=False)

# Leaves room for the suffixes -train and -test within the 100 characters of a name.
_MAX_SPLIT_NAME = 90


@train_app.command(cls=CliCommand)
def train(
    file: FileArgument,
    target: Target = None,
    label: Label = None,
    features: Features = None,
    imputation: Imputation = None,
    hidden: Hidden = DEFAULT_HIDDEN,
    epochs: Annotated[
        int, typer.Option(min=1, help="Maximum number of epochs; training stops early when the cost stops falling.")
    ] = 200,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of the adam optimizer.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows per mini-batch.")] = None,
    test_share: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the rows held out to test the trained network.")
    ] = 0.2,
    device: Annotated[str | None, typer.Option(help="cpu or cuda. Default: the faster one.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the split, the initial weights and the shuffling.")] = 0,
    name: Annotated[str | None, typer.Option(help="Name of the network. Default: that of the file.")] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Train a network on a table, and test it on rows that it has not seen.

    For example: nabla train wine.csv --target quality

    --target learns numbers, or classes if the column contains text.
    --label learns classes in any case.
    """
    if not target and not label:
        raise typer.BadParameter("Name the column to predict with --target COLUMN, or --label COLUMN for classes.")
    hidden_units = parse_hidden(hidden)
    dataset_options = _drop_unset(features=features, imputation=imputation, name=name)
    job_options = _drop_unset(learning_rate=learning_rate, batch_size=batch_size, device=device)
    with open_client(url, local) as client:
        with ExitStack() as cleanup:
            dataset = _upload(client, file, target or [], label, dataset_options)
            cleanup.callback(dataset.delete)
            network_name = dataset.name or "network"
            train_split, test_split = _split(dataset, network_name, test_share, seed)
            if test_split is not None:
                cleanup.callback(train_split.delete)
                cleanup.callback(test_split.delete)
            network = client.create_network(
                name=network_name, seed=seed, **default_network(train_split.view, hidden_units)
            )
            cleanup.callback(network.delete)
            job = client.create_job(
                network,
                train_split,
                name=network_name,
                seed=seed,
                **{**default_job(train_split.view, epochs), **job_options},
            )
            cleanup.pop_all()  # the job was accepted and needs them all
        log(f"{job.id} trains {network!r} on {train_split.view.rows:,} rows.")
        follow_job(job, local=local)
        evaluation = network.evaluate(test_split) if test_split else None
        network.refresh()
    if json:
        print_json({"job": job.view, "network": network.view, "evaluation": evaluation})
    else:
        _print_summary(job.view, network, evaluation, file, test_split, local)


def _drop_unset(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value not in (None, "", [])}


def _upload(client: Client, file: Path, target: list[str], label: str | None, options: dict[str, Any]) -> Dataset:
    """Upload the file; a target column of text, in which no value is a number, becomes the label.

    Raises:
        InvalidInput: The file was rejected.
    """
    if label is not None or len(target) != 1:
        return client.upload(file, **{"label": label} if label is not None else {"target": target}, **options)
    try:
        return client.upload(file, target=target, **options)
    except InvalidInput as error:
        if error.field == "target":
            raise
        try:
            dataset = client.upload(file, label=target[0], **options)
        except InvalidInput:
            raise error from None
        if any(map(_is_number, dataset.classes or ())):
            dataset.delete()
            raise
        log(f"{target[0]} contains text: its {len(dataset.classes or ())} values are learned as classes.")
        return dataset


def _is_number(label: bool | float | str) -> bool:
    try:
        float(label)
    except ValueError:
        return False
    return True


def _split(dataset: Dataset, name: str, test_share: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """Split a dataset for training and testing. There is no test split if it would have no rows."""
    if round((dataset.view.rows or 0) * test_share) < 1:
        log("No test split: it would have no rows.")
        return dataset, None
    prefix = name[:_MAX_SPLIT_NAME]
    train_split, test_split = dataset.split(
        {f"{prefix}-train": 1 - test_share, f"{prefix}-test": test_share}, seed=seed
    )
    return train_split, test_split


def _print_summary(
    job: JobView,
    network: Network,
    evaluation: EvaluationView | None,
    file: Path,
    test_split: Dataset | None,
    local: bool,
) -> None:
    """Print the result, and commands for the next steps."""
    best = "" if job.best_epoch is None else f", the best of which was {job.best_epoch}"
    echo(f"Network {network.name} ({network.id}), version {job.network_version}: {job.epoch} epochs{best}.")
    if evaluation is not None:
        echo(summarize_evaluation(evaluation, "test rows"))
    echo("Next steps:")
    name = network.name or network.id
    evaluated = (test_split.name or test_split.id) if test_split else str(file)
    for arguments in (
        ("predict", name, str(file)),
        ("evaluate", name, evaluated),
        ("history", job.id, "--plot"),
        ("export", name, "--out", f"{name}.onnx"),
    ):
        echo("  " + shlex.join(("nabla", *arguments, *(["--local"] if local else []))))
