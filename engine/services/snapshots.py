"""Weights of running jobs, as they were a moment ago."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nabla.engine.errors import Conflict, StorageFailed
from nabla.engine.nn.architecture import Architecture
from nabla.engine.records.job import Job
from nabla.engine.services.active_runs import Wishes
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import Classes, load_snapshot
from nabla.engine.training.model import Model
from nabla.engine.workers import training_protocol

# So long those who ask get the same one: a job is asked for its weights about once a second, however many want them.
_SECONDS_KEPT = 1.0


@dataclass(frozen=True)
class Snapshot:
    """What a job predicts with after `epoch` epochs; steps of the next one may be in it. `classes`: those that it is
    trained to tell apart."""

    job_id: str
    network_id: str
    epoch: int
    model: Model
    classes: Classes


@dataclass(frozen=True)
class _Arrived:
    """What came of asking, and when: a snapshot, or why there is none."""

    attempt: int
    at: float
    found: Snapshot | Exception


class Snapshots:
    """Of each running job the last one, for a second. `ask`, `is_awaited` and `recent` may be called from any thread;
    those who call the others hold the registry's lock."""

    def __init__(
        self,
        registry: Registry,
        folder: DataFolder,
        wishes: Wishes,
        say: Callable[[Job, training_protocol.TakeSnapshot], None],
    ) -> None:
        """`say`: to the worker that has the job."""
        self._registry = registry
        self._folder = folder
        self._wishes = wishes
        self._say = say
        self._arrived: dict[str, _Arrived] = {}

    def ask(self, job_id: str) -> None:
        """For the weights of a job, unless they have just come; `recent` has them when they are awaited no more. Raises
        Conflict, saying what predicts instead, if it does not run."""
        with self._registry.lock:
            job = self._registry.jobs.get(job_id)
            check_running(job)
            if self._of(job) is None and not self.is_awaited(job_id):
                self._wishes.take_snapshot(job_id)
                self._say(job, training_protocol.TakeSnapshot(job_id, job.attempt))

    def is_awaited(self, job_id: str) -> bool:
        """Whether the job was asked for its weights, which may still come."""
        return self._wishes.asks_for_snapshot(job_id)

    def recent(self, job: Job) -> Snapshot | None:
        """One that has just been taken of this attempt. Raises what came in its way."""
        arrived = self._of(job)
        if arrived is None:
            return None
        if isinstance(arrived.found, Exception):
            raise arrived.found
        return arrived.found

    def _of(self, job: Job) -> _Arrived | None:
        arrived = self._arrived.get(job.id)
        is_its_own = arrived is not None and job.state == "running" and arrived.attempt == job.attempt
        return arrived if is_its_own else None

    def load(self, job: Job, file: str, epoch: int) -> None:
        """A worker has written one. A thread reads it: nobody is to wait for that who does not want it."""
        network = self._registry.networks.get(job.network_id)
        path = self._folder.of_network(network.id) / file
        arguments = (job, path, network.architecture, epoch)
        threading.Thread(target=self._load, args=arguments, name="loading", daemon=True).start()

    def _load(self, job: Job, path: Path, architecture: Architecture, epoch: int) -> None:
        found: Snapshot | Exception
        try:
            model, classes = load_snapshot(path, architecture)
            found = Snapshot(job.id, job.network_id, epoch, model, classes)
        except Exception as problem:  # noqa: BLE001  # whoever waits gets it
            found = problem
        finally:
            path.unlink(missing_ok=True)
        with self._registry.lock:
            self._take(job, found)

    def failed(self, job: Job, message: str) -> None:
        """A worker could not write one."""
        self._take(job, StorageFailed(f"The weights of {job.id} could not be written: {message}"))

    def _take(self, job: Job, found: Snapshot | Exception) -> None:
        now = self._registry.jobs.at_hand(job.id)
        if now is not None and now.state == "running" and now.attempt == job.attempt:
            self._arrived[job.id] = _Arrived(job.attempt, time.monotonic(), found)
            self._wishes.snapshot_arrived(job.id)

    def drop_old(self, now: float) -> None:
        """Called every now and then, so that memory is not kept for those who may never ask again."""
        for job_id, arrived in tuple(self._arrived.items()):
            if now - arrived.at > _SECONDS_KEPT:
                del self._arrived[job_id]


def check_running(job: Job) -> None:
    """Raises Conflict, saying what predicts instead, if it is not."""
    if job.state != "running":
        raise Conflict(
            f"The job is {job.state}; only a job that is running predicts with the weights that it has. "
            f"{_instead_of(job)}"
        )


def _instead_of(job: Job) -> str:
    if job.network_version is not None:
        return f"Predict with version {job.network_version} of its network {job.network_id}."
    if job.state == "queued":
        return "Ask again when it has started."
    publish = "publish one of its checkpoints, and predict with its network"
    if job.state == "paused":
        return f"Resume it; or {publish}." if job.checkpoints else "Resume it, and ask again when it has started."
    return f"{publish.capitalize()}." if job.checkpoints else "It has left no weights."
