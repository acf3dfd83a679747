"""Errors raised by the client.

NablaError
├── StatusError                 the response has an error status: `status`, `problem`, `errors`, `field`
│   ├── BadRequest              the request is malformed (400, 415, …), or the URL redirects elsewhere (3xx)
│   │   └── ContentTooLarge     413: the request exceeds a limit of the service
│   ├── NotFound                404: no resource has this id or name
│   ├── Conflict                409: the request conflicts with the current state of the resource
│   │   └── RequestInProgress   409: the same request is still being processed; `retry_after`
│   ├── InvalidInput            422: a field is invalid; `field` is the first, `errors` lists all
│   ├── TooManyRequests         429: a queue is full, or too many uploads are open; `retry_after`
│   └── ServerError             5xx: the service, or a proxy in front of it, failed
│       └── ServiceUnavailable  503: temporarily overloaded or shutting down; `retry_after`
├── ConnectionFailed            no response arrived, and a retry was unsafe or did not help
├── InvalidArgument             an argument cannot be sent, so nothing was; also a ValueError
├── JobError                    a job that was waited for did not succeed; `view`
│   ├── JobFailed               it failed
│   └── JobCancelled            it was cancelled
└── BatchPredictionError        a batch prediction that was waited for failed or was cancelled; `view`
"""

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nabla.app.schemas.jobs import JobView
    from nabla.app.schemas.predictions import BatchPredictionView


class NablaError(Exception):
    """Base class of all errors that the client defines."""


class UnusualRowsWarning(UserWarning):
    """Rows to predict have unknown categories, numbers far outside the training range, or columns that are not used."""


class StatusError(NablaError):
    """The service responded with an error status.

    Attributes:
        status: The HTTP status code.
        problem: The problem document of the response (RFC 9457).
        retry_after: Seconds to wait before a retry, if the response has a Retry-After header.
    """

    def __init__(self, status: int, problem: dict[str, Any], retry_after: float | None = None) -> None:
        super().__init__(problem.get("detail") or problem.get("title") or f"HTTP status {status}")
        self.status = status
        self.problem = problem
        self.retry_after = retry_after

    @property
    def type(self) -> str:
        """The stable identifier of the problem, such as `/problems/unknown-network`."""
        return str(self.problem.get("type", "about:blank"))

    @property
    def errors(self) -> list[dict[str, str]]:
        """All invalid fields, each as an object with `field` and `message`."""
        return list(self.problem.get("errors", ()))

    @property
    def field(self) -> str | None:
        """The first invalid field, or None if the problem concerns no field."""
        return self.errors[0].get("field") if self.errors else None


class BadRequest(StatusError):
    """The request is malformed, or the URL redirects elsewhere (3xx, 400, 415 and others)."""


class ContentTooLarge(BadRequest):
    """The request exceeds a size limit of the service (413)."""


class NotFound(StatusError):
    """No resource has this id or name (404)."""


class Conflict(StatusError):
    """The request conflicts with the current state of the resource (409)."""


class RequestInProgress(Conflict):
    """A request with the same idempotency key is still being processed (409)."""


class InvalidInput(StatusError):
    """At least one field is invalid (422): see `field` and `errors`."""


class TooManyRequests(StatusError):
    """A limit on the number of queued jobs, batch predictions or open uploads is reached (429)."""


class ServerError(StatusError):
    """The service or a proxy in front of it failed (5xx), or the response is not that of a Nabla service."""


class ServiceUnavailable(ServerError):
    """The service is temporarily overloaded or shutting down (503)."""


class ConnectionFailed(NablaError):
    """No response arrived, and retrying was unsafe or did not help.

    Unless the connection was refused, the request may have been processed.
    """


class InvalidArgument(NablaError, ValueError):
    """An argument has a value that cannot be sent to the service, so nothing was sent. The message names it."""


class JobError(NablaError):
    """A job that was waited for did not succeed.

    Attributes:
        view: The final state of the job; `view.error` has the reason.
    """

    def __init__(self, view: "JobView") -> None:
        super().__init__(_describe_end("job", view))
        self.view = view


class JobFailed(JobError):
    """The job failed."""


class JobCancelled(JobError):
    """The job was cancelled."""


class BatchPredictionError(NablaError):
    """A batch prediction that was waited for failed or was cancelled.

    Attributes:
        view: The final state of the batch prediction; `view.error` has the reason.
    """

    def __init__(self, view: "BatchPredictionView") -> None:
        super().__init__(_describe_end("batch prediction", view))
        self.view = view


def _describe_end(kind: str, view: "JobView | BatchPredictionView") -> str:
    outcome = "was cancelled" if view.state == "cancelled" else view.state
    reason = f": {view.error.message}" if view.error else "."
    return f"The {kind} {view.id} {outcome}{reason}"


def job_error(view: "JobView") -> JobError:
    """Return the error for a job that finished without success."""
    return JobCancelled(view) if view.state == "cancelled" else JobFailed(view)


_STATUS_ERRORS: dict[int, type[StatusError]] = {
    404: NotFound,
    409: Conflict,
    413: ContentTooLarge,
    422: InvalidInput,
    429: TooManyRequests,
    503: ServiceUnavailable,
}


def parse_status_error(status: int, content: bytes, retry_after: str | None) -> StatusError:
    """Return the most specific error for an error response.

    Args:
        status: The HTTP status code.
        content: The body: a problem document, or anything if a proxy responded.
        retry_after: The Retry-After header, if there is one.
    """
    try:
        document = json.loads(content)
    except ValueError:
        document = None
    problem = document if isinstance(document, dict) else {"detail": content[:200].decode(errors="replace")}
    seconds = float(retry_after) if retry_after and retry_after.isascii() and retry_after.isdigit() else None
    return _error_class(status, str(problem.get("type", "")))(status, problem, seconds)


def _error_class(status: int, problem_type: str) -> type[StatusError]:
    # The problem type takes precedence: a proxy may have replaced the status.
    if problem_type == "/problems/in-progress":
        return RequestInProgress
    if problem_type.startswith("/problems/unknown-"):
        return NotFound
    return _STATUS_ERRORS.get(status, ServerError if status >= 500 else BadRequest)
