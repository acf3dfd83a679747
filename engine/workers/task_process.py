"""Sandboxed task processes as the service sees them: started on demand, replaced when they crash or hang."""

import logging
import threading
from collections.abc import Callable

from nabla.engine.errors import Conflict, InvalidInput, NablaError, Unavailable
from nabla.engine.machine import available_cores
from nabla.engine.workers.os_process import ChildProcess, describe_exit
from nabla.engine.workers.tasks import OnProgress, ResultT, Task, TaskFailed, TaskProgress
from nabla.engine.workers.tasks.datasets import PreviewResult, ProfileResult, StoredDatasets
from nabla.engine.workers.tasks.models import ExportedModel, ImportedModel
from nabla.engine.workers.tasks.predictions import DecodedArrow, EncodedArrow, PredictionFile

log = logging.getLogger(__name__)

# A task that crashes its process runs once more: the cause may be elsewhere, such as the kernel's OOM killer.
_MAX_ATTEMPTS = 2
# Arrow would start a thread for each core of the machine, and eight more for files.
_ARROW_THREADS = {"OMP_NUM_THREADS": str(available_cores()), "ARROW_IO_THREADS": str(available_cores())}
# RLIMIT_DATA counts memory that is only reserved. Arrow's own allocator reserves 128 MiB at its start, and that of the
# C library an arena for every thread.
_SMALL_RESERVE = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}

_Reply = (
    TaskProgress
    | TaskFailed
    | StoredDatasets
    | PreviewResult
    | ProfileResult
    | ImportedModel
    | ExportedModel
    | PredictionFile
    | DecodedArrow
    | EncodedArrow
)


class TaskCancelled(Conflict):
    """The owner of a task cancelled it."""

    def __init__(self) -> None:
        super().__init__("It was deleted before its task was done.")


class ProcessCrashed(NablaError):
    """The process ended, or hung, in every attempt to run a task."""

    def __init__(self, how: str) -> None:
        super().__init__(f"The task process ended {how}, {_MAX_ATTEMPTS} times.")


class UnreadableFile(InvalidInput):
    """The process ended, or hung, in every attempt to read a file."""

    def __init__(self, how: str) -> None:
        super().__init__(
            "file",
            f"The task process ended {how} while reading this file, {_MAX_ATTEMPTS} times: the file is damaged, or its "
            "kind is not supported.",
        )


class TaskProcess:
    """One process, which runs one task at a time. Methods may be called from any thread."""

    def __init__(
        self,
        role: str,
        memory_limit: int,
        timeout: float,
        crash_error: Callable[[str], NablaError] = ProcessCrashed,
    ) -> None:
        """Prepare a process; it is started with the first task.

        Args:
            role: Which tasks it runs; see `task_main`.
            memory_limit: Bytes that a task may use, on top of what the process has at its start.
            timeout: Seconds without progress after which the process counts as hung.
            crash_error: Creates the error for a task that crashes the process, from how the process ended.
        """
        self._role = role
        self._memory_limit = memory_limit
        self._timeout = timeout
        self._crash_error = crash_error
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._process: ChildProcess[_Reply] | None = None
        self._owner: str | None = None
        self._cancelled: set[str] = set()
        self._closed = False

    def run(self, owner: str, task: Task[ResultT], on_progress: OnProgress) -> ResultT:
        """Block until the process is free, then until the task is done.

        Args:
            owner: Id under which the task can be cancelled.
            task: The task.
            on_progress: Called in this thread with the progress of the task.

        Returns:
            The result of the task.

        Raises:
            NablaError: The error that the task raised, or the crash error if it crashes the process in every attempt.
            TaskCancelled: `cancel` was called for the owner.
            Unavailable: The service is shutting down.
        """
        with self._turn:
            try:
                for attempt in range(1, _MAX_ATTEMPTS + 1):
                    process = self._acquire(owner)
                    try:
                        return self._run_once(process, task, on_progress)
                    except (EOFError, OSError) as error:
                        how = self._reap(process, error)
                        log.warning("the %s process ended %s (attempt %d)", self._role, how, attempt)
                self._check_not_cancelled(owner)
                raise self._crash_error(how)
            finally:
                with self._state:
                    self._owner = None
                    self._cancelled.discard(owner)

    def cancel(self, owner: str) -> None:
        """Kill the process if it runs the owner's task, and reject the task if it comes later."""
        with self._state:
            self._cancelled.add(owner)
            if self._owner == owner and self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Kill the process. Tasks that run, or come later, raise Unavailable."""
        with self._state:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        with self._turn:
            if self._process is not None:
                self._reap(self._process, EOFError())

    def _acquire(self, owner: str) -> ChildProcess[_Reply]:
        """Return the process, started if necessary, to run a task of the owner."""
        with self._state:
            self._owner = owner
            self._check_not_cancelled(owner)
            if self._process is None:
                # It cannot ask the kernel to die with its parent: that would be the thread of this request.
                self._process = ChildProcess(
                    "nabla.engine.workers.task_main",
                    (self._role, self._memory_limit),
                    _Reply,
                    environment={**_ARROW_THREADS, **_SMALL_RESERVE, "OPENBLAS_NUM_THREADS": "1"},
                    timeout=self._timeout,
                )
            return self._process

    def _check_not_cancelled(self, owner: str) -> None:
        if self._closed:
            raise Unavailable("The service is shutting down. Retry when it is back.")
        if owner in self._cancelled:
            raise TaskCancelled

    def _run_once(self, process: ChildProcess[_Reply], task: Task[ResultT], on_progress: OnProgress) -> ResultT:
        process.channel.send(task)
        while True:
            match process.channel.receive():
                case TaskProgress(progress=progress):
                    on_progress(progress)
                case TaskFailed() as failure:
                    raise failure.to_error()
                case result:
                    return result  # type: ignore[return-value]  # of the type that the task has as its result

    def _reap(self, process: ChildProcess[_Reply], error: Exception) -> str:
        """End a process that failed with `error`, and return how it ended."""
        exit_code = process.close()
        with self._state:
            self._process = None
        if isinstance(error, TimeoutError):
            return f"after {self._timeout:.0f} seconds without progress"
        assert exit_code is not None
        return describe_exit(exit_code)
