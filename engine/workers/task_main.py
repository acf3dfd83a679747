"""Main program of a sandboxed task process, which runs one task at a time.

Memory is limited with RLIMIT_DATA, so that a hostile file can only kill this process.

Started by the service as `python -m nabla.engine.workers.task_main ROLE BYTES DESCRIPTOR`. The role says which tasks
the process runs: it imports only their modules.
"""

import importlib
import queue
import sys
import time
from contextlib import suppress
from functools import reduce
from operator import or_
from typing import Any

from nabla.engine import durable_files
from nabla.engine.data.ingest_options import Progress
from nabla.engine.errors import NablaError, TooLarge
from nabla.engine.extras import is_optional
from nabla.engine.workers.ipc import ServiceConnection
from nabla.engine.workers.os_process import (
    ignore_interrupts,
    limit_memory,
    prioritize_as_background,
    prioritize_as_file_task,
)
from nabla.engine.workers.tasks import Role, Task, TaskFailed, TaskProgress, TaskResult

_PROGRESS_INTERVAL = 0.2
_MODULES = {
    "ingest": "datasets",
    "profile": "datasets",
    "model-io": "models",
    "arrow": "predictions",
    "predict": "predictions",
}


def load_role(name: str) -> Role:
    """Import the tasks of a role, and the modules that they need to run."""
    module = importlib.import_module(f"nabla.engine.workers.tasks.{_MODULES[name]}")
    role: Role = module.ROLES[name]
    for required in role.imports:
        try:
            importlib.import_module(required)
        except ModuleNotFoundError as error:
            if not is_optional(error.name):  # what is optional is reported by the tasks that need it
                raise
    return role


class _TaskLoop:
    def __init__(self, descriptor: int, role: Role) -> None:
        self._tasks: queue.SimpleQueue[Task[Any]] = queue.SimpleQueue()
        self._reported_at = 0.0
        self._connection: ServiceConnection[Task[Any]] = ServiceConnection(
            descriptor, reduce(or_, role.tasks), self._tasks.put
        )

    def run(self) -> None:
        while True:
            self._connection.send(self._run_task(self._tasks.get()))

    def _run_task(self, task: Task[Any]) -> TaskResult | TaskFailed:
        """Run a task, and turn every error into a message."""
        try:
            for directory in task.output_dirs:
                durable_files.remove_unfinished(directory)  # left by an attempt that crashed the process
            return self._run_limited(task)
        except NablaError as error:
            return TaskFailed.from_error(error)
        except Exception as error:  # noqa: BLE001  # any error ends this task, and not the process
            sys.excepthook(type(error), error, error.__traceback__)  # to the service's standard error
            return TaskFailed("internal", "Internal error; the log of the service has the details.")

    def _run_limited(self, task: Task[Any]) -> TaskResult:
        with suppress(MemoryError):
            result: TaskResult = task.run(self._report_progress)
            return result
        # Raised after the block, when the memory of the task is free for the message.
        raise TooLarge(*task.MEMORY_ERROR)

    def _report_progress(self, progress: Progress) -> None:
        now = time.monotonic()
        if now - self._reported_at >= _PROGRESS_INTERVAL:
            self._reported_at = now
            self._connection.send(TaskProgress(progress))


def main(arguments: list[str]) -> None:
    """Run tasks as the command line says, until the service is gone."""
    name, extra_bytes, descriptor = arguments
    ignore_interrupts()
    role = load_role(name)
    if name == "predict":
        prioritize_as_background()  # a batch prediction may take as long as training
    else:
        prioritize_as_file_task()
    limit_memory(int(extra_bytes))
    _TaskLoop(int(descriptor), role).run()


if __name__ == "__main__":
    main(sys.argv[1:])
