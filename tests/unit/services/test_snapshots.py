"""Snapshots of running jobs: sharing, expiry, late and damaged files; no worker runs."""

import threading
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.errors import Conflict, Damaged, StorageFailed
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from nabla.engine.records.job import Interrupted, Job, Paused, Started
from nabla.engine.records.network import NetworkRecord
from nabla.engine.services.active_runs import PendingControls
from nabla.engine.services.networks import NetworkService
from nabla.engine.services.snapshots import Snapshots
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.journal import JournalEntry
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import save_snapshot
from nabla.engine.training.config import TrainingSpec
from nabla.engine.workers import training_protocol

JOB = "job_1"
NOW = datetime(2026, 1, 31, tzinfo=UTC)


@pytest.fixture
def network(networks: NetworkService) -> NetworkRecord:
    architecture = Architecture(2, (Layer(3, "tanh"), Layer(1, "identity")), "quadratic")
    return networks.create_network(architecture, None)


class Harness:
    """Snapshots of a job that has been started once, with the messages to its worker and the settled requests."""

    def __init__(self, registry: Registry, data_dir: DataDir, network: NetworkRecord) -> None:
        self.messages: list[training_protocol.TakeSnapshot] = []
        self.settled: list[str] = []
        self.registry = registry
        self.controls = PendingControls(registry)
        self.snapshots = Snapshots(
            registry, data_dir, self.controls, lambda job, message: self.messages.append(message)
        )
        self.directory = data_dir.network_dir(network.id)
        self.architecture = network.architecture
        spec = TrainingSpec(epochs=1, batch_size=2, learning_rate=0.1)
        registry.add(registry.jobs, Job(JOB, None, network.id, "ds_1", spec, NOW))
        registry.on_change = self.on_change
        self.started = self.start()

    def on_change(self, job: Job, events: Sequence[JournalEntry]) -> None:
        if not events:
            self.settled.append(job.id)

    def start(self) -> Job:
        return self.registry.record(JOB, Started(NOW, "cpu"))

    def write(self) -> str:
        """Write a snapshot file as a worker does."""
        preprocessor = Preprocessor.identity(PreprocessingConfig())
        return save_snapshot(self.directory, Network(self.architecture), preprocessor, ("no", "yes")).name

    def load(self, job: Job, file: str) -> None:
        with self.registry.lock:
            self.snapshots.load(job, file, 3)
        for thread in threading.enumerate():
            if thread.name == "snapshot-loader":
                thread.join()
        assert not (self.directory / file).exists()


@pytest.fixture
def harness(registry: Registry, data_dir: DataDir, network: NetworkRecord) -> Harness:
    """Return a harness whose worker has been asked for a snapshot."""
    harness = Harness(registry, data_dir, network)
    harness.snapshots.request(JOB)
    return harness


def test_concurrent_requests_share_one_snapshot(harness: Harness) -> None:
    harness.snapshots.request(JOB)
    assert harness.messages == [training_protocol.TakeSnapshot(JOB, 1)]
    assert harness.snapshots.is_pending(JOB)
    assert harness.snapshots.get_latest(harness.started) is None
    harness.load(harness.started, harness.write())
    snapshot = harness.snapshots.get_latest(harness.started)
    assert snapshot is not None
    assert (snapshot.job_id, snapshot.epoch, snapshot.classes) == (JOB, 3, ("no", "yes"))
    assert snapshot.model.network.parameters.tobytes() == Network(harness.architecture).parameters.tobytes()
    assert (harness.snapshots.is_pending(JOB), harness.settled) == (False, [JOB])
    harness.snapshots.request(JOB)
    assert len(harness.messages) == 1


def test_expired_snapshot_is_dropped_and_requested_again(harness: Harness) -> None:
    harness.load(harness.started, harness.write())
    harness.snapshots.drop_expired(0.0)
    assert harness.snapshots.get_latest(harness.started) is not None
    harness.snapshots.drop_expired(float("inf"))
    assert harness.snapshots.get_latest(harness.started) is None
    harness.snapshots.request(JOB)
    assert len(harness.messages) == 2


def test_late_file_of_an_earlier_attempt_is_ignored(harness: Harness) -> None:
    harness.registry.record(JOB, Interrupted(retried=True))
    harness.controls.clear(JOB)
    again = harness.start()
    harness.snapshots.request(JOB)
    assert harness.messages[-1] == training_protocol.TakeSnapshot(JOB, 2)
    harness.load(harness.started, harness.write())
    assert harness.snapshots.get_latest(again) is None
    assert harness.snapshots.is_pending(JOB)


def test_snapshot_of_an_earlier_attempt_is_not_served(harness: Harness) -> None:
    harness.load(harness.started, harness.write())
    waiting = harness.registry.record(JOB, Interrupted(retried=True))
    assert harness.snapshots.get_latest(waiting) is None
    assert harness.snapshots.get_latest(harness.start()) is None
    harness.snapshots.request(JOB)
    assert harness.messages[-1] == training_protocol.TakeSnapshot(JOB, 2)


def test_request_for_a_paused_job_is_refused(harness: Harness) -> None:
    harness.registry.record(JOB, Paused())
    with pytest.raises(Conflict, match="The job is paused; only a job that is running"):
        harness.snapshots.request(JOB)


def test_truncated_file_is_damaged(harness: Harness) -> None:
    file = harness.write()
    with (harness.directory / file).open("r+b") as content:
        content.truncate(100)
    harness.load(harness.started, file)
    assert not harness.snapshots.is_pending(JOB)
    with pytest.raises(Damaged):
        harness.snapshots.get_latest(harness.started)


def test_failed_write_is_reported_to_the_client(harness: Harness) -> None:
    with harness.registry.lock:
        harness.snapshots.fail(harness.started, "no room")
    assert not harness.snapshots.is_pending(JOB)
    with pytest.raises(StorageFailed, match="no room"):
        harness.snapshots.get_latest(harness.started)
