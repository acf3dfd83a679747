"""`nabla demo`: from an empty service to handwritten digits read right, through the HTTP API only."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from nabla.app.cli.options import Told
from nabla.app.cli.progress import plot
from nabla.app.cli.service import local_client
from nabla.app.client import Client, Job

_TEST_SHARE = 0.2
_SHOWN = 5


commands = typer.Typer(add_completion=False)


@commands.command(cls=Told)
def demo(
    epochs: Annotated[int, typer.Option(min=1, help="How long to train.")] = 60,
) -> None:
    """Start a service on a free port, train it to read handwritten digits, and end it again."""
    raise typer.Exit(_run(epochs))


def _run(epochs: int) -> int:
    """The exit code: 0 if the digits were learned."""
    console = Console(highlight=False)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        console.print("The digits come with scikit-learn: pip install 'nabla[demo]'.")
        return 1
    digits = load_digits()
    images, labels = np.asarray(digits.data, np.float64) / 16, np.asarray(digits.target, np.int64)
    order = np.random.default_rng(7).permutation(len(images))
    test, training = np.split(order, [int(_TEST_SHARE * len(order))])
    console.print("Starting a service (the very first start compiles the engine: up to a minute) …")
    with tempfile.TemporaryDirectory(prefix="nabla-demo-") as folder, local_client(Path(folder)) as client:
        console.print(
            f"Service on {client.url} - {len(training)} images of 8 x 8 pixels to learn, {len(test)} kept to test."
        )
        return _learn(client, console, epochs, images, labels, training, test)


def _learn(
    client: Client,
    console: Console,
    epochs: int,
    images: npt.NDArray[np.float64],
    labels: npt.NDArray[np.int64],
    training: npt.NDArray[np.int64],
    test: npt.NDArray[np.int64],
) -> int:
    dataset = client.upload_arrays(inputs=images[training].astype(np.float32), labels=labels[training], name="digits")
    network = client.create_network(
        name="digits",
        inputs=dataset.inputs,
        layers=[{"units": 64, "activation": "relu"}, {"units": dataset.outputs, "activation": "softmax"}],
        cost="categorical_cross_entropy",
        initializer="he_normal",
        seed=7,
    )
    job = client.create_job(network, dataset, name="digits", epochs=epochs, batch_size=16, learning_rate=0.1, seed=7)
    _watch(console, job)
    if job.state != "succeeded":
        console.print(f"The job {job.state}: {job.view.error.message if job.view.error else ''}")
        return 1
    print(plot(job.history(), colours=console.is_terminal))
    answers = network.predict(images[test].tolist()).labels or []
    truth = [str(label) for label in labels[test]]
    accuracy = sum(a == b for a, b in zip(answers, truth, strict=True)) / len(truth)
    _show(console, images[test], answers, truth)
    console.print(f"Test accuracy: {accuracy:.4f} on {len(truth)} images the network has never seen.")
    return 0


def _watch(console: Console, job: Job) -> None:
    """Follow the job to its end, with a live bar."""
    columns = (
        TextColumn("training"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("epochs   cost {task.fields[cost]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("training", total=job.view.epochs, cost="…")
        for _ in job.follow():
            for point in job.curve.points[-1:]:
                progress.update(bar, completed=point.epoch, cost=f"{point.cost:.4f}")


def _show(console: Console, images: npt.NDArray[np.float64], answers: list[str], truth: list[str]) -> None:
    """The first few test images with what the network says; a wrong answer among them if there is one."""
    wrong = [place for place in range(len(truth)) if answers[place] != truth[place]]
    places = [*range(_SHOWN), *wrong[:1]]
    table = Table(show_header=False, box=None, padding=(0, 2))
    table.add_row(*["\n".join(_picture(images[place])) for place in places])
    table.add_row(*[f"says {answers[place]}\nis   {truth[place]}" for place in places])
    console.print(table)


def _picture(image: npt.NDArray[np.float64]) -> Iterator[str]:
    """Eight rows of pixels as four lines of text."""
    dark = image.reshape(8, 8) > 0.4
    for upper, lower in zip(dark[::2], dark[1::2], strict=True):
        yield "".join(" ▄▀█"[2 * int(u) + int(d)] for u, d in zip(upper, lower, strict=True))
