"""What the service takes and gives beside training: latency, many readers of events, its start after a crash, and with
a long past.

Run `python -m benchmarks.service`. Rounds alternate; medians, and half the distance between quartiles.
"""

import asyncio
import statistics
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

from nabla.engine.records import ids
from nabla.engine.records.job import Job
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Journal
from nabla.engine.training.config import TrainingSpec
from nabla.engine.training.state import Epoch
from tests.support import scenarios
from tests.support.scenarios import many_rows
from tests.support.service import RunningService

ROUNDS = 5
REQUESTS = 2000
READERS = 1000
PAST = 100_000


def pair(table: Table, what: str, one: list[float], other: list[float]) -> None:
    """Two medians beside each other, each with half the distance between its quartiles."""

    def shown(values: list[float]) -> str:
        first, _, third = statistics.quantiles(values, n=4)
        return f"{statistics.median(values):.4g} ± {(third - first) / 2:.2g}"

    ratio = statistics.median(other) / statistics.median(one)
    table.add_row(what, f"{shown(one)} / {shown(other)}", f"{ratio:.2f}")


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(len(sorted_values) - 1, int(share * len(sorted_values)))]


def latencies(service: RunningService, path: str) -> list[float]:
    """Milliseconds of requests one after another, sorted."""
    found = []
    for _ in range(REQUESTS):
        started = time.perf_counter()
        service.http.get(path)
        found.append(1e3 * (time.perf_counter() - started))
    return sorted(found)


def wide(service: RunningService) -> dict[str, Any]:
    """A job whose steps keep its core busy."""
    layers = [{"units": 256, "activation": "relu"}, {"units": 1, "activation": "sigmoid"}]
    network = scenarios.network(service, layers=layers)["id"]
    return scenarios.endless(service, network_id=network, dataset_id=many_rows(service)["id"], batch_size=64)


def latency(table: Table) -> None:
    """A finished job is asked for, while the slots rest and while all of them train."""
    with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data", cpu_slots="2") as service:
        done = scenarios.job(service, epochs=1)
        service.finished(done["id"])
        path = f"/v1/jobs/{done['id']}"
        found: dict[str, list[list[float]]] = {"idle": [], "training": []}
        for _ in range(ROUNDS):
            found["idle"].append(latencies(service, path))
            jobs = [wide(service) for _ in range(2)]
            for job in jobs:
                service.trained(job["id"], 1)
            found["training"].append(latencies(service, path))
            for job in jobs:
                service.post(f"/v1/jobs/{job['id']}/cancel")
        rows = {
            (state, share): [percentile(round_, share) for round_ in rounds]
            for state, rounds in found.items()
            for share in (0.5, 0.99)
        }
        for share, name in ((0.5, "p50"), (0.99, "p99")):
            pair(table, f"ms of a GET of a job, {name}: idle / training", rows["idle", share], rows["training", share])


def speed(service: RunningService, job: str, seconds: float) -> float:
    """Epochs per second."""
    first, started = service.get(f"/v1/jobs/{job}")["epoch"], time.perf_counter()
    time.sleep(seconds)
    return float(service.get(f"/v1/jobs/{job}")["epoch"] - first) / (time.perf_counter() - started)


def readers(table: Table) -> None:
    """A job's pace with and without a thousand readers of its events, who are another process."""
    with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data") as service:
        job = wide(service)["id"]
        service.trained(job, 5)
        alone, followed = [], []
        for _ in range(ROUNDS):
            alone.append(speed(service, job, 5.0))
            # With the priority of training: readers are elsewhere, and do not go before it.
            reading = [sys.executable, "-m", "benchmarks.service", "read", f"{service.url}/v1/events"]
            command = ["nice", "-n", "19", *reading]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                process.stdout.readline()  # all of them are connected
                followed.append(speed(service, job, 5.0))
                process.terminate()
        pair(table, f"epochs/s of a job: alone / with {READERS} readers of all events", alone, followed)


async def read(url: str, readers: int = READERS) -> None:
    """Many readers of a stream, who do as little as can be done with what comes; tells when all are connected."""
    place = httpx.URL(url)
    asked = f"GET {place.raw_path.decode()} HTTP/1.1\r\nHost: {place.host}\r\n\r\n".encode()
    connected = asyncio.Semaphore(0)

    async def one() -> None:
        stream, sink = await asyncio.open_connection(place.host, place.port)
        sink.write(asked)
        await stream.readuntil(b"following")
        connected.release()
        while await stream.read(2**20):
            pass

    tasks = [asyncio.create_task(one()) for _ in range(readers)]
    for _ in tasks:
        await connected.acquire()
    print("connected", flush=True)
    await asyncio.gather(*tasks)


def recovery(table: Table) -> None:
    """Until a killed service answers again, with nothing to do and with two jobs training."""
    with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data", cpu_slots="2") as service:
        idle = []
        for _ in range(ROUNDS):
            service.ready()  # else its workers, still starting, are what the next service has to share the cores with
            idle.append(back_again(service))
        jobs = [wide(service) for _ in range(2)]
        training = []
        for _ in range(ROUNDS):
            for job in jobs:
                service.trained(job["id"], service.get(f"/v1/jobs/{job['id']}")["epoch"] + 5)
            training.append(back_again(service))
        pair(table, "seconds from kill -9 to an answer: idle / training", idle, training)


def back_again(service: RunningService) -> float:
    service.kill()
    started = time.perf_counter()
    service.start()
    service.get("/v1/jobs")
    return time.perf_counter() - started


def start(table: Table) -> None:
    """Until the first answer, with nothing and with many finished jobs in the folder."""
    with tempfile.TemporaryDirectory() as folder:
        empty, full = Path(folder) / "empty", Path(folder) / "full"
        fill(full)
        found: dict[Path, list[tuple[float, float]]] = {empty: [], full: []}
        for _ in range(ROUNDS):
            for path, taken in found.items():
                taken.append(first_answer(path))
        for what, pick in (("seconds to the first answer", 0), ("MiB of memory then", 1)):
            values = [[one[pick] for one in taken] for taken in found.values()]
            pair(table, f"{what}: empty / {PAST} finished jobs", *values)


def first_answer(folder: Path) -> tuple[float, float]:
    started = time.perf_counter()
    with RunningService(folder) as service:
        service.http.get("/health/live")
        seconds = time.perf_counter() - started
        status = Path(f"/proc/{service.process.pid}/status").read_text()
        return seconds, int(status.split("VmRSS:")[1].split()[0]) / 1024


def fill(path: Path) -> None:
    folder = DataFolder(path)
    journal = Journal(folder.journal)
    now = datetime.now(UTC)
    spec = TrainingSpec(epochs=3, batch_size=10, learning_rate=0.1)
    blank = Job("", None, "net_1", "ds_1", spec, now, state="succeeded", epoch=3, attempt=1, finished_at=now)
    epoch = Epoch(1, 0.5, accuracy=0.9, learning_rate=0.1, gradient_norm=0.2, rows_per_second=1e5, seconds=0.01)
    for _ in range(PAST // 1000):
        with journal.transaction():
            for _ in range(1000):
                body = msgspec.json.encode(job := replace(blank, id=ids.new_id(ids.JOB)))
                journal.put("job", job.id, None, job.state, body)
                for number in (1, 2, 3):
                    journal.add_event(job.id, body)
                    journal.add_event(job.id, msgspec.json.encode(epoch), number)
    journal.close()
    folder.close()


def main() -> None:
    table = Table("what", "figures", "ratio")
    measures: list[Callable[[Table], None]] = [latency, readers, recovery, start]
    for measure in measures:
        measure(table)
    Console(width=110).print(table)


if __name__ == "__main__":
    if sys.argv[1:2] == ["read"]:
        asyncio.run(read(sys.argv[2], *map(int, sys.argv[3:])))
    else:
        main()
