"""`nabla demo`: from an empty service to recognized handwritten digits, through the HTTP API only."""

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

from nabla.app.cli.options import EXIT_FAILED, CliCommand
from nabla.app.cli.progress import cost_chart
from nabla.app.cli.service import local_client
from nabla.app.client import Client, Job

demo_app = typer.Typer(add_completion=False)

_TEST_SHARE = 0.2
_SHOWN_IMAGES = 5
_SEED = 7
# Brightness from 0 to 1 above which a pixel is drawn.
_DRAW_THRESHOLD = 0.4


@demo_app.command(cls=CliCommand)
def demo(epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 60) -> None:
    """Train a network on handwritten digits, in a temporary service that ends with the command."""
    raise typer.Exit(_run(epochs))


def _run(epochs: int) -> int:
    """Run the demo and return the exit code."""
    console = Console(highlight=False)
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        console.print("The demo needs scikit-learn: pip install 'nabla-train[demo]'")
        return EXIT_FAILED
    digits = load_digits()
    images, labels = np.asarray(digits.data, np.float64) / 16, np.asarray(digits.target, np.int64)
    order = np.random.default_rng(_SEED).permutation(len(images))
    test, train = np.split(order, [int(_TEST_SHARE * len(order))])
    console.print("Starting a service …")
    with tempfile.TemporaryDirectory(prefix="nabla-demo-") as data_dir, local_client(Path(data_dir)) as client:
        console.print(f"The service is running at {client.url}.")
        console.print(f"Training on {len(train)} images of 8 × 8 pixels; {len(test)} are held out for the test.")
        job = _train(client, images[train], labels[train], epochs)
        _show_progress(console, job)
        if job.state != "succeeded":
            console.print(f"The job {job.state}: {job.view.error.message if job.view.error else ''}")
            return EXIT_FAILED
        console.print(cost_chart(job.history()))
        predicted = [*map(str, job.get_network().predict(images[test].tolist()).labels or [])]
    expected = [str(label) for label in labels[test]]
    accuracy = sum(a == b for a, b in zip(predicted, expected, strict=True)) / len(expected)
    _show_images(console, images[test], predicted, expected)
    console.print(f"Test accuracy: {accuracy:.4f} on {len(expected)} images that the network has not seen.")
    return 0


def _train(client: Client, images: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], epochs: int) -> Job:
    dataset = client.upload_arrays(inputs=images.astype(np.float32), labels=labels, name="digits")
    network = client.create_network(
        name="digits",
        inputs=dataset.inputs,
        layers=[{"units": 64, "activation": "relu"}, {"units": dataset.outputs, "activation": "softmax"}],
        cost="categorical_cross_entropy",
        initializer="he_normal",
        seed=_SEED,
    )
    return client.create_job(
        network, dataset, name="digits", epochs=epochs, batch_size=16, learning_rate=0.1, seed=_SEED
    )


def _show_progress(console: Console, job: Job) -> None:
    """Follow the job with a live progress bar."""
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
            for point in job.cost_curve.points[-1:]:
                progress.update(bar, completed=point.epoch, cost=f"{point.cost:.4f}")


def _show_images(console: Console, images: npt.NDArray[np.float64], predicted: list[str], expected: list[str]) -> None:
    """Print the first images with their predictions, and one with a wrong prediction if there is any."""
    wrong = [index for index in range(len(expected)) if predicted[index] != expected[index]]
    shown = [*range(_SHOWN_IMAGES), *wrong[:1]]
    table = Table(show_header=False, box=None)
    table.add_row("", *["\n".join(_draw(images[index])) for index in shown])
    table.add_row("predicted", *[predicted[index] for index in shown])
    table.add_row("expected", *[expected[index] for index in shown])
    console.print(table)


def _draw(image: npt.NDArray[np.float64]) -> Iterator[str]:
    """Draw 8 × 8 pixels as four lines of text."""
    drawn = image.reshape(8, 8) > _DRAW_THRESHOLD
    for upper, lower in zip(drawn[::2], drawn[1::2], strict=True):
        yield "".join(" ▄▀█"[2 * int(up) + int(down)] for up, down in zip(upper, lower, strict=True))
