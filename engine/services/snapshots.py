"""Snapshots: the current weights of running jobs, for predictions while they train."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nabla.engine.errors import Conflict, StorageFailed
from nabla.engine.nn.architecture import Architecture
from nabla.engine.records.job import Job
from nabla.engine.services.active_runs import PendingControls
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import TrainedClasses, load_snapshot
from nabla.engine.training.model import Model
from nabla.engine.workers import training_protocol

# Requests within this time share a snapshot, so that a job writes about one a second however many clients predict.
_MAX_AGE_SECONDS = 1.0


@dataclass(frozen=True)
class Snapshot:
    """Weights of a running job, after `epoch` epochs and possibly some steps of the next.

    `classes` are those that the job trains on.
    """

    job_id: str
    network_id: str
    epoch: int
    model: Model
    classes: TrainedClasses


@dataclass(frozen=True)
class _Result:
    """Outcome of a request for a snapshot of an attempt, and when it arrived on the monotonic clock."""

    attempt: int
    at: float
    outcome: Snapshot | Exception


class Snapshots:
    """The latest snapshot of each running job, kept for a second.

    `request`, `is_pending` and `get_latest` may be called from any thread; callers of the others hold the registry's
    lock.
    """

    def __init__(
        self,
        registry: Registry,
        data_dir: DataDir,
        controls: PendingControls,
        send: Callable[[Job, training_protocol.TakeSnapshot], None],
    ) -> None:
        """Create an empty store; `send` passes a message to the worker that has the job."""
        self._registry = registry
        self._data_dir = data_dir
        self._controls = controls
        self._send = send
        self._results: dict[str, _Result] = {}

    def request(self, job_id: str) -> None:
        """Ask a job's worker for a snapshot unless there is a recent one; `get_latest` returns it when it has arrived.

        Raises:
            NotFound: There is no such job.
            Conflict: The job is not running. The message names an alternative.
        """
        with self._registry.lock:
            job = self._registry.jobs.get(job_id)
            require_running(job)
            if self._result_of(job) is None and not self.is_pending(job_id):
                self._controls.request_snapshot(job_id)
                self._send(job, training_protocol.TakeSnapshot(job_id, job.attempt))

    def is_pending(self, job_id: str) -> bool:
        """Return whether a snapshot of the job was requested and may still arrive."""
        return self._controls.is_snapshot_pending(job_id)

    def get_latest(self, job: Job) -> Snapshot | None:
        """Return the recent snapshot of this attempt, None if there is none; raise the error that prevented it."""
        result = self._result_of(job)
        if result is None:
            return None
        if isinstance(result.outcome, Exception):
            raise result.outcome
        return result.outcome

    def load(self, job: Job, file: str, epoch: int) -> None:
        """Start to load a worker's snapshot in a background thread, so that the scheduler is not blocked."""
        network = self._registry.networks.get(job.network_id)
        path = self._data_dir.network_dir(network.id) / file
        arguments = (job, path, network.architecture, epoch)
        threading.Thread(target=self._load, args=arguments, name="snapshot-loader", daemon=True).start()

    def fail(self, job: Job, message: str) -> None:
        """Note that the worker could not write a snapshot."""
        self._store(job, StorageFailed(f"The weights of {job.id} could not be written: {message}"))

    def drop_expired(self, now: float) -> None:
        """Free the memory of snapshots that are too old to be served."""
        for job_id, result in tuple(self._results.items()):
            if now - result.at > _MAX_AGE_SECONDS:
                del self._results[job_id]

    def _result_of(self, job: Job) -> _Result | None:
        """Return the result of this attempt; one of an earlier attempt is of other weights."""
        result = self._results.get(job.id)
        is_current = result is not None and job.state == "running" and result.attempt == job.attempt
        return result if is_current else None

    def _load(self, job: Job, path: Path, architecture: Architecture, epoch: int) -> None:
        outcome: Snapshot | Exception
        try:
            model, classes = load_snapshot(path, architecture)
            outcome = Snapshot(job.id, job.network_id, epoch, model, classes)
        except Exception as error:  # noqa: BLE001  # raised again by get_latest
            outcome = error
        finally:
            path.unlink(missing_ok=True)
        with self._registry.lock:
            self._store(job, outcome)

    def _store(self, job: Job, outcome: Snapshot | Exception) -> None:
        now = self._registry.jobs.get_cached(job.id)
        if now is not None and now.state == "running" and now.attempt == job.attempt:
            self._results[job.id] = _Result(job.attempt, time.monotonic(), outcome)
            self._controls.acknowledge_snapshot(job.id)


def require_running(job: Job) -> None:
    """Raise Conflict if the job is not running; the message names an alternative."""
    if job.state != "running":
        raise Conflict(
            f"The job is {job.state}; only a job that is running predicts with its current weights. "
            f"{_alternative_to(job)}"
        )


def _alternative_to(job: Job) -> str:
    if job.network_version is not None:
        return f"Predict with version {job.network_version} of its network {job.network_id}."
    if job.state == "queued":
        return "Ask again when it has started."
    publish = "publish one of its checkpoints and predict with its network"
    if job.state == "paused":
        return f"Resume it; or {publish}." if job.checkpoints else "Resume it, and ask again when it has started."
    return f"{publish.capitalize()}." if job.checkpoints else "It has no weights to predict with."
