"""A life of the service, broken off at every single thing that it does to its files: what was answered is there.

The life is lived once, and every operation on a file written down with the answers in between. Then the folder is made
as it was after each operation (kill -9), and as it could be after a loss of power there, and opened as at a start. And
lives are killed for real, at two of these points. The long form, NABLA_CHAOS_LONG=1 pytest tests/chaos, does that at
each of them, which takes over an hour, and looks at thirty losses of power at each point.
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

from nabla.app.client import ConnectionLost
from nabla.engine import durable_files
from nabla.engine.data.loading import open_raw
from nabla.engine.services.networks import Catalog
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import load_checkpoint
from tests.chaos import LONG
from tests.chaos.conftest import watched
from tests.chaos.fault_disk import Disk, Operation, read_log
from tests.chaos.service_lifecycle import Life
from tests.support.service import RunningService

LOSSES = 30 if LONG else 1


@dataclass
class Known:
    """What has to be so, by what was asked and answered up to a moment."""

    allowed: dict[str, list[Any]] = field(default_factory=dict)

    def take(self, text: str) -> None:
        verb, key, value = json.loads(text)
        self.allowed[key] = [value] if verb == "did" else [*self.allowed.get(key, [None]), value]

    def check(self, found: dict[str, Any], where: str) -> None:
        for key, values in self.allowed.items():
            if values != [None] or key in found:
                assert found.get(key) in values, f"{where}: {key} is {found.get(key)}, expected one of {values}"


def opened(place: Path) -> dict[str, Any]:
    """What a start finds in the folder; all files of it are read."""
    folder = DataFolder(place)
    try:
        journal = Journal(folder.journal)
        try:
            registry = Registry(journal)
            catalog = Catalog(registry, folder, 10**6)
            catalog.sweep()
            return everything(registry, catalog, folder)
        finally:
            journal.close()
    finally:
        folder.close()


def everything(registry: Registry, catalog: Catalog, folder: DataFolder) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for network in registry.networks:
        found[f"network {network.id}"] = True
        found[f"versions {network.id}"] = len(network.versions)
        found[f"name {network.id}"], found[f"tags {network.id}"] = network.name, network.tags
        for version in network.versions:
            catalog.load(network, version.number)
    for dataset in registry.datasets:
        found[f"dataset {dataset.id}"] = True
        open_raw(dataset, folder.of_dataset(dataset.id))
    for upload in registry.uploads:
        found[f"dataset {upload.id}"] = upload.state
        found[f"chunks {upload.id}"] = len(upload.chunks)
        for piece in upload.chunks:
            durable_files.check(folder.of_upload(upload.id) / piece.file)
    for batch in registry.batches:
        found[f"batch-prediction {batch.id}"] = batch.state
        if batch.file is not None:
            durable_files.check(folder.of_batch(batch.id) / batch.file)
    for job in registry.jobs.page(None, 1000)[0]:
        found[f"job {job.id}"] = "unfinished" if job.state in ("queued", "running") else job.state
        history = registry.history(job.id, 0, 10**6)
        assert [epoch.epoch for epoch in history] == [*range(1, job.epoch + 1)]
        for saved in job.checkpoints:
            assert load_checkpoint(folder.of_network(job.network_id) / saved.file).position.epoch == saved.epoch
    return found


def test_kill_9_at_any_point(operations: list[Operation], place: Path) -> None:
    break_off(operations, place, None)


@pytest.mark.parametrize("loss", range(LOSSES))
def test_loss_of_power_at_any_point(operations: list[Operation], place: Path, loss: int) -> None:
    break_off(operations, place, random.randrange(10**9))


def break_off(operations: list[Operation], place: Path, seed: int | None) -> None:
    """`seed`: of what a loss of power leaves."""
    disk, known = Disk(), Known()
    for number, operation in enumerate(operations):
        if operation.kind == "mark":
            known.take(operation.path)
            continue
        # What was answered since the operation before is checked with that one done.
        disk.write_to(place, None if seed is None else random.Random(seed + number))
        where = f"before operation {number} ({operation.kind} {operation.path}, seed {seed})"
        try:
            known.check(opened(place), where)
        except Exception as problem:
            raise AssertionError(f"{where}: {problem}") from problem
        disk.apply(operation)
    assert known.allowed


def test_kill_9_for_real(operations: list[Operation], library: Path, tmp_path: Path) -> None:
    """The process that makes the operation is killed, the service or a worker; then a new service answers."""
    total = sum(operation.kind != "mark" for operation in operations)
    points = range(1, total + 1) if LONG else random.sample(range(1, total + 1), 2)

    def killed(point: int) -> float:
        folder = tmp_path / str(point)
        folder.mkdir()
        seconds = killed_at(point, library, folder)
        shutil.rmtree(folder)
        return seconds

    with ThreadPoolExecutor(2) as pool:
        seconds = sorted(zip(pool.map(killed, points), points, strict=True))
    print(f"{total} operations; from the start to the first answer {seconds[len(seconds) // 2][0]:.2f} s, the median")
    print("slowest:", ", ".join(f"{taken:.2f} s at {point}" for taken, point in reversed(seconds[-5:])))


def killed_at(point: int, library: Path, folder: Path) -> float:
    """The seconds that the first answer of the next service takes."""
    service, log = watched(library, folder, chaos_kill=str(point))
    with service:
        with refused_when_dead(service), suppress(httpx.TransportError, ConnectionLost):
            Life(service, log).live()
        service.kill()
        del service.environment["LD_PRELOAD"]
        started = time.perf_counter()
        service.start()
        service.get("/v1/jobs")
        seconds = time.perf_counter() - started
        service.kill()
    known = Known()
    for operation in read_log(log):
        if operation.kind == "mark":
            known.take(operation.path)
    known.check(opened(service.folder), f"killed at operation {point}")
    return seconds


@contextmanager
def refused_when_dead(service: RunningService) -> Iterator[None]:
    """The socket stays open when the service is dead, and nobody would answer: what comes is turned away then."""
    ended = threading.Event()

    def turn_away() -> None:
        service.process.wait()
        while not ended.is_set():
            if select.select([service.socket], [], [], 0.05)[0]:
                service.socket.accept()[0].close()

    thread = threading.Thread(target=turn_away)
    thread.start()
    try:
        yield
    finally:
        service.process.kill()
        ended.set()
        thread.join()


def test_without_syncs_a_loss_of_power_is_seen(operations: list[Operation], place: Path) -> None:
    """The check has teeth: with every sync left out, something that was answered is lost."""
    unsynced = [operation for operation in operations if operation.kind != "sync"]
    with pytest.raises(AssertionError, match="before operation"):
        break_off(unsynced, place, 1)
