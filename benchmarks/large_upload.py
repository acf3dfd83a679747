"""A CSV file much larger than the memory that there is, through the service.

    python -m benchmarks.large_upload [--gigabytes 4] [--spare 1] [--folder FOLDER]

The service is in a memory control group that leaves it `--spare` GiB beside what it holds when it is ready. Rows are
made while they are sent. Meanwhile, and before, when nothing else goes on, another process asks for /health/live and
/v1/jobs in turn. FOLDER has to be on a disk and to have twice the room. Without the right to make control groups what
reading may take is limited by NABLA_TASK_MEMORY_LIMIT alone, and that is said.
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

from benchmarks.control_group import ControlGroup, control_group
from tests.support.service import RunningService

COLUMNS = 20
_ROWS_AT_ONCE = 2**15
_SECONDS_IDLE = 20.0
_SECONDS_BETWEEN_LOOKS = 0.2
_PATHS = ("/health/live", "/v1/jobs")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--gigabytes", type=float, default=4.0)
    parser.add_argument("--spare", type=float, default=1.0, help="GiB")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    asked = parser.parse_args()
    size = int(asked.gigabytes * 10**9)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")
    with ExitStack() as stack:
        group = _group(stack)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=asked.folder)))
        service = stack.enter_context(RunningService(folder / "data", max_upload_bytes=str(2 * size)))
        if group is not None:
            group.take([service.process.pid])
        service.ready()
        if group is not None:
            most = _held([service.process.pid, *service.workers()]) + int(asked.spare * 2**30)
            group.limit(most)
            print(f"the service and its processes have {most / 2**20:,.0f} MiB")
        phases = _through(service, size)
        if group is not None:
            print(f"peak of the group {group.peak / 2**20:,.0f} MiB, pages of files included")
        _tell(phases)


def _group(stack: ExitStack) -> ControlGroup | None:
    try:
        return stack.enter_context(control_group())
    except OSError as problem:
        print(f"No memory control group can be made here ({problem}); NABLA_TASK_MEMORY_LIMIT is the only limit.")
        return None


def _through(service: RunningService, size: int) -> dict[str, list[tuple[str, float]]]:
    """The answers to the questions asked meanwhile, path and milliseconds, by what went on."""
    began: dict[str, float] = {}
    with _asking(service) as answers:
        began["idle"] = time.monotonic()
        time.sleep(_SECONDS_IDLE)
        watch = _Watch(service, service.post("/v1/datasets", {"upload": "rows", "label": "class"})["id"])
        began["receiving"] = time.monotonic()
        sent = _send(service, watch.path, size)
        began["reading"] = time.monotonic()
        closed = service.http.post(f"{watch.path}/close", headers={"Prefer": "respond-async"})
        assert closed.status_code == 202, closed.text
        last = watch.ended()
        began["ended"] = time.monotonic()
    print(" → ".join(watch.states), last["errors"] or "")
    print(f"{sent / 1e9:.2f} GB, {last['rows'] or 0:,} rows")
    for phase, next_phase in (("receiving", "reading"), ("reading", "ended")):
        seconds = began[next_phase] - began[phase]
        print(f"{phase}: {sent / 1e6 / seconds:,.0f} MB/s, {seconds:.0f} seconds")
    for who, (whole, own) in watch.peaks.items():
        print(f"peak memory of the {who}: {own / 2**20:,.0f} MiB, and with pages of files {whole / 2**20:,.0f} MiB")
    print(f"readers begun: {len(watch.readers)}")
    phases: dict[str, list[tuple[str, float]]] = {phase: [] for phase in began if phase != "ended"}
    for at, path, milliseconds in answers:
        before = [phase for phase, since in began.items() if since <= at]
        if before and before[-1] != "ended":
            phases[before[-1]].append((path, milliseconds))
    return phases


def _send(service: RunningService, path: str, size: int) -> int:
    """Bytes. Never more than some rows are in memory here."""
    sent = 0

    def rows() -> Iterator[bytes]:
        nonlocal sent
        for part in _csv():
            if sent >= size:
                return
            sent += len(part)
            yield part

    answer = service.http.post(f"{path}/rows", content=rows(), headers={"Content-Type": "text/csv"})
    assert answer.status_code == 201, answer.text
    return sent


def _csv() -> Iterator[bytes]:
    """A header, and rows without end: numbers with few and with many digits, a category and a class. They begin anew
    after a while, so that making them takes less time than anything that is measured."""
    generator = np.random.default_rng(0)
    columns: dict[str, Any] = {f"x{number}": generator.random(_ROWS_AT_ONCE) for number in range(COLUMNS // 2 - 1)}
    columns |= {f"n{number}": generator.integers(0, 1000, _ROWS_AT_ONCE) for number in range(COLUMNS // 2 - 1)}
    columns["kind"] = np.array(["red", "green", "blue", "white"])[generator.integers(0, 4, _ROWS_AT_ONCE)]
    columns["class"] = generator.integers(0, 10, _ROWS_AT_ONCE)
    sink = pa.BufferOutputStream()
    pa.csv.write_csv(pa.table(columns), sink)
    header, newline, rows = sink.getvalue().to_pybytes().partition(b"\n")
    yield header + newline
    while True:
        yield rows


class _Watch:
    """Looks at a dataset and at the memory of processes until it is ready or failed: `states` in their order, and
    `peaks`, in bytes: all that a process held, and of that what is its own and no page of a file."""

    def __init__(self, service: RunningService, dataset: str) -> None:
        self.path = f"/v1/datasets/{dataset}"
        self.states: list[str] = []
        self.peaks: dict[str, tuple[int, int]] = {}
        self.readers: set[int] = set()
        self._service = service
        self._last: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def ended(self) -> dict[str, Any]:
        self._thread.join()
        return self._last

    def _look(self) -> None:
        with httpx.Client(base_url=self._service.url, timeout=60) as http:
            while not self.states or self.states[-1] in ("receiving", "reading"):
                self._last = http.get(self.path).json()
                if self._last["state"] not in self.states[-1:]:
                    self.states.append(self._last["state"])
                readers = self._service.readers()
                self.readers |= set(readers)
                for who, processes in (("service", [self._service.process.pid]), ("reader", readers)):
                    found = [(_status(process, "VmHWM"), _status(process, "RssAnon")) for process in processes]
                    self.peaks[who] = tuple(map(max, zip(*found, self.peaks.get(who, (0, 0)), strict=True)))
                time.sleep(_SECONDS_BETWEEN_LOOKS)


def _held(processes: list[int]) -> int:
    """Bytes that no file has."""
    return sum(_status(process, "RssAnon") for process in processes)


def _status(process: int, field: str) -> int:
    """Bytes; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(f"{field}:")), 0)


@contextmanager
def _asking(service: RunningService) -> Iterator[list[tuple[float, str, float]]]:
    """Another process asks; its answers, when they began, of what, and their milliseconds, are there at the end."""
    command = [sys.executable, "-c", _ASK, service.url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    answers: list[tuple[float, str, float]] = []
    try:
        yield answers
    finally:
        told, _ = process.communicate()
    answers += [tuple(answer) for answer in json.loads(told)]


_ASK = "import sys; from benchmarks.large_upload import ask; ask(sys.argv[1])"


def ask(url: str) -> None:
    """In turn, some tens of times a second, until standard input ends."""
    answers = []
    with httpx.Client(base_url=url, timeout=60) as http:
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            for path in _PATHS:
                began, exact = time.monotonic(), time.perf_counter()
                assert http.get(path).status_code == 200
                answers.append((began, path, 1e3 * (time.perf_counter() - exact)))
    print(json.dumps(answers))


def _tell(phases: dict[str, list[tuple[str, float]]]) -> None:
    for path in _PATHS:
        for phase, answers in phases.items():
            found = sorted(milliseconds for asked, milliseconds in answers if asked == path)
            p50, p99 = statistics.median(found), found[int(0.99 * len(found))]
            print(f"GET {path}, {phase}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, longest {found[-1]:.0f} ms, {len(found)}")


if __name__ == "__main__":
    main()
