"""The tree of errors.

NablaError
├── InvalidInput         the caller asked for something that cannot be; names the field
│   └── TooLarge         … because it is beyond a limit of this service
├── NotFound             an id or a name that stands for nothing
├── Conflict             what is asked does not fit the present state
│   └── InProgress       … because the same is being done already
├── TooMany              as much waits already as this service takes
├── Busy                 as much is being done as this service does at once
├── Unavailable          the service is ending
├── Diverged             a cost or a weight left the finite numbers
└── StorageFailed        the data folder cannot be read or written
    ├── StorageFull      … because there is no space left on its disk
    └── Damaged          what is stored is not what was written
"""


class NablaError(Exception):
    """Anything the engine refuses or reports. Its message is a sentence for the user."""


class InvalidInput(NablaError):
    """A request that cannot be carried out as it stands.

    `problems` are pairs of a dotted field path (`layers.1.activation`) and a sentence that says what is accepted.
    """

    def __init__(self, field: str, message: str, *others: tuple[str, str]) -> None:
        super().__init__(message)
        self.problems: tuple[tuple[str, str], ...] = ((field, message), *others)


class TooLarge(InvalidInput):
    """More than this service takes; the message names the limit."""


class NotFound(NablaError):
    """There is no such resource of `kind`. `field`: where a request that is about something else speaks of it."""

    def __init__(self, kind: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.field = field

    @classmethod
    def of(cls, kind: str, reference: str) -> "NotFound":
        """Of an id or a name."""
        return cls(kind, f"There is no {kind} with the id or name {reference!r}.")


class Conflict(NablaError):
    """The request is sound but does not fit the state of what it addresses."""


class InProgress(Conflict):
    """The same is being done already; in a moment there will be an answer to it."""


class TooMany(NablaError):
    """As much waits already as this service takes; it may take more later."""


class Unavailable(NablaError):
    """The service is ending; it may be back soon."""


class Busy(NablaError):
    """As much is being done at this moment as this service does at once; the next moment it may be less."""


class Diverged(NablaError):
    """The cost or a weight became infinite or not a number."""


class StorageFailed(NablaError):
    """The data folder could not be read or written."""


class StorageFull(StorageFailed):
    """There is no space left where the data folder is. Nothing has changed."""


class Damaged(StorageFailed):
    """What is stored is not what was written."""
