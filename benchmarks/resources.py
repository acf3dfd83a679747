"""What a run takes besides time: memory, a start, and a place beside another run.

    python -m benchmarks.resources

Memory: what the process holds at its peak above what it held before the run, beside parameters × (2 + moments) +
activations + one mini-batch. Start: from the request for a job until its first epoch is heard of, on an idle slot.
Places: steps per second of two jobs on two slots of one core each, beside those of one job alone.
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

from nabla.app.client import Client
from nabla.app.schemas.jobs import EpochView
from tests.support.service import RunningService

STARTS = 50
# Of the jobs that are counted; XOR so many times over.
ROWS, BATCH, EPOCHS = 5000, 10, 200
STEPS = 4 * ROWS // BATCH
XOR: dict[str, Any] = {
    "inputs": 2,
    "cost": "binary_cross_entropy",
    "layers": [{"units": 8, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
}


def main() -> None:
    for number in (3, 4):
        subprocess.run([sys.executable, "-c", _MEMORY, str(number)], check=True)
    print(start())
    print(places())


# In a process of its own, so that nothing else has grown it.
_MEMORY = """
import sys
from benchmarks.resources import memory
print(memory(int(sys.argv[1])))
"""


def memory(number: int) -> str:
    """One epoch of a workload on data mapped from disk, as a job has them."""
    from benchmarks.workloads import WORKLOADS
    from nabla.engine.data.loading import OpenDataset
    from nabla.engine.nn.architecture import Architecture, Layer
    from nabla.engine.nn.network import Network
    from nabla.engine.nn.optimizers import OPTIMIZERS
    from nabla.engine.training.config import TrainingSpec
    from nabla.engine.training.devices import compile_training
    from nabla.engine.training.trainer import Trainer

    workload = WORKLOADS[number]
    inputs, *hidden, outputs = workload.units
    layers = (*(Layer(units, workload.hidden) for units in hidden), Layer(outputs, workload.output))
    architecture = Architecture(inputs, layers, workload.cost)
    with tempfile.TemporaryDirectory() as folder:
        for name, array in zip("xy", workload.data(), strict=True):
            np.save(Path(folder) / f"{name}.npy", array)
        x, y = (np.asarray(np.load(Path(folder) / f"{name}.npy", mmap_mode="r")) for name in "xy")
        compile_training()
        before = _private_bytes()
        spec = TrainingSpec(1, workload.batch, workload.rate, workload.optimizer)
        trainer = Trainer(Network(architecture), OpenDataset(x, y), spec)
        held = [_private_bytes() for _ in trainer.run()]
    moments = OPTIMIZERS[workload.optimizer].moments
    activations = workload.batch * sum(workload.units[1:])
    floats = architecture.parameters * (2 + moments) + activations + workload.batch * (inputs + outputs)
    used, counted = max(held) - before, 4 * floats
    return f"memory, {workload.name}: {used / 2**20:.1f} MiB, {used / counted:.2f} of {counted / 2**20:.1f} MiB"


def _private_bytes() -> int:
    """What the process holds and shares with no file: data mapped from disk are not in it."""
    fields = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines() if "Rss" in line)
    return int(fields["RssAnon"].split()[0]) * 1024


def start() -> str:
    """Jobs one after the other, each when the slot is idle."""
    milliseconds = []
    with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data") as service:
        service.ready()
        with Client(service.url) as client:
            network, dataset = _xor(client)
            for _ in range(STARTS):
                began = time.perf_counter()
                job = client.create_job(network, dataset, epochs=1)
                next(event for event in job.follow() if isinstance(event, EpochView))
                milliseconds.append(1000 * (time.perf_counter() - began))
                service.finished(job.id)
    p50, p99 = np.percentile(milliseconds, [50, 99])
    return f"start, from the request to the first epoch heard of: p50 {p50:.0f} ms, p99 {p99:.0f} ms"


def _xor(client: Client) -> tuple[str, str]:
    network = client.create_network(**XOR)
    dataset = client.create_dataset(inputs=[[0, 0], [0, 1], [1, 0], [1, 1]] * ROWS, labels=[0, 1, 1, 0] * ROWS)
    return network.id, dataset.id


def places() -> str:
    """One job, then two at once, in turn."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    with (
        tempfile.TemporaryDirectory() as folder,
        RunningService(Path(folder) / "data", cpu_slots="2", slot_cores="1") as service,
    ):
        service.ready()
        with Client(service.url) as client:
            while len(re.findall("nabla_slot_ready.* 1.0", service.http.get("/metrics").text)) < 2:
                time.sleep(0.1)
            network, dataset = _xor(client)
            for _ in range(5):
                for count in rates:
                    fields = {"batch_size": BATCH, "epochs": EPOCHS}
                    jobs = [client.create_job(network, dataset, **fields) for _ in range(count)]
                    done = [service.finished(job.id) for job in jobs]
                    rates[count].append(sum(EPOCHS * STEPS / job.seconds_elapsed for job in done))
    alone, both = (statistics.median(rates[count]) for count in rates)
    return (
        f"places: one job {alone:,.0f} steps/s, two on two slots {both:,.0f} together, {both / alone:.2f} times as many"
    )


if __name__ == "__main__":
    main()
