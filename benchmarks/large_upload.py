"""A CSV file much larger than the available memory, through the service.

    python -m benchmarks.large_upload [--gigabytes 4] [--spare 1] [--directory DIRECTORY]

The service is in a memory control group with `--spare` GiB more than it holds when it is ready. Rows are generated
while they are sent. Before and during that another process requests /health/live and /v1/jobs in turn. DIRECTORY must
be on a disk and have room for twice the file. Without the right to create control groups only NABLA_TASK_MEMORY_LIMIT
limits reading, and the output says so.
"""

import argparse
import json
import os
import select
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.csv

from benchmarks.support.cgroup import ControlGroup, control_group
from benchmarks.support.stats import percentile
from tests.support.service import RunningService

COLUMNS = 20
_CHUNK_ROWS = 2**15
_IDLE_SECONDS = 20.0
_POLL_SECONDS = 0.2
_PROBED_PATHS = ("/health/live", "/v1/jobs")
# When a response began (monotonic seconds), of which path, and its milliseconds.
Response = tuple[float, str, float]


def main() -> None:
    """Upload the file and print rates, memory and latencies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--spare", type=float, default=1.0, help="GiB")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    options = parser.parse_args()
    size = int(options.gigabytes * 10**9)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    with ExitStack() as stack:
        group = _create_group(stack)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        service = stack.enter_context(RunningService(directory / "data", max_upload_bytes=str(2 * size)))
        if group is not None:
            group.add([service.process.pid])
        service.wait_until_ready()
        if group is not None:
            limit = _private_bytes([service.process.pid, *service.worker_pids()]) + int(options.spare * 2**30)
            group.set_limit(limit)
            print(f"the service and its processes have {limit / 2**20:,.0f} MiB")
        phases = _upload(service, size)
        if group is not None:
            print(f"peak of the group {group.peak / 2**20:,.0f} MiB, page cache included")
        _print_latencies(phases)


def _create_group(stack: ExitStack) -> ControlGroup | None:
    try:
        return stack.enter_context(control_group())
    except OSError as error:
        print(f"Cannot create a memory control group ({error}); NABLA_TASK_MEMORY_LIMIT is the only limit.")
        return None


def _upload(service: RunningService, size: int) -> dict[str, list[tuple[str, float]]]:
    """Return the probes' paths and milliseconds by phase."""
    started: dict[str, float] = {}
    with _probe(service) as responses:
        started["idle"] = time.monotonic()
        time.sleep(_IDLE_SECONDS)
        watch = _DatasetWatch(service, service.post("/v1/datasets", {"upload": "rows", "label": "class"})["id"])
        started["receiving"] = time.monotonic()
        sent = _send(service, watch.path, size)
        started["reading"] = time.monotonic()
        closed = service.http.post(f"{watch.path}/close", headers={"Prefer": "respond-async"})
        assert closed.status_code == 202, closed.text
        dataset = watch.join()
        started["ended"] = time.monotonic()
    print(" → ".join(watch.states), dataset["errors"] or "")
    print(f"{sent / 1e9:.2f} GB, {dataset['rows'] or 0:,} rows")
    for phase, next_phase in (("receiving", "reading"), ("reading", "ended")):
        seconds = started[next_phase] - started[phase]
        print(f"{phase}: {sent / 1e6 / seconds:,.0f} MB/s, {seconds:.0f} seconds")
    for process, (resident, private) in watch.peaks.items():
        print(
            f"peak memory of the {process}: {private / 2**20:,.0f} MiB, with pages of files {resident / 2**20:,.0f} MiB"
        )
    print(f"ingest processes started: {len(watch.ingest_processes)}")
    phases: dict[str, list[tuple[str, float]]] = {phase: [] for phase in started if phase != "ended"}
    for time_of_response, path, milliseconds in responses:
        begun = [phase for phase, since in started.items() if since <= time_of_response]
        if begun and begun[-1] != "ended":
            phases[begun[-1]].append((path, milliseconds))
    return phases


def _send(service: RunningService, path: str, size: int) -> int:
    """Send rows in bounded memory; return the bytes."""
    sent = 0

    def rows() -> Iterator[bytes]:
        nonlocal sent
        for chunk in _csv_chunks():
            if sent >= size:
                return
            sent += len(chunk)
            yield chunk

    response = service.http.post(f"{path}/rows", content=rows(), headers={"Content-Type": "text/csv"})
    assert response.status_code == 201, response.text
    return sent


def _csv_chunks() -> Iterator[bytes]:
    """Yield a header, and rows without end: numbers with few and with many digits, a category and a class.

    The rows repeat, so that generating them takes less time than anything that is measured.
    """
    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{number}": generator.random(_CHUNK_ROWS) for number in range(COLUMNS // 2 - 1)}
    columns |= {f"n{number}": generator.integers(0, 1000, _CHUNK_ROWS) for number in range(COLUMNS // 2 - 1)}
    columns["kind"] = np.array(["red", "green", "blue", "white"])[generator.integers(0, 4, _CHUNK_ROWS)]
    columns["class"] = generator.integers(0, 10, _CHUNK_ROWS)
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(pa.table(columns), sink)
    header, newline, rows = sink.getvalue().to_pybytes().partition(b"\n")
    yield header + newline
    while True:
        yield rows


class _DatasetWatch:
    """Polls a dataset and the memory of processes until the dataset is ready or has failed.

    `states` are in order; `peaks` in bytes: resident memory, and the part that is private and not of a file.
    """

    def __init__(self, service: RunningService, dataset: str) -> None:
        self.path = f"/v1/datasets/{dataset}"
        self.states: list[str] = []
        self.peaks: dict[str, tuple[int, int]] = {}
        self.ingest_processes: set[int] = set()
        self._service = service
        self._last: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._poll)
        self._thread.start()

    def join(self) -> dict[str, Any]:
        """Wait for the end; return the dataset's last view."""
        self._thread.join()
        return self._last

    def _poll(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=60) as http:
            while not self.states or self.states[-1] in ("receiving", "reading"):
                self._last = http.get(self.path).json()
                if self._last["state"] not in self.states[-1:]:
                    self.states.append(self._last["state"])
                ingest = self._service.task_pids()
                self.ingest_processes |= set(ingest)
                for name, processes in (("service", [self._service.process.pid]), ("ingest process", ingest)):
                    sizes = [
                        (_status_bytes(process, "VmHWM"), _status_bytes(process, "RssAnon")) for process in processes
                    ]
                    self.peaks[name] = tuple(map(max, zip(*sizes, self.peaks.get(name, (0, 0)), strict=True)))
                time.sleep(_POLL_SECONDS)


def _private_bytes(processes: list[int]) -> int:
    return sum(_status_bytes(process, "RssAnon") for process in processes)


def _status_bytes(process: int, field: str) -> int:
    """Return a field of /proc/PID/status; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


@contextmanager
def _probe(service: RunningService) -> Iterator[list[Response]]:
    """Send requests from another process; the list has the responses after the block."""
    command = [sys.executable, "-c", _PROBE, service.url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    responses: list[Response] = []
    try:
        yield responses
    finally:
        output, _ = process.communicate()
    responses += [tuple(response) for response in json.loads(output)]


_PROBE = "import sys; from benchmarks.large_upload import send_probes; send_probes(sys.argv[1])"


def send_probes(url: str) -> None:
    """Send requests in turn, some tens of times a second, until standard input ends."""
    responses: list[Response] = []
    with httpx.Client(base_url=url, timeout=60) as http:
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            for path in _PROBED_PATHS:
                started, exact = time.monotonic(), time.perf_counter()
                assert http.get(path).status_code == 200
                responses.append((started, path, 1e3 * (time.perf_counter() - exact)))
    print(json.dumps(responses))


def _print_latencies(phases: dict[str, list[tuple[str, float]]]) -> None:
    for path in _PROBED_PATHS:
        for phase, responses in phases.items():
            times = sorted(milliseconds for probed, milliseconds in responses if probed == path)
            p50, p99 = statistics.median(times), percentile(times, 0.99)
            print(f"GET {path}, {phase}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {times[-1]:.0f} ms, {len(times)}")


if __name__ == "__main__":
    main()
