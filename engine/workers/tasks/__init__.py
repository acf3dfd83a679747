"""Tasks of sandboxed processes: each is a class with its input, and a method that runs it and returns the result.

The service imports these modules too, so imports that only a run needs are in `run`. A `Role` lists them: the process
loads them before its memory is limited, so that they do not count towards a task.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import msgspec

from nabla.engine.data.ingest_options import Progress
from nabla.engine.errors import Conflict, Damaged, InvalidInput, NablaError, StorageFailed, StorageFull, TooLarge

ResultT = TypeVar("ResultT", bound="TaskResult")
OnProgress = Callable[[Progress], None]
"""Called repeatedly with the progress of a task."""

# Error messages may quote a file at any length.
_MAX_MESSAGE_CHARACTERS = 4000

_ErrorKind = Literal["invalid", "too_large", "conflict", "storage_full", "storage_failed", "damaged", "internal"]
# Subclasses come before their bases.
_ERRORS: dict[_ErrorKind, type[NablaError]] = {
    "storage_full": StorageFull,
    "damaged": Damaged,
    "storage_failed": StorageFailed,
    "too_large": TooLarge,
    "invalid": InvalidInput,
    "conflict": Conflict,
    "internal": NablaError,
}


class TaskResult(msgspec.Struct, frozen=True, tag=True):
    """Base of the results of tasks. Files are referred to by name, in the output directory of the task."""


class Task(msgspec.Struct, Generic[ResultT], frozen=True, tag=True):
    """A unit of work for a sandboxed process. Paths are absolute."""

    MEMORY_ERROR: ClassVar[tuple[str, str]]
    """Field and message of the TooLarge for a task that needs more memory than its process may use."""

    @property
    def output_dirs(self) -> tuple[Path, ...]:
        """Directories that the task writes to; unfinished files of a crashed attempt are removed from them."""
        return ()

    def run(self, on_progress: OnProgress) -> ResultT:
        """Do the work. Raises NablaError."""
        raise NotImplementedError


class WritingTask(Task[ResultT], frozen=True, kw_only=True):
    """A task whose files are all written to one directory."""

    output_dir: str

    @property
    def output_dirs(self) -> tuple[Path, ...]:
        """Return that directory."""
        return (Path(self.output_dir),)


@dataclass(frozen=True)
class Role:
    """The tasks of one task process.

    Attributes:
        tasks: Their classes.
        imports: The modules that they import when they run.
    """

    tasks: tuple[type[Task[Any]], ...]
    imports: tuple[str, ...]


class TaskProgress(msgspec.Struct, frozen=True, tag=True):
    """Progress of a task, which also shows that the process does not hang."""

    progress: Progress


class TaskFailed(msgspec.Struct, frozen=True, tag=True):
    """The error that a task raised. `problems`: the fields and messages of an InvalidInput."""

    kind: _ErrorKind
    message: str
    problems: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_error(cls, error: NablaError) -> "TaskFailed":
        """Return the message for an error."""
        kind = next(kind for kind, type_ in _ERRORS.items() if isinstance(error, type_))
        problems = error.problems if isinstance(error, InvalidInput) else ()
        return cls(kind, _truncate(str(error)), tuple((field, _truncate(message)) for field, message in problems))

    def to_error(self) -> NablaError:
        """Return the error again, for the service to raise."""
        type_ = _ERRORS[self.kind]
        if issubclass(type_, InvalidInput):
            first, *others = self.problems
            return type_(*first, *others)
        return type_(self.message)


def _truncate(message: str) -> str:
    return message if len(message) <= _MAX_MESSAGE_CHARACTERS else f"{message[:_MAX_MESSAGE_CHARACTERS]}…"
