"""Accuracies that Nielsen's book reports on MNIST, reproduced through the API as a user would.

    python -m benchmarks.mnist mnist.npz [--run 0 …] [--seeds 3]

The archive has train_images and train_labels, and the same of validation and test, with pixels from 0 to 255. As in
the book, the figure of a run is the accuracy of its best epoch; the table has the best seed and all of them.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from nabla import Client
from nabla.app.schemas.jobs import EpochView, JobView
from tests.support.service import RunningService

REQUESTS = 200
SIGMOID = [{"units": 30, "activation": "sigmoid"}, {"units": 10, "activation": "sigmoid"}]
WIDE_SIGMOID = [{"units": 100, "activation": "sigmoid"}, {"units": 10, "activation": "sigmoid"}]


@dataclass(frozen=True)
class Run:
    """A network and a job.

    `split` is the part of the archive on which accuracy is measured, `reported` the accuracy in the book. With
    `first_epoch` the accuracy is that of the first epoch, not of the best.
    """

    name: str
    split: str
    reported: str
    network: dict[str, Any]
    job: dict[str, Any]
    first_epoch: bool = False


QUADRATIC: dict[str, Any] = {"cost": "quadratic", "initializer": "standard_normal", "layers": SIGMOID}
ENTROPY: dict[str, Any] = {"cost": "binary_cross_entropy", "initializer": "standard_normal", "layers": SIGMOID}
REGULARIZED: dict[str, Any] = {"epochs": 30, "batch_size": 10, "learning_rate": 0.5, "l2": 5.0}
RELU_SOFTMAX = [{"units": 512, "activation": "relu"}, {"units": 10, "activation": "softmax"}]

RUNS = (
    Run(
        "[784, 30, 10], quadratic, η 3, 30 epochs",
        "test",
        "95.42 %, best of three",
        QUADRATIC,
        {"epochs": 30, "batch_size": 10, "learning_rate": 3.0},
    ),
    Run(
        "[784, 100, 10], quadratic, η 3, 30 epochs",
        "test",
        "96.59 %",
        {**QUADRATIC, "layers": WIDE_SIGMOID},
        {"epochs": 30, "batch_size": 10, "learning_rate": 3.0},
    ),
    Run("[784, 30, 10], cross-entropy, η 0.5, λ 5, 30 epochs", "test", "96.49 %", ENTROPY, REGULARIZED),
    Run(
        "[784, 100, 10], cross-entropy, η 0.1, λ 5, 60 epochs, small initial weights",
        "validation",
        "98.04 %",
        {**ENTROPY, "layers": WIDE_SIGMOID, "initializer": "lecun_normal"},
        {**REGULARIZED, "epochs": 60, "learning_rate": 0.1},
    ),
    Run(
        "[784, 30, 10], cross-entropy, η 0.1, λ 5, large initial weights, first epoch",
        "validation",
        "under 87 %",
        ENTROPY,
        {**REGULARIZED, "epochs": 1, "learning_rate": 0.1},
        first_epoch=True,
    ),
    Run(
        "the same, small initial weights, first epoch",
        "validation",
        "almost 93 %",
        {**ENTROPY, "initializer": "lecun_normal"},
        {**REGULARIZED, "epochs": 1, "learning_rate": 0.1},
        first_epoch=True,
    ),
    Run(
        "784-512-10 relu and softmax, Adam, mini-batch 128, 2 epochs (Deep Diamond)",
        "test",
        "about 97 %",
        {"cost": "categorical_cross_entropy", "layers": RELU_SOFTMAX},
        {"epochs": 2, "batch_size": 128, "learning_rate": 0.001, "optimizer": "adam"},
    ),
)


def main() -> None:
    """Train the runs and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--run", type=int, action="append", choices=range(len(RUNS)))
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    table = Table(
        "", "measured on", "the book", "best", "all seeds", "s/epoch", title="MNIST, accuracy of the best epoch"
    )
    with tempfile.TemporaryDirectory() as directory, RunningService(Path(directory) / "data") as service:
        service.wait_until_ready()
        with Client(service.url, timeout=600.0) as client:
            upload(client, np.load(options.mnist), Path(directory))
            for number in options.run or range(len(RUNS)):
                table.add_row(*train(client, RUNS[number], options.seeds))
            print(f"GET of a job while it trains, {REQUESTS} in a row: {measure_latency(client)}")
    Console(width=150).print(table)


def upload(client: Client, mnist: Any, directory: Path) -> None:
    """Create the datasets train, validation and test."""
    for split in ("train", "validation", "test"):
        file = directory / f"{split}.npz"
        np.savez(file, inputs=scale(mnist[f"{split}_images"]), labels=mnist[f"{split}_labels"])
        started = time.perf_counter()
        dataset = client.upload(file, name=split)
        print(f"upload: {dataset.view.rows} rows in {time.perf_counter() - started:.1f} s")


def scale(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Scale pixels to [0, 1)."""
    return (images / 256).astype(np.float32)


def train(client: Client, run: Run, seeds: int) -> list[str]:
    """Train a run with the seeds from 1 on; return its row of the table."""
    best_accuracies, seconds = [], []
    for seed in range(1, seeds + 1):
        network = client.create_network(inputs=784, seed=seed, **run.network)
        job = client.create_job(network, "train", validation={"dataset_id": run.split}, seed=seed, **run.job)
        epochs = [event for event in job.follow() if isinstance(event, EpochView)]
        accuracies = [epoch.validation_accuracy or 0.0 for epoch in epochs]
        best_accuracies.append(accuracies[0] if run.first_epoch else max(accuracies))
        seconds += [epoch.seconds for epoch in epochs]
        if not run.first_epoch and seed == 1:  # the published version is that of the last epoch
            accuracy = network.evaluate(run.split).accuracy
            assert accuracy == accuracies[-1], f"{accuracy} is not {accuracies[-1]}"
    best, all_seeds = max(best_accuracies), ", ".join(f"{100 * accuracy:.2f}" for accuracy in best_accuracies)
    return [run.name, run.split, run.reported, f"{100 * best:.2f} %", all_seeds, f"{statistics.median(seconds):.3f}"]


def measure_latency(client: Client) -> str:
    """Return the latency of requests in a row while the first run trains."""
    network = client.create_network(inputs=784, seed=1, **RUNS[0].network)
    job = client.create_job(network, "train", **{**RUNS[0].job, "epochs": 300})
    for event in job.follow():
        if isinstance(event, JobView) and event.state == "running":
            break
    latencies = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        job.refresh()
        latencies.append(1000 * (time.perf_counter() - started))
    assert job.state == "running", "the job ended before the requests"
    job.cancel()
    p50, p99 = np.percentile(latencies, [50, 99])
    return f"p50 {p50:.1f} ms, p99 {p99:.1f} ms"


if __name__ == "__main__":
    main()
