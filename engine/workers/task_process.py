"""Processes that read files, look at datasets or predict them, as the service sees them: each started when it is first
needed, replaced when it dies or hangs, given one errand at a time."""

import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable

from nabla.engine.data.ingest_options import Progress
from nabla.engine.errors import Conflict, InvalidInput, NablaError, Unavailable
from nabla.engine.workers.ipc import Channel
from nabla.engine.workers.task_protocol import Advanced, Errand, Failed, FromChild, Result

log = logging.getLogger(__name__)

# A process that dies is given the same errand once more: the cause may be elsewhere.
_TRIES = 2
# What is only reserved counts to the limit on its memory. Arrow's own allocator reserves 128 MiB before it is asked for
# anything, and that of C an arena for every thread.
_THRIFTY = {"ARROW_DEFAULT_MEMORY_POOL": "system", "MALLOC_ARENA_MAX": "2"}


class GivenUp(Conflict):
    """Nobody wants to know any more."""

    def __init__(self) -> None:
        super().__init__("It was deleted before this was done.")


class Died(NablaError):
    """The process ended each time that it was given the same errand."""

    def __init__(self, how: str) -> None:
        super().__init__(f"The process that carried this out ended {how}, {_TRIES} times.")


class Unreadable(InvalidInput):
    """Files, or a dataset, that end the process each time that it reads them."""

    def __init__(self, how: str) -> None:
        super().__init__(
            "file",
            f"The process that reads files ended {how} when it read this, {_TRIES} times: it is damaged, or made in a "
            "way that is not known here.",
        )


class Child:
    """One process. Methods may be called from any thread."""

    def __init__(self, module: str, memory: int, silence: float, died: Callable[[str], NablaError] = Died) -> None:
        """`module`: what it runs; `memory`: bytes that an errand may take, besides what the process has from its start;
        `silence`: the seconds after which a process that tells of no progress is taken to hang; `died`: the error for
        an errand that it dies of, by how it ended."""
        self._module = module
        self._memory = memory
        self._died = died
        self._silence = silence
        self._turn = threading.Lock()
        self._state = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: Channel[FromChild] | None = None
        self._owner: str | None = None
        self._given_up: set[str] = set()
        self._closed = False

    def carry_out(self, owner: str, errand: Errand, advanced: Callable[[Progress], None]) -> Result:
        """Waits for its turn, then until it is done. `owner`: who may `give_up` on it.

        Raises what was raised there; what `died` makes if the process dies of it again and again; GivenUp, and
        Unavailable if the service ends.
        """
        with self._turn:
            try:
                for attempt in range(1, _TRIES + 1):
                    self._begin(owner)
                    try:
                        return self._ask(errand, advanced)
                    except (EOFError, OSError) as problem:
                        how = self._end(problem)
                        log.warning("the process of %s ended %s (attempt %d)", self._module, how, attempt)
                self._check_wanted(owner)
                raise self._died(how)
            finally:
                with self._state:
                    self._owner = None
                    self._given_up.discard(owner)

    def give_up(self, owner: str) -> None:
        """End what is done for `owner`, or will be."""
        with self._state:
            self._given_up.add(owner)
            if self._owner == owner and self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """End the process. What is still asked raises Unavailable."""
        with self._state:
            self._closed = True
            if self._process is not None:
                self._process.kill()
        with self._turn:
            if self._process is not None:
                self._end(EOFError())

    def _begin(self, owner: str) -> None:
        with self._state:
            self._owner = owner
            self._check_wanted(owner)
            if self._process is None:
                self._start()

    def _check_wanted(self, owner: str) -> None:
        if self._closed:
            raise Unavailable("The service is ending. Send it again when it is back.")
        if owner in self._given_up:
            raise GivenUp

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "nabla.engine.workers.task_main",
                    self._module,
                    str(theirs.fileno()),
                    str(self._memory),
                ],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "PYTHONSAFEPATH": "1", **_THRIFTY},
            )
        ours.settimeout(self._silence)
        self._channel = Channel(ours, FromChild)

    def _ask(self, errand: Errand, advanced: Callable[[Progress], None]) -> Result:
        assert self._channel is not None
        self._channel.send(errand)
        while True:
            match self._channel.receive():
                case Advanced(progress=progress):
                    advanced(progress)
                case Failed() as failed:
                    raise failed.error
                case result:
                    return result

    def _end(self, problem: Exception) -> str:
        """How the process ended, in words."""
        assert self._process is not None
        assert self._channel is not None
        hangs = isinstance(problem, TimeoutError)
        self._process.kill()
        exit_code = self._process.wait()
        self._channel.close()
        with self._state:
            self._process = self._channel = None
        if hangs:
            return f"after {self._silence:.0f} seconds without progress"
        return f"by signal {-exit_code}" if exit_code < 0 else f"with exit code {exit_code}"
