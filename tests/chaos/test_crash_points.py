"""A life of the service, broken off at every single thing that it does to its files: what was answered is there.

The life is lived once, and every operation on a file written down with the answers in between. Then the folder is made
as it was after each operation (kill -9), and as it could be after a loss of power there, and opened as at a start. The
long form, NABLA_CHAOS_LONG=1 pytest tests/chaos, looks at thirty losses of power at each point.
"""

import json
import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engine.data.opening import open_for_training
from engine.jobs.catalog import Catalog
from engine.jobs.folder import DataFolder
from engine.jobs.journal import Journal
from engine.jobs.registry import Registry
from engine.training.checkpoint import load_checkpoint
from tests.chaos import LONG
from tests.chaos.disk import Disk, Operation

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
        for version in network.versions:
            catalog.load(network, version.number)
    for dataset in registry.datasets:
        found[f"dataset {dataset.id}"] = True
        open_for_training(dataset, folder.of_dataset(dataset.id), 1, "float32")
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


def test_without_syncs_a_loss_of_power_is_seen(operations: list[Operation], place: Path) -> None:
    """The check has teeth: with every sync left out, something that was answered is lost."""
    unsynced = [operation for operation in operations if operation.kind != "sync"]
    with pytest.raises(AssertionError, match="before operation"):
        break_off(unsynced, place, 1)
