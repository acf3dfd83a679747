"""Nielsen's first network on MNIST, through the API as a user would: accuracy, time, and how the API answers meanwhile.

    python -m tests.benchmarks.nielsen mnist.npz

The archive has train_images, train_labels, test_images and test_labels, with pixels from 0 to 255.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.client import Client
from app.schemas.jobs import JobView
from tests.running import RunningService

REQUESTS = 200
ROWS_AT_ONCE = 500


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mnist", type=Path)
    parser.add_argument("--initializer", default="standard_normal")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=30)
    options = parser.parse_args()
    mnist = np.load(options.mnist)
    with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data") as service:
        service.ready()
        file = Path(folder) / "mnist.npz"
        np.savez(file, inputs=scaled(mnist["train_images"]), labels=mnist["train_labels"])
        with Client(service.url) as client:
            started = time.perf_counter()
            dataset = client.upload_dataset(file)
            print(f"upload: {dataset.rows} rows in {time.perf_counter() - started:.1f} s")
            network = client.create_network(
                inputs=784,
                layers=[{"units": 30, "activation": "sigmoid"}, {"units": 10, "activation": "sigmoid"}],
                cost="quadratic",
                initializer=options.initializer,
                seed=options.seed,
            )
            job = client.create_job(
                network_id=network.id,
                dataset_id=dataset.id,
                epochs=options.epochs,
                batch_size=10,
                learning_rate=3.0,
                seed=options.seed,
            )
            latencies = ask(client, job)
            *_, done = client.follow(job.id)
            assert isinstance(done, JobView)
            print(f"training: {done.state}, {done.epoch} epochs in {done.seconds_elapsed:.2f} s, cost {done.cost:.5f}")
            p50, p99 = np.percentile(latencies, [50, 99])
            print(f"GET job while it trains, {REQUESTS} in a row: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
            answers = predict(client, network.id, scaled(mnist["test_images"]))
            print(f"test accuracy: {np.mean(answers == mnist['test_labels']):.4f}")


def scaled(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return (images / 256).astype(np.float32)


def ask(client: Client, job: JobView) -> list[float]:
    """Milliseconds of requests for the job, made one after the other while it runs."""
    latencies = []
    for event in client.follow(job.id):
        if isinstance(event, JobView) and event.state == "running":
            break
    for _ in range(REQUESTS):
        started = time.perf_counter()
        now = client.job(job.id)
        latencies.append(1000 * (time.perf_counter() - started))
    assert now.state == "running", "the job was over before the requests were"
    return latencies


def predict(client: Client, network: str, images: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    labels: list[str] = []
    for start in range(0, len(images), ROWS_AT_ONCE):
        labels += client.predict(network, images[start : start + ROWS_AT_ONCE].tolist()).labels or []
    return np.array(labels, np.int64)


if __name__ == "__main__":
    main()
