"""What may go wrong between a program and the service.

NablaError
├── ServiceError            the service refused: `status`, and `problem`, its whole problem document
│   ├── BadRequest          400, 413, 415 …: it could not read the request
│   │   └── TooLarge        413
│   ├── NotFound            404
│   ├── Conflict            409: it does not fit the present state
│   │   └── InProgress      the same request is being carried out; `retry_after` seconds
│   ├── Invalid             422: `field` is the first that is wrong, `errors` are all of them
│   ├── TooMany             429: `retry_after` seconds
│   └── ServiceFailed       500 and above: what the client cannot have caused
│       └── Unavailable     503: not at the moment; `retry_after` seconds
├── ConnectionLost          no answer came, and asking again was not safe or did not help
├── JobEnded                a job that was waited for has not succeeded: `view` is its last one
│   ├── JobFailed
│   └── JobCancelled
└── BatchPredictionEnded    the same of a batch prediction
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nabla.app.schemas.jobs import JobView
    from nabla.app.schemas.predictions import BatchPredictionView


class NablaError(Exception):
    """Whatever this client raises of its own."""


class ServiceError(NablaError):
    """The service refused."""

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """The stable name of the kind of problem, such as `/problems/unknown-network`."""
        return str(self.problem.get("type", "about:blank"))

    @property
    def errors(self) -> list[dict[str, str]]:
        """Each with a `field` and a `message`."""
        return list(self.problem.get("errors", ()))

    @property
    def field(self) -> str | None:
        """The first that is wrong, if it is a field."""
        return self.errors[0].get("field") if self.errors else None


class BadRequest(ServiceError):
    """It could not read the request."""


class TooLarge(BadRequest):
    """More than it takes."""


class NotFound(ServiceError):
    """There is nothing of that id or name."""


class Conflict(ServiceError):
    """It does not fit the present state."""


class InProgress(Conflict):
    """The same request, with the same key, is being carried out."""


class Invalid(ServiceError):
    """A field is wrong."""


class TooMany(ServiceError):
    """There are as many of them as there may be."""


class ServiceFailed(ServiceError):
    """What the client cannot have caused."""


class Unavailable(ServiceFailed):
    """Not at the moment."""


class ConnectionLost(NablaError):
    """No answer came. Whether the request was carried out is not known, unless it was never sent."""


class JobEnded(NablaError):
    """It has not succeeded."""

    def __init__(self, view: "JobView") -> None:
        why = f": {view.error.message}" if view.error else "."
        super().__init__(f"The job {view.id} is {view.state}{why}")
        self.view = view


class JobFailed(JobEnded):
    """`view.error` says why."""


class JobCancelled(JobEnded):
    """Somebody did not want it any more."""


class BatchPredictionEnded(NablaError):
    """It has failed, or was cancelled."""

    def __init__(self, view: "BatchPredictionView") -> None:
        why = f": {view.error.message}" if view.error else "."
        super().__init__(f"The batch prediction {view.id} is {view.state}{why}")
        self.view = view


_OF_STATUS: dict[int, type[ServiceError]] = {
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    422: Invalid,
    429: TooMany,
    503: Unavailable,
}


def refusal(status: int, problem: dict[str, Any], retry_after: float | None = None) -> ServiceError:
    """The most specific kind. A problem that says what it is is believed more than its status, which something between
    may have given."""
    of_others = ServiceFailed if status >= 500 else BadRequest
    said = str(problem.get("type", ""))
    if said == "/problems/in-progress":
        return InProgress(status, problem, retry_after)
    kind = NotFound if said.startswith("/problems/unknown-") else _OF_STATUS.get(status, of_others)
    return kind(status, problem, retry_after)


def ended(view: "JobView") -> JobEnded:
    return JobCancelled(view) if view.state == "cancelled" else JobFailed(view)
