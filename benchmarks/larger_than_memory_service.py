"""Training speed of a job of the service on data four times as large as the memory of its worker.

    python -m benchmarks.larger_than_memory_service [--rounds 3] [--seconds 60] [--directory DIRECTORY]

A service in a memory control group receives two .npy files over HTTP, and trains 1024-4096-4096-256 on them with
mini-batches of 1024 and adam, shuffled in blocks. In turn a service with the memory of the machine trains the same,
over the same data directory. DIRECTORY must be on a disk and have room for 12 GiB. Before each job the data are dropped
from the page cache. Rates are those between two checkpoints of a job, at the default interval. Needs the right to
create control groups.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.larger_than_memory import (
    BATCH,
    BYTES_PER_ROW,
    INPUTS,
    MEMORY_LIMIT,
    OUTPUTS,
    ROWS,
    drop_page_cache,
    write_arrays,
)
from benchmarks.support.cgroup import ControlGroup, require_control_group
from nabla import Client
from nabla.app.client import Job
from tests.support.service import RunningService

NETWORK: dict[str, Any] = {
    "name": "large",
    "inputs": INPUTS,
    "layers": [
        {"units": 4096, "activation": "relu"},
        {"units": 4096, "activation": "relu"},
        {"units": OUTPUTS, "activation": "softmax"},
    ],
    "cost": "categorical_cross_entropy",
    "initializer": "he_normal",
}
# The service writes 5 GiB to the disk before it answers.
_TIMEOUT = 600.0
# The checkpoint from which the rate is measured.
_FIRST_CHECKPOINT = 2


def main() -> None:
    """Compare a service with the limit to one without."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training in each job")
    parser.add_argument("--directory", type=Path, default=Path("/var/tmp"))
    options = parser.parse_args()
    print(f"{ROWS} rows, {ROWS * BYTES_PER_ROW / 2**30:.1f} GiB; limit {MEMORY_LIMIT / 2**30:.2f} GiB", flush=True)
    rates: dict[str, list[float]] = {"without the limit": [], "with the limit": []}
    with ExitStack() as stack:
        group = require_control_group(stack)
        group.set_limit(MEMORY_LIMIT)
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=options.directory)))
        _upload(directory, group)
        for _ in range(options.rounds):
            for mode, measured_rates in rates.items():
                load = os.getloadavg()[0]
                rate, shuffle_mode = _measure(directory, group if mode == "with the limit" else None, options.seconds)
                measured_rates.append(rate)
                print(f"{mode}: {rate:.0f} rows per second, shuffle mode {shuffle_mode}; load {load:.1f}", flush=True)
    reference = statistics.median(rates["without the limit"])
    for mode, measured_rates in rates.items():
        median = statistics.median(measured_rates)
        print(f"{mode}: {median:.0f} rows per second, {median / reference:.0%}")


def _start_service(stack: ExitStack, directory: Path, group: ControlGroup | None) -> RunningService:
    service = RunningService(directory / "data", max_upload_bytes=str(8 * MEMORY_LIMIT))
    stack.enter_context(service)
    if group is not None:
        group.add([service.process.pid])
    service.wait_until_ready()
    return service


def _upload(directory: Path, group: ControlGroup) -> None:
    with ExitStack() as stack:
        service = _start_service(stack, directory, group)
        client = stack.enter_context(Client(service.url, timeout=_TIMEOUT))
        source = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        write_arrays(source)
        drop_page_cache(source)
        started = time.perf_counter()
        dataset = client.upload_arrays(inputs=source / "x.npy", targets=source / "y.npy", name="large").view
        seconds = time.perf_counter() - started
        rate = dataset.bytes / 1e6 / seconds
        print(f"{dataset.rows} rows are ready after {seconds:.0f} s, {rate:.0f} MB/s", flush=True)


def _measure(directory: Path, group: ControlGroup | None, seconds: float) -> tuple[float, str]:
    """Return rows per second, and the job's shuffle mode."""
    with ExitStack() as stack:
        service = _start_service(stack, directory, group)
        client = stack.enter_context(Client(service.url, timeout=_TIMEOUT))
        dataset = client.get_dataset("large").id
        drop_page_cache(directory / "data" / "datasets" / dataset)
        job = client.create_job(
            client.create_network(**NETWORK),
            dataset,
            epochs=1000,
            batch_size=BATCH,
            learning_rate=1e-3,
            optimizer="adam",
            device="cpu",
        )
        started, first_row = _wait_for_checkpoint(service, job, _FIRST_CHECKPOINT)
        ended, last_row = _wait_for_checkpoint(service, job, started + timedelta(seconds=seconds))
        job.cancel()
        return (last_row - first_row) / (ended - started).total_seconds(), job.view.shuffle_mode


def _wait_for_checkpoint(service: RunningService, job: Job, after: datetime | int) -> tuple[datetime, int]:
    """Return time and trained rows of the first checkpoint after a time, or with at least a number."""
    while True:
        for checkpoint in job.list_checkpoints()[:1]:
            newest = checkpoint.number >= after if isinstance(after, int) else checkpoint.created_at > after
            if newest:
                path = f"/v1/jobs/{job.id}/checkpoints/{checkpoint.number}"
                return checkpoint.created_at, _trained_rows(service, path)
        view = job.refresh().view
        assert view.finished_at is None, view.error
        time.sleep(0.5)


def _trained_rows(service: RunningService, path: str) -> int:
    """Return how many rows a checkpoint has been trained on.

    It is a safetensors file: the length of a JSON header, the header, and arrays, which are not downloaded.
    """
    with service.http.stream("GET", path) as response:
        content = b""
        for chunk in response.iter_bytes():
            content += chunk
            length = int.from_bytes(content[:8], "little")
            if len(content) >= 8 + length:
                break
    position = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["position"])
    return int(position["epoch"] * ROWS + position["row"])


if __name__ == "__main__":
    main()
