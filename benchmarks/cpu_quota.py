"""Trains under a CPU quota that the service finds by itself, and under the same quota with the cores given by settings.

    python -m benchmarks.cpu_quota [ROUNDS]

Needs the right to create control groups. Prints rows per second of jobs, and the ratio of medians.
"""

import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from nabla.app.client import Client
from tests.support.cpu_quota import cpu_quota
from tests.support.service import RunningService

QUOTAS = (0.5, 1.5)
_SECONDS = 8.0


def measure_rate(directory: Path, **settings: str) -> float:
    """Return rows per second of a job in a new service."""
    random = np.random.default_rng(0)
    x = random.normal(size=(5000, 784)).astype(np.float32)
    with RunningService(directory, None, **settings) as service, Client(service.url) as client:
        service.wait_until_ready()
        dataset = client.upload_arrays(inputs=x, labels=random.integers(0, 10, 5000))
        layers = [{"units": 128, "activation": "relu"}, {"units": 10, "activation": "softmax"}]
        network = client.create_network(inputs=784, layers=layers, cost="categorical_cross_entropy")
        job = client.create_job(network, dataset, epochs=10**6, batch_size=256, optimizer="adam", max_seconds=_SECONDS)
        job.wait()
        epochs = job.history()
        return 5000 * len(epochs) / sum(epoch.seconds for epoch in epochs)


def main() -> None:
    """Print a line for each quota."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    for quota in QUOTAS:
        found: list[float] = []
        told: list[float] = []
        for number in range(rounds):
            for rates, settings in ((found, {}), (told, {"cores_per_cpu_slot": str(max(1, int(quota)))})):
                with tempfile.TemporaryDirectory() as directory, cpu_quota(quota):
                    rates.append(measure_rate(Path(directory) / f"data-{number}", **settings))
        ratio = statistics.median(found) / statistics.median(told)
        print(
            f"{quota} cores: found {min(found):,.0f} to {max(found):,.0f}, told {min(told):,.0f} to {max(told):,.0f} "
            f"rows/s; ratio of medians {ratio:.2f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
