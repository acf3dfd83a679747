"""`nabla train`: from a file to a trained network"""

import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from nabla.app.cli.options import DEFAULT_URL, File, Imputation, Json, Label, Local, Target, Told, Url, sizes
from nabla.app.cli.output import note, say, show_json
from nabla.app.cli.predict import sentence
from nabla.app.cli.progress import follow
from nabla.app.cli.service import connected
from nabla.app.client import Client, Dataset, Invalid, Network
from nabla.app.client.defaults import HIDDEN, job_for, network_for
from nabla.app.schemas.jobs import JobView
from nabla.app.schemas.predictions import EvaluationView

commands = typer.Typer(add_completion=False)
_DEFAULT_HIDDEN = ",".join(map(str, HIDDEN))


@commands.command(cls=Told)
def train(
    file: File,
    target: Target = None,
    label: Label = None,
    features: Annotated[list[str] | None, typer.Option(help="A column to learn from; by default all others.")] = None,
    imputation: Imputation = None,
    hidden: Annotated[str, typer.Option(help="Sizes of the hidden layers.")] = _DEFAULT_HIDDEN,
    epochs: Annotated[int, typer.Option(min=1, help="At most; it ends when the cost has stopped falling.")] = 200,
    learning_rate: Annotated[float | None, typer.Option(help="Of adam.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a mini-batch.")] = None,
    held_out: Annotated[
        float, typer.Option(min=0.0, max=0.9, help="Share of the rows that is kept to measure the network by.")
    ] = 0.2,
    device: Annotated[str | None, typer.Option(help="cpu or cuda; by default what is faster.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="The same seed, the same network.")] = 0,
    name: Annotated[str | None, typer.Option(help="Of the network; by default that of the file.")] = None,
    url: Url = DEFAULT_URL,
    local: Local = False,
    json: Json = False,
) -> None:
    """Train a network on a table, in one line: nabla train wine.csv --target quality.

    --target learns a number; or classes, if the column holds text. --label learns classes, whatever it holds.
    """
    if not target and not label:
        raise typer.BadParameter("Name the column to learn: --target COLUMN, or --label COLUMN for classes.")
    options = {"features": features, "imputation": imputation, "name": name}
    asked = {"learning_rate": learning_rate, "batch_size": batch_size, "device": device}
    layers = sizes(hidden)
    with connected(url, local) as client:
        with ExitStack() as refused:
            whole = _handed_in(client, file, target or [], label, {key: one for key, one in options.items() if one})
            refused.callback(whole.delete)
            called = whole.name or "network"
            rows, kept = _divided(whole, called, held_out, seed)
            if kept is not None:
                refused.callback(rows.delete)
                refused.callback(kept.delete)
            network = client.create_network(name=called, seed=seed, **network_for(rows.view, layers))
            refused.callback(network.delete)
            fields = {**job_for(rows.view, epochs), **{key: one for key, one in asked.items() if one is not None}}
            job = client.create_job(network, rows, name=called, seed=seed, **fields)
            refused.pop_all()  # nothing was, and all of it is needed
        note(f"{job.id} trains {network!r} on {rows.view.rows:,} rows.")
        follow(job, local=local)
        measured = network.evaluate(kept) if kept else None
        network.refresh()
    if json:
        show_json({"job": job.view, "network": network.view, "evaluation": measured})
    else:
        _summary(job.view, network, measured, file, kept, ["--local"] if local else [])


def _handed_in(client: Client, file: Path, target: list[str], label: str | None, options: dict[str, Any]) -> Dataset:
    """A target that is text is a class: what no value of is a number. Raises Invalid."""
    if label is not None or len(target) != 1:
        return client.upload(file, **{"label": label} if label is not None else {"target": target}, **options)
    try:
        return client.upload(file, target=target, **options)
    except Invalid as refused:
        if refused.field == "target":
            raise
        try:
            dataset = client.upload(file, label=target[0], **options)
        except Invalid:
            raise refused from None
        if any(map(_is_number, dataset.classes or ())):
            dataset.delete()
            raise
        note(f"{target[0]} is text: its {len(dataset.classes or ())} values are learned as classes.")
        return dataset


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _divided(whole: Dataset, called: str, held_out: float, seed: int) -> tuple[Dataset, Dataset | None]:
    """To train on, and to measure by; of few rows none are held out."""
    if round((whole.view.rows or 0) * held_out) < 1:
        note("No rows are held out.")
        return whole, None
    shares = {f"{called[:90]}-train": 1 - held_out, f"{called[:90]}-test": held_out}
    rows, kept = whole.split(shares, seed=seed)
    return rows, kept


def _summary(
    job: JobView, network: Network, measured: EvaluationView | None, file: Path, kept: Dataset | None, local: list[str]
) -> None:
    best = "" if job.best_epoch is None else f", of which the best was {job.best_epoch}"
    say(f"Network {network.name} ({network.id}), version {job.network_version}: {job.epoch} epochs{best}.")
    if measured is not None:
        say(sentence(measured, "held-out rows"))
    say("Next:")
    called = network.name or network.id
    for line in (
        ("predict", called, str(file)),
        ("evaluate", called, (kept.name or kept.id) if kept else str(file)),
        ("history", job.id, "--plot"),
        ("export", called, "--out", f"{called}.onnx"),
    ):
        say("  " + shlex.join(("nabla", *line, *local)))
