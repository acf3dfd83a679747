"""Idempotency-Key: a repeated request creates nothing, and returns the record that the first one created."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

from fastapi import Header, Response
from pydantic import BaseModel

from nabla.engine.errors import InProgress, NotFound
from nabla.engine.storage.registry import IdempotencyKey, IdempotencyRecord, Registry

T = TypeVar("T")

IdempotencyKeyHeader = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="Any text. If a response was lost, repeat the request with the same key within 24 "
        "hours: nothing is created twice. The response has the same status and Location, and shows the current state "
        "of what the first request created (404 if that has been deleted).",
    ),
]


class InFlightKeys:
    """The keys of the requests that are running. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[str] = set()

    @contextmanager
    def hold(self, key: str) -> Iterator[None]:
        """Mark a key as in use within the block.

        Raises:
            InProgress: Another running request uses it.
        """
        with self._lock:
            if key in self._keys:
                raise InProgress("A request with this Idempotency-Key is still running; retry in a moment.")
            self._keys.add(key)
        try:
            yield
        finally:
            with self._lock:
                self._keys.remove(key)


class IdempotentRequest:
    """A request that creates something and may carry an Idempotency-Key.

    Example:
        A route creates a record, unless an earlier request with the same key has done so::

            with idempotent.claim(content):
                job = idempotent.replay(registry.jobs.get)
                if job is None:
                    job = service.submit(plan, idempotent.key(202))
                return idempotent.response(202, JobView.of(job), f"/v1/jobs/{job.id}")
    """

    def __init__(self, key: str | None, path: str, registry: Registry, in_flight: InFlightKeys) -> None:
        self._key = key
        self._path = path
        self._registry = registry
        self._in_flight = in_flight
        self._fingerprint = ""
        self._record: IdempotencyRecord | None = None

    @contextmanager
    def claim(self, content: bytes) -> Iterator[None]:
        """Hold the key, if there is one, within the block, and look up the record that it created.

        Args:
            content: The content of the request, or a digest of it: equal for equal requests to one path.

        Raises:
            InvalidInput: The key was used for another request.
            InProgress: Another running request uses the key.
        """
        if self._key is None:
            yield
            return
        with self._in_flight.hold(self._key):
            self._fingerprint = hashlib.sha256(self._path.encode() + b"\0" + content).hexdigest()
            self._record = self._registry.idempotency_record(self._key, self._fingerprint)
            yield

    def replay(self, find: Callable[..., T]) -> T | None:
        """Return what an earlier request with this key created, or None if this is the first one.

        Args:
            find: Returns the record by the ids that are stored with the key.

        Raises:
            NotFound: It has been deleted since.
        """
        if self._record is None:
            return None
        try:
            return find(*self._record.ids)
        except NotFound as error:
            raise NotFound(
                error.kind,
                f"The {error.kind} that this Idempotency-Key created was deleted; a new request needs a new key.",
                "Idempotency-Key",
            ) from error

    def key(self, status: int) -> IdempotencyKey | None:
        """Return the key to store with the new record, for a response with this status; None if there is none."""
        return None if self._key is None else IdempotencyKey(self._key, self._fingerprint, status)

    def response(self, status: int, view: BaseModel, location: str) -> Response:
        """Return the response for a record; a repeated request gets the status of the first one."""
        headers = {"Location": location}
        if self._record is not None:
            status = self._record.status
            headers["Idempotent-Replayed"] = "true"
        return Response(view.model_dump_json(), status, headers, "application/json")
