"""`nabla train`: upload a file, split it, train a network and test it."""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from nabla.app.cli.options import (
    DEFAULT_URL,
    CliCommand,
    Exclude,
    Features,
    FileArgument,
    Hidden,
    Imputation,
    Json,
    Label,
    Local,
    Read,
    Strict,
    Target,
    Types,
    Url,
    drop_unset,
    parse_hidden,
    table_options,
)
from nabla.app.cli.output import echo, log, print_json
from nabla.app.cli.predict import summarize_evaluation
from nabla.app.cli.progress import follow_job
from nabla.app.cli.service import open_client
from nabla.app.client import Client, Dataset, JobError, Network
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.predictions import EvaluationView

train_app = typer.Typer(add_completion=False)

_BASELINE_EPOCHS = 200
# Leaves room for the suffixes -train and -test within the 100 characters of a name.
_MAX_SPLIT_NAME = 90


@train_app.command(cls=CliCommand)
def train(
    file: FileArgument,
    target: Target = None,
    label: Label = None,
    features: Features = None,
    exclude: Exclude = None,
    types: Types = None,
    imputation: Imputation = None,
    read: Read = None,
    strict: Strict = False,
    hidden: Hidden = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=1, help="Maximum number of epochs; training stops early when the cost stops falling."),
    ] = None,
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

    --target learns classes if the column has text, two values or few whole
    numbers, and numbers otherwise. --label learns classes in any case.
    """
    if bool(target) == bool(label):
        raise typer.BadParameter(
            "Name the column to predict: --target COLUMN, or --label COLUMN for classes in any case."
        )
    hidden_units = parse_hidden(hidden)
    dataset_options = table_options(
        target=target,
        label=label,
        features=features,
        exclude=exclude,
        types=types,
        imputation=imputation,
        strict=strict,
        name=name,
        read=read,
    )
    job_options = drop_unset(learning_rate=learning_rate, batch_size=batch_size, device=device)
    with open_client(url, local) as client:
        with ExitStack() as cleanup:
            dataset = client.upload(file, **dataset_options)
            cleanup.callback(dataset.delete)
            for note in dataset.view.notes or ():
                log(note)
            network_name = dataset.name or "network"
            train_split, test_split = _split(dataset, network_name, test_share, seed)
            parts = [] if test_split is None else [train_split, test_split]
            for part in parts:
                cleanup.callback(part.delete)
            proposal = train_split.propose(hidden_units=hidden_units, epochs=epochs)
            network = client.create_network(name=network_name, seed=seed, **proposal.network)
            cleanup.callback(network.delete)
            owned = [owned_dataset.id for owned_dataset in (dataset, *parts)]
            fields = {**proposal.job, **job_options, "seed": seed, "owned_datasets": owned}
            job = client.create_job(network, train_split, name=network_name, **fields)
            cleanup.pop_all()  # the job was accepted and needs them all
        log(f"{job.id} trains {network!r} on {train_split.view.rows:,} rows.")
        follow_job(job, local=local)
        evaluation = network.evaluate(test_split) if test_split else None
        baselines = _measure_baselines(client, train_split, test_split, seed) if test_split else None
        network.refresh()
    if json:
        print_json({"job": job.view, "network": network.view, "evaluation": evaluation, "baselines": baselines})
    else:
        _print_summary(job.view, network, evaluation, baselines, file, test_split, local)


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


def _measure_baselines(client: Client, training: Dataset, test: Dataset, seed: int) -> dict[str, float | None]:
    """Return the accuracy or R² of the simplest predictions, and of a network without hidden layers, on test rows."""
    profile = test.profile()
    trivial = max(profile.classes.values()) / profile.rows if profile.classes else 0.0
    proposal = training.propose(hidden_units=[])
    network = client.create_network(name="linear-baseline", seed=seed, **proposal.network)
    job = client.create_job(network, training, epochs=_BASELINE_EPOCHS, optimizer="l-bfgs", l2=1.0, seed=seed)
    try:
        job.wait()
        evaluation = network.evaluate(test)
    except JobError:
        return {"trivial": trivial, "linear": None}
    finally:
        job.delete()
        network.delete()
    return {"trivial": trivial, "linear": evaluation.accuracy if evaluation.classes else evaluation.r2}


def _print_summary(
    job: JobView,
    network: Network,
    evaluation: EvaluationView | None,
    baselines: dict[str, float | None] | None,
    file: Path,
    test_split: Dataset | None,
    local: bool,
) -> None:
    """Print the result, and commands for the next steps."""
    best = "" if job.best_epoch is None else f", the best of which was {job.best_epoch}"
    echo(f"Network {network.name} ({network.id}), version {job.network_version}: {job.epoch} epochs{best}.")
    if evaluation is not None:
        echo(summarize_evaluation(evaluation, "test rows"))
        if baselines is not None:
            simplest = "the most frequent class" if evaluation.classes else "the mean"
            linear = "failed" if baselines["linear"] is None else f"{baselines['linear']:.4f}"
            echo(f"For comparison: {simplest} {baselines['trivial']:.4f}, a linear model {linear}.")
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
