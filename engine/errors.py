"""Errors that the engine raises on purpose, and helpers for values in their messages. Any other exception is a bug.

NablaError
├── InvalidInput         the request is invalid; names the field
│   └── TooLarge         … it exceeds a limit of this service
├── NotFound             no such resource
├── Conflict             the request does not fit the current state
│   └── InProgress       … the same request is still running
├── TooMany              a queue of this service is full
├── Busy                 too many concurrent requests
├── Unavailable          the service is shutting down, or a job did not respond in time
├── Diverged             the cost or a weight became infinite or NaN
├── OutOfTime            the time limit ended a run before it had a result
└── StorageFailed        the data directory cannot be read or written
    ├── StorageFull      … no space is left on its disk
    └── Damaged          … a file or the journal is damaged
"""

MAX_LENGTH = 60
"""Characters of a value that a message shows."""


class NablaError(Exception):
    """Base of all errors. The message is a sentence for the user."""


class InvalidInput(NablaError):
    """Raised when a request cannot be carried out as it stands.

    Attributes:
        problems: Pairs of a dotted field path, such as `layers.1.activation`, and a sentence with the invalid
            value and the accepted ones.
    """

    def __init__(self, field: str, message: str, *others: tuple[str, str]) -> None:
        super().__init__(message)
        self.problems: tuple[tuple[str, str], ...] = ((field, message), *others)


class TooLarge(InvalidInput):
    """Raised when a request exceeds a limit of this service; the message names the limit."""


class NotFound(NablaError):
    """Raised when an id, a name or a tag refers to nothing.

    Attributes:
        kind: The kind of resource, such as `network`.
        field: The field of the request that has the reference, if it is not in the URL.
    """

    def __init__(self, kind: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field

    @classmethod
    def of(cls, kind: str, reference: str) -> "NotFound":
        """Return the error for an id or a name."""
        return cls(kind, f"There is no {kind} with the id or name {reference!r}.")


class Conflict(NablaError):
    """Raised when a valid request does not fit the state of its resource."""


class InProgress(Conflict):
    """Raised when a request with the same Idempotency-Key is still running; retry soon."""


class TooMany(NablaError):
    """Raised when a queue of jobs, batch predictions or uploads is full; retry later."""


class Busy(NablaError):
    """Raised when concurrent requests use all the memory or slots for them; retry in a moment."""


class Unavailable(NablaError):
    """Raised while the service is shutting down, and when a running job does not respond in time."""


class Diverged(NablaError):
    """Raised when the cost or a weight became infinite or NaN."""


class OutOfTime(NablaError):
    """Raised when its time limit ended a run before the first epoch, or with weights worse than those at the start."""


class StorageFailed(NablaError):
    """Raised when the data directory cannot be read or written."""


class StorageFull(StorageFailed):
    """Raised when no space is left on the disk of the data directory. Nothing has changed."""


class Damaged(StorageFailed):
    """Raised when a file or the journal is damaged."""


def shorten(text: str) -> str:
    """Return the text, cut after `MAX_LENGTH` characters."""
    return text if len(text) <= MAX_LENGTH else f"{text[:MAX_LENGTH]}…"


def quote(value: object) -> str:
    """Return a value as shortened text in quotes."""
    return repr(shorten(str(value)))
