"""Composition root: builds all services from the settings, connects them, and starts and stops them."""

import asyncio
import threading
from dataclasses import dataclass
from typing import Self

from anyio import CapacityLimiter

from nabla.app.http.event_stream import EventBroadcaster, JobChanges
from nabla.app.http.idempotency import InFlightKeys
from nabla.app.inference_v2.repository import ModelRepository
from nabla.app.predictions.arrow import ArrowPredictions
from nabla.app.predictions.batching import PredictionBatcher
from nabla.app.settings import Settings
from nabla.engine.errors import StorageFailed
from nabla.engine.nn.cuda.devices import GpuInventory, detect_gpus
from nabla.engine.services.arrow_predictions import ArrowCodec
from nabla.engine.services.batch_predictions import BatchPredictions
from nabla.engine.services.checkpoints import Checkpoints
from nabla.engine.services.dataset_analysis import DatasetAnalysis
from nabla.engine.services.datasets import DatasetService
from nabla.engine.services.evaluations import EvaluationService
from nabla.engine.services.job_validation import JobLimits
from nabla.engine.services.jobs import JobService
from nabla.engine.services.networks import ModelTransfer, NetworkService
from nabla.engine.storage.data_dir import DataDir, remove_orphaned_files
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.workers.task_process import TaskProcess, UnreadableFile
from nabla.engine.workers.training_pool import Slot


@dataclass(frozen=True)
class EngineServices:
    """The services of the engine over an open data directory; they do not depend on an event loop."""

    data_dir: DataDir
    journal: Journal
    registry: Registry
    networks: NetworkService
    evaluations: EvaluationService
    model_transfer: ModelTransfer
    datasets: DatasetService
    dataset_analysis: DatasetAnalysis
    batch_predictions: BatchPredictions
    arrow_codec: ArrowCodec
    jobs: JobService
    checkpoints: Checkpoints

    @property
    def unready_reason(self) -> str | None:
        """Why no job would start now, as a sentence; None if one would."""
        if self.jobs.failure is not None:
            return self.jobs.failure
        try:
            self.data_dir.require_in_place()
        except StorageFailed as error:
            return str(error)
        if any(slot.state == "ready" for slot in self.jobs.slots):
            return None
        states = ", ".join(f"{slot.name} is {slot.state}" for slot in self.jobs.slots)
        return f"No slot has a ready worker: {states}."

    def start(self) -> None:
        """Start the workers, and resume unfinished ingests, jobs and batch predictions."""
        self.jobs.start()
        self.datasets.recover()
        self.batch_predictions.start()

    def abort_requests(self) -> None:
        """Fail the requests that are waiting for a task process."""
        self.model_transfer.close()
        self.arrow_codec.close()
        self.datasets.close()

    def close(self, shutdown_timeout: float) -> None:
        """Stop all processes, running jobs within the timeout, and close the data directory."""
        self.dataset_analysis.close()
        self.abort_requests()
        self.batch_predictions.stop()
        self.jobs.stop(shutdown_timeout)
        self.journal.close()
        self.data_dir.close()


@dataclass(frozen=True)
class Services(EngineServices):
    """All services that the routes use.

    Attributes:
        upload_threads: Limits the threads of requests that wait for a task process, so that other requests always get
            one.
    """

    settings: Settings
    job_changes: JobChanges
    event_streams: EventBroadcaster
    in_flight_keys: InFlightKeys
    batching: PredictionBatcher
    arrow_predictions: ArrowPredictions
    repository: ModelRepository
    upload_threads: CapacityLimiter

    @classmethod
    def connect(cls, settings: Settings, engine: EngineServices, loop: asyncio.AbstractEventLoop) -> Self:
        """Return all services for one event loop, with its event streams connected to the registry."""
        registry = engine.registry
        job_changes = JobChanges(loop)
        event_streams = EventBroadcaster(registry, loop, registry.last_event(), job_changes)
        registry.on_change, registry.on_reopen = event_streams.publish, event_streams.reset
        batching = PredictionBatcher(settings.max_pending_predictions, settings.max_inflight_bytes)
        return cls(
            **vars(engine),
            settings=settings,
            job_changes=job_changes,
            event_streams=event_streams,
            in_flight_keys=InFlightKeys(),
            batching=batching,
            arrow_predictions=ArrowPredictions(engine.arrow_codec, batching, settings.max_uploads),
            repository=ModelRepository(registry),
            upload_threads=CapacityLimiter(settings.max_uploads),
        )

    def close_streams(self) -> None:
        """End event streams and pending requests, because the service shuts down. Safe in a signal handler."""
        self.job_changes.close()
        self.event_streams.close()
        # Waiting for the task processes to end would block the signal handler.
        threading.Thread(target=self.abort_requests, name="abort-requests").start()


def open_engine(settings: Settings) -> EngineServices:
    """Open the data directory of the settings and recover everything in it.

    Raises:
        StorageFailed: The directory cannot be used, or another service uses it.
    """
    data_dir = DataDir(settings.data_dir)
    journal = Journal(data_dir.journal)
    registry = Registry(journal, unique_names=settings.unique_names)
    remove_orphaned_files(registry, data_dir)
    gpus = detect_gpus() if settings.gpus == "auto" else GpuInventory(unavailable_reason="NABLA_GPUS is set to none")
    slots = [Slot(f"cpu-{number}", settings.resolved_cores_per_cpu_slot) for number in range(settings.cpu_slots)]
    slots += [Slot(f"cuda-{gpu.index}", 1, gpu.index) for gpu in gpus.gpus]
    limits = JobLimits(
        settings.max_queued_jobs,
        settings.resolved_job_memory_limit,
        settings.memory_per_slot(len(slots)),
        settings.data_memory_limit,
    )
    jobs = JobService(registry, data_dir, slots, gpus, limits, settings.worker_timeout)
    jobs.recover()
    # One process per task class, so that profiling, ingest, model import and export, Arrow tables and batch predictions
    # never queue behind each other.
    ingest, profile, model_io = (
        TaskProcess(role, settings.task_memory_limit, settings.worker_timeout, UnreadableFile)
        for role in ("ingest", "profile", "model-io")
    )
    arrow = TaskProcess("arrow", settings.task_memory_limit, settings.worker_timeout)
    predict = TaskProcess("predict", settings.predict_task_memory_limit, settings.worker_timeout)
    networks = NetworkService(registry, data_dir, settings.max_parameters)
    return EngineServices(
        data_dir=data_dir,
        journal=journal,
        registry=registry,
        networks=networks,
        evaluations=EvaluationService(registry, data_dir, networks),
        model_transfer=ModelTransfer(registry, data_dir, model_io, settings.max_parameters),
        datasets=DatasetService(registry, data_dir, ingest, settings.max_uploads, settings.max_open_uploads),
        dataset_analysis=DatasetAnalysis(registry, data_dir, profile),
        batch_predictions=BatchPredictions(registry, data_dir, networks, predict, settings.max_batch_predictions),
        arrow_codec=ArrowCodec(data_dir, arrow, settings.max_upload_bytes, settings.max_pending_predictions),
        jobs=jobs,
        checkpoints=Checkpoints(registry, data_dir),
    )
