"""How fast a job of the service is whose data are four times as large as the memory that its worker may use.

    python -m benchmarks.larger_than_memory_in_service [--rounds 3] [--seconds 60] [--folder FOLDER]

A service in a memory control group gets two .npy files over HTTP, and trains 1024-4096-4096-256 on them with
mini-batches of 1024 and adam, shuffled in blocks. In turn one that has the memory of the machine trains the same, over
the same data folder. FOLDER has to be on a disk and to have room for 12 GiB. Before each job nothing of the data is in
memory. Rates are those between two checkpoints of a job, which are made as often as the service is set. Needs the right
to make control groups.
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

from benchmarks.control_group import ControlGroup, needed
from benchmarks.larger_than_memory import BATCH, BYTES_OF_ROW, INPUTS, LIMIT, OUTPUTS, ROWS, forget, write
from nabla.app.client import Client, Job
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
# Seconds without a sign of the service, which writes 5 GiB to the disk before it answers.
_PATIENCE = 600.0
# The checkpoint from which it is measured.
_AFTER = 2


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="of training in each job")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"))
    asked = parser.parse_args()
    print(f"{ROWS} rows, {ROWS * BYTES_OF_ROW / 2**30:.1f} GiB; limit {LIMIT / 2**30:.2f} GiB", flush=True)
    rates: dict[str, list[float]] = {"without the limit": [], "with it": []}
    with ExitStack() as stack:
        group = needed(stack)
        group.limit(LIMIT)
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=asked.folder)))
        _upload(folder, group)
        for _ in range(asked.rounds):
            for kind, found in rates.items():
                load = os.getloadavg()[0]
                rate, shuffle_mode = _measured(folder, group if kind == "with it" else None, asked.seconds)
                found.append(rate)
                print(f"{kind}: {rate:.0f} rows per second, shuffled by {shuffle_mode}; load {load:.1f}", flush=True)
    known = statistics.median(rates["without the limit"])
    for kind, found in rates.items():
        print(f"{kind}: {statistics.median(found):.0f} rows per second, {statistics.median(found) / known:.0%}")


def _service(stack: ExitStack, folder: Path, group: ControlGroup | None) -> RunningService:
    service = RunningService(folder / "data", max_upload_bytes=str(8 * LIMIT))
    stack.enter_context(service)
    if group is not None:
        group.take([service.process.pid])
    service.ready()
    return service


def _upload(folder: Path, group: ControlGroup) -> None:
    with ExitStack() as stack:
        service = _service(stack, folder, group)
        client = stack.enter_context(Client(service.url, timeout=_PATIENCE))
        source = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        write(source)
        forget(source)
        began = time.perf_counter()
        dataset = client.upload_arrays(inputs=source / "x.npy", targets=source / "y.npy", name="large").view
        seconds = time.perf_counter() - began
        print(
            f"{dataset.rows} rows are ready after {seconds:.0f} s, {dataset.bytes / 1e6 / seconds:.0f} MB/s", flush=True
        )


def _measured(folder: Path, group: ControlGroup | None, seconds: float) -> tuple[float, str]:
    """Rows per second, and what they are shuffled by."""
    with ExitStack() as stack:
        service = _service(stack, folder, group)
        client = stack.enter_context(Client(service.url, timeout=_PATIENCE))
        dataset = client.dataset("large").id
        forget(folder / "data" / "datasets" / dataset)
        job = client.create_job(
            client.create_network(**NETWORK),
            dataset,
            epochs=1000,
            batch_size=BATCH,
            learning_rate=1e-3,
            optimizer="adam",
            device="cpu",
        )
        began, first = _saved(service, job, _AFTER)
        ended, last = _saved(service, job, began + timedelta(seconds=seconds))
        job.cancel()
        return (last - first) / (ended - began).total_seconds(), job.view.shuffle_mode


def _saved(service: RunningService, job: Job, after: datetime | int) -> tuple[datetime, int]:
    """When a checkpoint was made, and how many rows it has been trained on: the first that can be had of those made
    after a time, or of those with at least that number."""
    while True:
        for one in job.checkpoints()[:1]:
            if (one.number >= after) if isinstance(after, int) else (one.created_at > after):
                return one.created_at, _rows(service, f"/v1/jobs/{job.id}/checkpoints/{one.number}")
        now = job.refresh().view
        assert now.finished_at is None, now.error
        time.sleep(0.5)


def _rows(service: RunningService, path: str) -> int:
    """Those that a checkpoint has been trained on. It is a safetensors file: the length of a header in JSON, then the
    header, then arrays, which are not asked for."""
    with service.http.stream("GET", path) as answer:
        content = b""
        for part in answer.iter_bytes():
            content += part
            length = int.from_bytes(content[:8], "little")
            if len(content) >= 8 + length:
                break
    position = json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["position"])
    return int(position["epoch"] * ROWS + position["row"])


if __name__ == "__main__":
    main()
