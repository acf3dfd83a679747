"""Resources of a run besides time: memory, the start of a job, and two slots at the same time.

    python -m benchmarks.resources

Memory: the peak of the process above what it held before the run, compared with parameters × (2 + moments) +
activations + one mini-batch. Start: from the request for a job to the event of its first epoch, on an idle slot.
Slots: steps per second of two jobs on two slots of one core each, compared with one job alone.
"""

import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from nabla import Client
from nabla.app.schemas.jobs import EpochView
from tests.support.service import RunningService

STARTS = 50
# XOR, repeated, for the jobs whose steps are counted.
XOR_REPEATS, BATCH, EPOCHS = 5000, 10, 200
STEPS = 4 * XOR_REPEATS // BATCH
XOR: dict[str, Any] = {
    "inputs": 2,
    "cost": "binary_cross_entropy",
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
}


def main() -> None:
    """Measure memory, start and slots."""
    for number in (3, 4):
        subprocess.run([sys.executable, "-c", _MEASURE_MEMORY, str(number)], check=True)
    print(measure_start())
    print(measure_slots())


# In a process of its own, so that nothing else has grown it.
_MEASURE_MEMORY = """
import sys
from benchmarks.resources import measure_memory
print(measure_memory(int(sys.argv[1])))
"""


def measure_memory(number: int) -> str:
    """Train one epoch of a workload on memory-mapped data, as a job does; return its memory."""
    from benchmarks.support.workloads import WORKLOADS
    from nabla.engine.data.loading import OpenDataset
    from nabla.engine.nn.network import Network
    from nabla.engine.nn.optimizers import OPTIMIZERS
    from nabla.engine.training.config import TrainingSpec
    from nabla.engine.training.trainer import Trainer

    workload = WORKLOADS[number]
    with tempfile.TemporaryDirectory() as directory:
        for name, array in zip("xy", workload.data(), strict=True):
            np.save(Path(directory) / f"{name}.npy", array)
        x, y = (np.asarray(np.load(Path(directory) / f"{name}.npy", mmap_mode="r")) for name in "xy")
        spec = TrainingSpec(1, workload.batch, workload.rate, workload.optimizer)
        # Loads the kernels before the measurement.
        Trainer(Network(workload.architecture), OpenDataset(x, y), spec).compile()
        before = _private_bytes()
        trainer = Trainer(Network(workload.architecture), OpenDataset(x, y), spec)
        samples = [_private_bytes() for _ in trainer.run()]
    moments = OPTIMIZERS[workload.optimizer].moments
    activations = workload.batch * sum(workload.units[1:])
    mini_batch = workload.batch * (workload.units[0] + workload.units[-1])
    floats = workload.architecture.parameters * (2 + moments) + activations + mini_batch
    used, expected = max(samples) - before, 4 * floats
    return f"memory, {workload.name}: {used / 2**20:.1f} MiB, {used / expected:.2f} of {expected / 2**20:.1f} MiB"


def _private_bytes() -> int:
    """Return the memory of this process without memory-mapped files."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if "Rss" in line)
    return int(fields["RssAnon"].split()[0]) * 1024


def measure_start() -> str:
    """Start jobs one after the other on an idle slot; return the time to their first epoch."""
    milliseconds = []
    with tempfile.TemporaryDirectory() as directory, RunningService(Path(directory) / "data") as service:
        service.wait_until_ready()
        with Client(service.url) as client:
            network, dataset = _create_xor(client)
            for _ in range(STARTS):
                started = time.perf_counter()
                job = client.create_job(network, dataset, epochs=1)
                next(event for event in job.follow() if isinstance(event, EpochView))
                milliseconds.append(1000 * (time.perf_counter() - started))
                service.wait_for_job(job.id)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return f"start, from the request to the event of the first epoch: p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def _create_xor(client: Client) -> tuple[str, str]:
    network = client.create_network(**XOR)
    inputs, labels = [[0, 0], [0, 1], [1, 0], [1, 1]] * XOR_REPEATS, [0, 1, 1, 0] * XOR_REPEATS
    return network.id, client.create_dataset(inputs=inputs, labels=labels).id


def measure_slots() -> str:
    """Train one job, and two at the same time, in turn; return their steps per second."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with (
        tempfile.TemporaryDirectory() as directory,
        RunningService(Path(directory) / "data", cpu_slots="2", cores_per_cpu_slot="1") as service,
    ):
        service.wait_until_ready()
        with Client(service.url) as client:
            while len(re.findall("nabla_slot_ready.* 1.0", service.http.get("/metrics").text)) < 2:
                time.sleep(0.1)
            network, dataset = _create_xor(client)
            for _ in range(5):
                for count in rates:
                    fields = {"batch_size": BATCH, "epochs": EPOCHS}
                    jobs = [client.create_job(network, dataset, **fields) for _ in range(count)]
                    views = [service.wait_for_job(job.id) for job in jobs]
                    rates[count].append(sum(EPOCHS * STEPS / view.seconds_elapsed for view in views))
    alone, both = (statistics.median(rates[count]) for count in rates)
    return (
        f"slots: one job {alone:,.0f} steps/s, two on two slots {both:,.0f} together, {both / alone:.2f} times as many"
    )


if __name__ == "__main__":
    main()
