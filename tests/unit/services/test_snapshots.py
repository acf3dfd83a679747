"""Weights of running jobs arrive as files: what comes too late is not believed, what is damaged is said, none stays."""

import threading
from datetime import UTC, datetime

import pytest

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.errors import Conflict, Damaged, StorageFailed
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.records.job import Interrupted, Job, Paused, Started
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.active_runs import Wishes
from nabla.engine.services.networks import Catalog
from nabla.engine.services.snapshots import Snapshots
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import save_snapshot
from nabla.engine.training.config import TrainingSpec
from nabla.engine.workers import training_protocol

JOB = "job_1"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
def network(registry: Registry, folder: DataFolder) -> NetworkRecord:
    architecture = Architecture(2, (Layer(3, "tanh"), Layer(1, "identity")), "quadratic")
    return Catalog(registry, folder, 1000).create_network(architecture, None)


class Asked:
    """Snapshots of a job that has been started once, what its worker was asked for, and who was told of an end."""

    def __init__(self, registry: Registry, folder: DataFolder, network: NetworkRecord) -> None:
        self.messages: list[training_protocol.TakeSnapshot] = []
        self.settled: list[str] = []
        self.registry = registry
        self.wishes = Wishes(self.settled.append)
        self.snapshots = Snapshots(registry, folder, self.wishes, lambda job, message: self.messages.append(message))
        self.folder = folder.of_network(network.id)
        self.architecture = network.architecture
        spec = TrainingSpec(epochs=1, batch_size=2, learning_rate=0.1)
        registry.add(registry.jobs, Job(JOB, None, network.id, "ds_1", spec, NOW))
        self.started = self.start()

    def start(self) -> Job:
        return self.registry.record(JOB, Started(NOW, "cpu"))

    def write(self) -> str:
        """A file as a worker writes it."""
        preprocessor = Preprocessor.plain(PreprocessingConfig())
        return save_snapshot(self.folder, Network(self.architecture), preprocessor, ("no", "yes")).name

    def load(self, job: Job, file: str) -> None:
        with self.registry.lock:
            self.snapshots.load(job, file, 3)
        for thread in threading.enumerate():
            if thread.name == "loading":
                thread.join()
        assert not (self.folder / file).exists()


@pytest.fixture
def asked(registry: Registry, folder: DataFolder, network: NetworkRecord) -> Asked:
    found = Asked(registry, folder, network)
    found.snapshots.ask(JOB)
    return found


def test_the_worker_is_asked_once(asked: Asked) -> None:
    asked.snapshots.ask(JOB)
    assert asked.messages == [training_protocol.TakeSnapshot(JOB, 1)]
    assert asked.snapshots.is_awaited(JOB)
    assert asked.snapshots.recent(asked.started) is None
    asked.load(asked.started, asked.write())
    found = asked.snapshots.recent(asked.started)
    assert found is not None
    assert (found.job_id, found.epoch, found.classes) == (JOB, 3, ("no", "yes"))
    assert found.model.network.parameters.tobytes() == Network(asked.architecture).parameters.tobytes()
    assert (asked.snapshots.is_awaited(JOB), asked.settled) == (False, [JOB])
    asked.snapshots.ask(JOB)
    assert len(asked.messages) == 1


def test_an_old_one_is_dropped_and_asked_for_anew(asked: Asked) -> None:
    asked.load(asked.started, asked.write())
    asked.snapshots.drop_old(0.0)
    assert asked.snapshots.recent(asked.started) is not None
    asked.snapshots.drop_old(float("inf"))
    assert asked.snapshots.recent(asked.started) is None
    asked.snapshots.ask(JOB)
    assert len(asked.messages) == 2


def test_what_comes_late_is_not_believed_of_another_attempt(asked: Asked) -> None:
    asked.registry.record(JOB, Interrupted(retried=True))
    asked.wishes.forget(JOB)
    again = asked.start()
    asked.snapshots.ask(JOB)
    assert asked.messages[-1] == training_protocol.TakeSnapshot(JOB, 2)
    asked.load(asked.started, asked.write())
    assert asked.snapshots.recent(again) is None
    assert asked.snapshots.is_awaited(JOB)


def test_one_that_has_come_is_not_given_by_another_attempt(asked: Asked) -> None:
    asked.load(asked.started, asked.write())
    waiting = asked.registry.record(JOB, Interrupted(retried=True))
    assert asked.snapshots.recent(waiting) is None
    assert asked.snapshots.recent(asked.start()) is None
    asked.snapshots.ask(JOB)
    assert asked.messages[-1] == training_protocol.TakeSnapshot(JOB, 2)


def test_a_job_that_does_not_run_is_not_asked(asked: Asked) -> None:
    asked.registry.record(JOB, Paused())
    with pytest.raises(Conflict, match="The job is paused; only a job that is running"):
        asked.snapshots.ask(JOB)


def test_a_file_that_is_cut_off_is_damaged(asked: Asked) -> None:
    file = asked.write()
    with (asked.folder / file).open("r+b") as content:
        content.truncate(100)
    asked.load(asked.started, file)
    assert not asked.snapshots.is_awaited(JOB)
    with pytest.raises(Damaged):
        asked.snapshots.recent(asked.started)


def test_a_worker_that_cannot_write_says_why(asked: Asked) -> None:
    with asked.registry.lock:
        asked.snapshots.failed(asked.started, "no room")
    assert not asked.snapshots.is_awaited(JOB)
    with pytest.raises(StorageFailed, match="no room"):
        asked.snapshots.recent(asked.started)
