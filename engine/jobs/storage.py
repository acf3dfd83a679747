"""Whether what happens can be recorded; where it cannot, nothing is started until another try shows that it can."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from engine.errors import StorageFailed
from engine.jobs.folder import DataFolder
from engine.jobs.registry import Registry

log = logging.getLogger(__name__)

# What could not be written is tried again so often.
_SECONDS_BETWEEN_TRIES = 1.0


class Storage:
    """Those who call it hold the registry's lock."""

    def __init__(self, registry: Registry, folder: DataFolder) -> None:
        self.failure: str | None = None
        """What could not be written, in a sentence; None while all is well."""
        self._registry = registry
        self._folder = folder
        self._tried_at = time.monotonic()

    @contextmanager
    def noting_failure(self, then: Callable[[], None] = lambda: None) -> Iterator[None]:
        """A journal that cannot be written does not end the thread that watches all workers. `then` is done about it
        besides."""
        try:
            yield
        except StorageFailed as problem:
            if self.failure != str(problem):
                log.critical("%s", problem)
            self.failure = str(problem)
            then()

    def notice(self) -> None:
        """A journal that failed under a request."""
        if self._registry.failed and not self.failure:
            self.failure = "The journal could not be written."

    def works_again(self) -> bool:
        """Find out, every now and then, whether what failed can be written again. Raises StorageFailed if not."""
        now = time.monotonic()
        if not self.failure or now - self._tried_at <= _SECONDS_BETWEEN_TRIES:
            return False
        self._tried_at = now
        self._folder.probe()
        self._registry.recover()
        self.failure = None
        log.warning("the data folder can be written again")
        return True
