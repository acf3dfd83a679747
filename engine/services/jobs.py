"""Job service: submits, pauses, resumes, changes, cancels and deletes jobs, and recovers them at start-up."""

from datetime import UTC, datetime

from nabla.engine import durable_files
from nabla.engine.errors import Conflict, InvalidInput, TooMany
from nabla.engine.nn.cuda.devices import GpuInventory
from nabla.engine.records import ids
from nabla.engine.records.job import Cancelled, Changed, Interrupted, Job, Paused, Placed, Resumed, check
from nabla.engine.services.job_finalizer import JobFinalizer
from nabla.engine.services.job_validation import JobLimits, JobPlan, JobRequest, plan_job, require_can_succeed
from nabla.engine.services.scheduler import Scheduler
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.workers.training_pool import Slot


class JobService:
    """Turns requests about jobs into job events. Methods may be called from any thread."""

    def __init__(
        self,
        registry: Registry,
        data_dir: DataDir,
        slots: list[Slot],
        gpus: GpuInventory,
        limits: JobLimits,
        worker_timeout: float = 60.0,
    ) -> None:
        """Create the service with stopped workers; `gpus` says which GPUs have slots, or why there are none."""
        self.registry = registry
        self.gpus = gpus
        self._data_dir = data_dir
        self._limits = limits
        self._finalizer = JobFinalizer(registry, data_dir)
        self._scheduler = Scheduler(registry, data_dir, self._finalizer, slots, worker_timeout)
        self.snapshots = self._scheduler.snapshots

    def recover(self) -> None:
        """Requeue the jobs that were running when the last service process ended.

        A job that was placed on a GPU that is gone is placed on the CPU if it may run there with the same result.

        Raises:
            StorageFailed: The journal cannot be written.
        """
        with self.registry.lock:
            self._scheduler.requeue_orphans()
            for job in self.registry.jobs:
                auto = (job.spec.device, job.spec.precision) == ("auto", "full")
                if job.device_kind == "cuda" and not self.gpus.gpus and auto:
                    reason = (
                        f"The job was planned for a GPU, but none is available any more: {self.gpus.unavailable_reason}"
                    )
                    self.registry.record(job.id, Placed("cpu", reason))

    def start(self) -> None:
        """Start the workers."""
        self._scheduler.start()

    def stop(self, seconds: float) -> None:
        """Let running jobs save themselves for at most `seconds`, requeue them, and end every worker."""
        self._scheduler.stop(seconds)

    @property
    def failure(self) -> str | None:
        """Why no job starts, as a sentence; None in normal operation."""
        return self._scheduler.failure

    @property
    def slots(self) -> list[Slot]:
        """All slots."""
        return self._scheduler.slots

    def job_in(self, slot: Slot) -> str | None:
        """Return the id of the job that a slot's worker has."""
        return self._scheduler.job_in(slot)

    def is_pausing(self, job_id: str) -> bool:
        """Return whether a pause of a running job is pending."""
        return self._scheduler.is_pausing(job_id)

    def is_compiling(self, job: Job) -> bool:
        """Return whether a running job's worker compiles kernels, and training has not begun."""
        return self._scheduler.is_compiling(job)

    def has_pending_change(self, job_id: str) -> bool:
        """Return whether a pause or a learning-rate change of a running job is pending."""
        return self._scheduler.has_pending_change(job_id)

    def plan(self, request: JobRequest) -> JobPlan:
        """Return how a job would run; see `plan_job`."""
        cores = max(slot.cores for slot in self.slots if slot.kind == "cpu")
        return plan_job(request, self._limits, self._data_dir, cores, self.gpus)

    def submit(self, plan: JobPlan, idempotency: IdempotencyKey | None = None) -> Job:
        """Queue a planned job and return it as it was queued; it may be running already.

        Raises:
            InvalidInput: A job that it depends on has failed, or its start checkpoint was dropped since.
            NotFound: Something that it needs was deleted since it was planned.
            TooMany: The queue is full.
            StorageFailed: The job could not be journaled.
        """
        request = plan.request
        id = ids.new_id(ids.JOB)
        with self.registry.lock:
            self._check_current(request)
            job = Job(
                id,
                request.name,
                request.network.id,
                request.dataset.id,
                plan.spec,
                datetime.now(UTC),
                validation_dataset_id=request.validation.id if request.validation else None,
                device_kind=plan.device,
                device_reason=plan.device_reason,
                priority=request.priority,
                depends_on=tuple(other.id for other in request.depends_on),
                checkpointing=request.checkpointing,
                resume_from=(request.resume_from[0].id, request.resume_from[1].number) if request.resume_from else None,
                start_file=self._link_start_file(id, request),
                owned_datasets=tuple(dataset.id for dataset in request.owned_datasets),
            )
            self.registry.add(self.registry.jobs, job, idempotency)
            self._scheduler.dispatch()
            return job

    def cancel(self, job_id: str) -> Job:
        """Cancel a job at once; a worker that does not release it in time is replaced."""
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            cancelled = self._finalizer.finish(job, Cancelled(datetime.now(UTC)))
            self._scheduler.cancel(job)
            self._scheduler.dispatch()
            return cancelled

    def pause(self, job_id: str) -> Job:
        """Pause a queued job at once, and a running one as soon as its worker has saved it."""
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            check(job, Paused)
            if not self._scheduler.has_worker(job):
                # Its worker may have died while the journal could not be written.
                interrupted = (Interrupted(retried=False),) if job.state == "running" else ()
                return self.registry.record(job_id, *interrupted, Paused())
            self._scheduler.pause(job)
            return job

    def force_stop(self, job_id: str) -> None:
        """Kill the worker of a job that does not pause; the job is then paused at its last checkpoint."""
        with self.registry.lock:
            self._scheduler.force_stop(self.registry.jobs.get(job_id))

    def resume(self, job_id: str) -> Job:
        """Requeue a paused job by its priority and age, or withdraw a pause that is still pending."""
        with self.registry.lock:
            if self._scheduler.withdraw_pause(job_id):
                return self.registry.jobs.get(job_id)
            self.registry.record(job_id, Resumed())
            self._scheduler.dispatch()
            return self.registry.jobs.get(job_id)

    def change(self, job_id: str, priority: int | None, learning_rate: float | None) -> Job:
        """Change the priority or the learning rate of a job that has not ended.

        Both apply at once, except that a running job uses a new learning rate from the next epoch that begins.

        Raises:
            Conflict: The job has ended.
            InvalidInput: The learning rate is out of range, or the optimizer has none.
        """
        with self.registry.lock:
            job = self.registry.jobs.get(job_id)
            check(job, Changed)
            if learning_rate is not None:
                job.spec.with_learning_rate(learning_rate, 0)
            if learning_rate is None or not self._scheduler.has_worker(job):
                return self.registry.record(job_id, Changed(priority, learning_rate))
            if priority is not None:
                job = self.registry.record(job_id, Changed(priority))
            self._scheduler.set_learning_rate(job, learning_rate)
            return job

    def delete(self, job: Job) -> None:
        """Delete a finished job, its history and its checkpoints.

        Raises:
            Conflict: The job is not finished.
        """
        with self.registry.lock:
            now = self.registry.jobs.get(job.id)
            if not now.finished:
                raise Conflict(f"The job is {now.state}; cancel it before deleting it.")
            self._scheduler.fail_blocked_dependents()  # while the state of this job is known
            self.registry.remove(self.registry.jobs, now)
            self._finalizer.remove_files(now, now.files)

    def _check_current(self, request: JobRequest) -> None:
        """Check again what other requests may have changed since the job was planned."""
        waiting = sum(job.state in ("queued", "paused") for job in self.registry.jobs)
        if waiting >= self._limits.queued_jobs:
            raise TooMany(f"{waiting} jobs are queued or paused already, the maximum. Submit it again later.")
        for number, other in enumerate(request.depends_on):
            require_can_succeed(self.registry.jobs.get(other.id), f"depends_on.{number}")
        self.registry.networks.get(request.network.id)
        self.registry.datasets.get(request.dataset.id)
        if request.validation is not None:
            self.registry.datasets.get(request.validation.id)
        if request.resume_from is not None:
            job, checkpoint = request.resume_from
            if checkpoint not in self.registry.jobs.get(job.id).checkpoints:
                raise InvalidInput("resume_from.checkpoint", f"The job {job.id} has dropped this checkpoint meanwhile.")

    def _link_start_file(self, id: str, request: JobRequest) -> str | None:
        """Link the start checkpoint under a name of the new job, because the old job may be deleted."""
        if request.resume_from is None:
            return None
        file = request.resume_from[1].file
        directory = self._data_dir.network_dir(request.network.id)
        name = f"{id}-start.{file.split('.', 1)[1]}"
        durable_files.link_file(directory / file, directory / name)
        return name
