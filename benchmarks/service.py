"""The service under load: while slots train, with many event readers, its start after a crash and with a long past.

    python -m benchmarks.service

Rounds alternate; the table has medians and half the interquartile range.
"""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.support.stats import median_and_spread, median_ratio, percentile
from nabla.engine.records import ids
from nabla.engine.records.job import Job
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.journal import Journal
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch
from tests.support import scenarios
from tests.support.scenarios import create_2000_row_dataset
from tests.support.service import RunningService

ROUNDS = 5
REQUESTS = 2000
READERS = 1000
FINISHED_JOBS = 100_000


def add_comparison(table: Table, name: str, values: list[float], other_values: list[float]) -> None:
    """Add a row: two medians with their spread, and the ratio of the second to the first."""
    medians = f"{median_and_spread(values)} / {median_and_spread(other_values)}"
    table.add_row(name, medians, f"{median_ratio(other_values, values):.2f}")


def measure_latencies(service: RunningService, path: str) -> list[float]:
    """Return the sorted milliseconds of requests in a row."""
    milliseconds = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        service.http.get(path)
        milliseconds.append(1e3 * (time.perf_counter() - started))
    return sorted(milliseconds)


def start_wide_job(service: RunningService) -> dict[str, Any]:
    """Start a job whose steps keep its core busy."""
    layers = [{"units": 256, "activation": "relu"}, {"units": 1, "activation": "sigmoid"}]
    network = scenarios.create_network(service, layers=layers)["id"]
    return scenarios.submit_endless_job(
        service, network_id=network, dataset_id=create_2000_row_dataset(service)["id"], batch_size=64
    )


def compare_latency(table: Table) -> None:
    """Request a finished job while the slots are idle and while all of them train."""
    with tempfile.TemporaryDirectory() as directory, RunningService(Path(directory) / "data", cpu_slots="2") as service:
        finished = scenarios.submit_job(service, epochs=1)
        service.wait_for_job(finished["id"])
        path = f"/v1/jobs/{finished['id']}"
        rounds: dict[str, list[list[float]]] = {"idle": [], "training": []}
        for _ in range(ROUNDS):
            rounds["idle"].append(measure_latencies(service, path))
            jobs = [start_wide_job(service) for _ in range(2)]
            for job in jobs:
                service.wait_for_epoch(job["id"], 1)
            rounds["training"].append(measure_latencies(service, path))
            for job in jobs:
                service.post(f"/v1/jobs/{job['id']}/cancel")
        for fraction, name in ((0.5, "p50"), (0.99, "p99")):
            idle, training = (
                [percentile(latencies, fraction) for latencies in rounds[state]] for state in ("idle", "training")
            )
            add_comparison(table, f"ms of a GET of a job, {name}: idle / training", idle, training)


def measure_speed(service: RunningService, job: str, seconds: float) -> float:
    """Return the epochs per second of a job."""
    first, started = service.get(f"/v1/jobs/{job}")["epoch"], time.perf_counter()
    time.sleep(seconds)
    return float(service.get(f"/v1/jobs/{job}")["epoch"] - first) / (time.perf_counter() - started)


def compare_readers(table: Table) -> None:
    """Measure a job's speed without and with a thousand readers of its events, in another process."""
    with tempfile.TemporaryDirectory() as directory, RunningService(Path(directory) / "data") as service:
        job = start_wide_job(service)["id"]
        service.wait_for_epoch(job, 5)
        alone, followed = [], []
        for _ in range(ROUNDS):
            alone.append(measure_speed(service, job, 5.0))
            # With the priority of training: readers are on other machines, and do not go before it.
            read = [sys.executable, "-m", "benchmarks.service", "read", f"{service.url}/v1/events"]
            with subprocess.Popen(["nice", "-n", "19", *read], stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                process.stdout.readline()  # all are connected
                followed.append(measure_speed(service, job, 5.0))
                process.terminate()
        add_comparison(table, f"epochs/s of a job: alone / with {READERS} readers of all events", alone, followed)


async def read_events(address: str, readers: int = READERS) -> None:
    """Read a stream many times, at the least cost; print a line when all readers are connected."""
    url = httpx.URL(address)
    request = f"GET {url.raw_path.decode()} HTTP/1.1\r\nHost: {url.host}\r\n\r\n".encode()
    connected = asyncio.Semaphore(0)

    async def read() -> None:
        stream, sink = await asyncio.open_connection(url.host, url.port)
        sink.write(request)
        await stream.readuntil(b"\r\n\r\n")  # the headers
        connected.release()
        while await stream.read(2**20):
            pass

    tasks = [asyncio.create_task(read()) for _ in range(readers)]
    for _ in tasks:
        await connected.acquire()
    print("connected", flush=True)
    await asyncio.gather(*tasks)


def compare_recovery(table: Table) -> None:
    """Measure the time from kill -9 to a response, idle and with two jobs training."""
    with tempfile.TemporaryDirectory() as directory, RunningService(Path(directory) / "data", cpu_slots="2") as service:
        idle = []
        for _ in range(ROUNDS):
            service.wait_until_ready()  # starting workers would compete with the next service for the cores
            idle.append(_measure_recovery(service))
        jobs = [start_wide_job(service) for _ in range(2)]
        training = []
        for _ in range(ROUNDS):
            for job in jobs:
                service.wait_for_epoch(job["id"], service.get(f"/v1/jobs/{job['id']}")["epoch"] + 5)
            training.append(_measure_recovery(service))
        add_comparison(table, "seconds from kill -9 to a response: idle / training", idle, training)


def _measure_recovery(service: RunningService) -> float:
    service.kill()
    started = time.perf_counter()
    service.start()
    service.get("/v1/jobs")
    return time.perf_counter() - started


def compare_start(table: Table) -> None:
    """Measure the time to the first response, and memory then, of an empty data directory and of one full of jobs."""
    with tempfile.TemporaryDirectory() as temporary:
        empty, full = Path(temporary) / "empty", Path(temporary) / "full"
        fill_journal(full)
        starts: dict[Path, list[tuple[float, float]]] = {empty: [], full: []}
        for _ in range(ROUNDS):
            for directory, measurements in starts.items():
                measurements.append(_measure_start(directory))
        for index, name in enumerate(("seconds to the first response", "MiB of memory then")):
            values = [[measurement[index] for measurement in measurements] for measurements in starts.values()]
            add_comparison(table, f"{name}: empty / {FINISHED_JOBS} finished jobs", *values)


def _measure_start(directory: Path) -> tuple[float, float]:
    started = time.perf_counter()
    with RunningService(directory) as service:
        service.http.get("/health/live")
        seconds = time.perf_counter() - started
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        return seconds, int(status.split("VmRSS:")[1].split()[0]) / 1024


def fill_journal(directory: Path) -> None:
    """Create a data directory with many finished jobs, their events and histories."""
    data_dir = DataDir(directory)
    journal = Journal(data_dir.journal)
    now = datetime.now(UTC)
    spec = TrainingSpec(epochs=3, batch_size=10, learning_rate=0.1)
    template = Job("", None, "net_1", "ds_1", spec, now, state="succeeded", epoch=3, attempt=1, finished_at=now)
    epoch = Epoch(1, 0.5, accuracy=0.9, learning_rate=0.1, gradient_norm=0.2, rows_per_second=1e5, seconds=0.01)
    for _ in range(FINISHED_JOBS // 1000):
        with journal.transaction():
            for _ in range(1000):
                job = replace(template, id=ids.new_id(ids.JOB))
                body = msgspec.json.encode(job)
                journal.put("job", job.id, None, job.state, body)
                for number in (1, 2, 3):
                    journal.add_event(job.id, body)
                    journal.add_event(job.id, msgspec.json.encode(epoch), number)
    journal.close()
    data_dir.close()


def main() -> None:
    """Run all comparisons."""
    table = Table("", "medians", "ratio")
    comparisons: list[Callable[[Table], None]] = [compare_latency, compare_readers, compare_recovery, compare_start]
    for compare in comparisons:
        compare(table)
    Console(width=110).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        asyncio.run(read_events(sys.argv[2], *map(int, sys.argv[3:])))
    else:
        main()
