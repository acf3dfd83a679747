"""A scenario is interrupted at every file operation: what was acknowledged is there.

The scenario runs once, and its file operations are recorded with the answers in between. Then the data directory is
replayed to each operation, as after kill -9 and as it could be after a loss of power, and opened as at a start. And the
scenario is really killed at two points. With NABLA_CHAOS_LONG=1 it is killed at every point, which takes over an
hour, and there are thirty losses of power at each.
"""

import json
import random
import select
import shutil
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from nabla.app.client import ConnectionFailed
from nabla.engine import durable_files
from nabla.engine.data.loading import open_raw
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir, remove_orphaned_files
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import load_checkpoint
from tests.chaos import LONG
from tests.chaos.conftest import start_recorded
from tests.chaos.fault_disk import Disk, Operation, read_log
from tests.chaos.service_lifecycle import Lifecycle
from tests.support.service import RunningService

LOSSES = 30 if LONG else 1


@dataclass
class Acknowledged:
    """What must be true, by the requests and answers up to a moment."""

    allowed: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, text: str) -> None:
        """Add a mark of the log."""
        verb, key, value = json.loads(text)
        self.allowed[key] = [value] if verb == "require" else [*self.allowed.get(key, [None]), value]

    def check(self, state: dict[str, Any], where: str) -> None:
        """Check what a start found."""
        for key, values in self.allowed.items():
            if values != [None] or key in state:
                assert state.get(key) in values, f"{where}: {key} is {state.get(key)}, expected one of {values}"


def open_state(path: Path) -> dict[str, Any]:
    """Open a data directory as at a start, read all its files, and return its state."""
    data_dir = DataDir(path)
    try:
        journal = Journal(data_dir.journal)
        try:
            registry = Registry(journal)
            catalog = NetworkService(registry, data_dir, 10**6)
            remove_orphaned_files(registry, data_dir)
            return read_state(registry, catalog, data_dir)
        finally:
            journal.close()
    finally:
        data_dir.close()


def read_state(registry: Registry, catalog: NetworkService, data_dir: DataDir) -> dict[str, Any]:
    state: dict[str, Any] = {}
    for network in registry.networks:
        state[f"network {network.id}"] = True
        state[f"versions {network.id}"] = len(network.versions)
        state[f"name {network.id}"], state[f"tags {network.id}"] = network.name, network.tags
        for version in network.versions:
            catalog.load_model(network, version.number)
    for dataset in registry.datasets:
        state[f"dataset {dataset.id}"] = True
        open_raw(dataset, data_dir.dataset_dir(dataset.id))
    for upload in registry.uploads:
        state[f"dataset {upload.id}"] = upload.state
        state[f"chunks {upload.id}"] = len(upload.chunks)
        for chunk in upload.chunks:
            durable_files.verify(data_dir.upload_dir(upload.id) / chunk.file)
    for batch in registry.batch_predictions:
        state[f"batch-prediction {batch.id}"] = batch.state
        if batch.file is not None:
            durable_files.verify(data_dir.batch_prediction_dir(batch.id) / batch.file)
    for job in registry.jobs.page(None, 1000)[0]:
        state[f"job {job.id}"] = "unfinished" if job.state in ("queued", "running") else job.state
        history = registry.history(job.id, 0, 10**6)
        assert [epoch.epoch for epoch in history] == [*range(1, job.epoch + 1)]
        for checkpoint in job.checkpoints:
            assert (
                load_checkpoint(data_dir.network_dir(job.network_id) / checkpoint.file).state.position.epoch
                == checkpoint.epoch
            )
    return state


def test_kill_9_at_any_point(operations: list[Operation], replay_dir: Path) -> None:
    check_every_point(operations, replay_dir, None)


@pytest.mark.parametrize("loss", range(LOSSES))
def test_loss_of_power_at_any_point(operations: list[Operation], replay_dir: Path, loss: int) -> None:
    check_every_point(operations, replay_dir, random.randrange(10**9))


def check_every_point(operations: list[Operation], replay_dir: Path, seed: int | None) -> None:
    """Replay to each operation, and check. `seed`: of losses of power; None for kill -9."""
    disk, acknowledged = Disk(), Acknowledged()
    for number, operation in enumerate(operations):
        if operation.kind == "mark":
            acknowledged.add(operation.path)
            continue
        # The directory is as after the operation before, which is what has been acknowledged since.
        disk.write_to(replay_dir, None if seed is None else random.Random(seed + number))
        where = f"before operation {number} ({operation.kind} {operation.path}, seed {seed})"
        try:
            acknowledged.check(open_state(replay_dir), where)
        except Exception as problem:
            raise AssertionError(f"{where}: {problem}") from problem
        disk.apply(operation)
    assert acknowledged.allowed


def test_kill_9_for_real(operations: list[Operation], library: Path, tmp_path: Path) -> None:
    """Kill the process that makes an operation, the service or a worker; then start a new service."""
    total = sum(operation.kind != "mark" for operation in operations)
    points = range(1, total + 1) if LONG else random.sample(range(1, total + 1), 2)

    def kill_at(point: int) -> float:
        directory = tmp_path / str(point)
        directory.mkdir()
        seconds = kill_and_restart(point, library, directory)
        shutil.rmtree(directory)
        return seconds

    with ThreadPoolExecutor(2) as pool:
        seconds = sorted(zip(pool.map(kill_at, points), points, strict=True))
    print(f"{total} operations; from the start to the first answer {seconds[len(seconds) // 2][0]:.2f} s, the median")
    print("slowest:", ", ".join(f"{taken:.2f} s at {point}" for taken, point in reversed(seconds[-5:])))


def kill_and_restart(point: int, library: Path, directory: Path) -> float:
    """Return the seconds until the first answer of the next service."""
    service, log = start_recorded(library, directory, kill=str(point))
    with service:
        with refuse_when_dead(service), suppress(httpx.TransportError, ConnectionFailed):
            Lifecycle(service, log).run()
        service.kill()
        del service.environment["LD_PRELOAD"]
        started = time.perf_counter()
        service.start()
        service.get("/v1/jobs")
        seconds = time.perf_counter() - started
        service.kill()
    acknowledged = Acknowledged()
    for operation in read_log(log):
        if operation.kind == "mark":
            acknowledged.add(operation.path)
    acknowledged.check(open_state(service.data_dir), f"killed at operation {point}")
    return seconds


@contextmanager
def refuse_when_dead(service: RunningService) -> Iterator[None]:
    """Close connections to a dead service: its socket stays open in this process, and requests would hang."""
    ended = threading.Event()

    def refuse() -> None:
        service.process.wait()
        while not ended.is_set():
            if select.select([service.socket], [], [], 0.05)[0]:
                service.socket.accept()[0].close()

    thread = threading.Thread(target=refuse)
    thread.start()
    try:
        yield
    finally:
        service.process.kill()
        ended.set()
        thread.join()


def test_missing_syncs_are_noticed_after_a_loss_of_power(operations: list[Operation], replay_dir: Path) -> None:
    """Without any sync, something acknowledged is lost: the check would notice."""
    unsynced = [operation for operation in operations if operation.kind != "sync"]
    with pytest.raises(AssertionError, match="before operation"):
        check_every_point(unsynced, replay_dir, 1)
