"""`nabla demo`: from an empty service to recognized handwritten digits, through the HTTP API only."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from rich.console import Console
from rich.table import Table

from nabla.app.cli.options import CliCommand
from nabla.app.cli.output import log
from nabla.app.cli.progress import cost_chart, follow_job
from nabla.app.cli.service import local_client
from nabla.app.client import Client, Job

demo_app = typer.Typer(add_completion=False)

# 1,797 digits with brightnesses from 0 to 16. Source: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits",
# test data, UCI Machine Learning Repository, doi:10.24432/C50P49, 1998; CC BY 4.0.
_DIGITS = Path(__file__).with_name("digits.npz")
_PIXELS, _BRIGHTEST = 64, 16
_TEST_SHARE = 0.2
_SHOWN_IMAGES = 5
_SEED = 7
# Brightness from 0 to 1 above which a pixel is drawn.
_DRAW_THRESHOLD = 0.4


@demo_app.command(cls=CliCommand)
def demo(
    epochs: Annotated[int, typer.Option(min=1, help="Number of epochs.")] = 60,
    csv: Annotated[
        Path | None, typer.Option(help="Only write the digits to this CSV file, to try the commands and the page with.")
    ] = None,
) -> None:
    """Train a network on handwritten digits, in a temporary service that ends with the command."""
    with np.load(_DIGITS) as digits:
        images, labels = digits["images"].reshape(-1, _PIXELS), digits["labels"].astype(np.int64)
    if csv is None:
        _run(images / _BRIGHTEST, labels, epochs)
    else:
        header = ",".join([*(f"pixel_{row}_{column}" for row in range(8) for column in range(8)), "digit"])
        np.savetxt(csv, np.c_[images, labels], "%d", ",", header=header, comments="")
        log(f"Wrote {len(labels)} digits to {csv}.")


def _run(images: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], epochs: int) -> None:
    """Train and test; print what happens."""
    console = Console(highlight=False)
    order = np.random.default_rng(_SEED).permutation(len(images))
    test, train = np.split(order, [int(_TEST_SHARE * len(order))])
    with tempfile.TemporaryDirectory(prefix="nabla-demo-") as data_dir, local_client(Path(data_dir)) as client:
        with console.status("Starting a service …"):
            client.get_devices()  # is answered as soon as it has started
        console.print(f"The service is running at {client.url}.")
        console.print(f"Training on {len(train)} images of 8 × 8 pixels; {len(test)} are held out for the test.")
        job = _train(client, images[train], labels[train], epochs)
        follow_job(job, local=True)
        console.print(cost_chart(job.history()))
        predicted = [*map(str, job.get_network().predict(images[test].tolist()).labels or [])]
    expected = [str(label) for label in labels[test]]
    accuracy = sum(a == b for a, b in zip(predicted, expected, strict=True)) / len(expected)
    _show_images(console, images[test], predicted, expected)
    console.print(f"Test accuracy: {accuracy:.4f} on {len(expected)} images that the network has not seen.")


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
