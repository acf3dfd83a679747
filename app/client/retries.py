"""Which requests are sent again when no answer comes, and when."""

import random
import time
import uuid
from collections.abc import Mapping

import httpx

from nabla.app.client.errors import ConnectionLost, InProgress, Unavailable

KEY = "Idempotency-Key"
# Sent twice they do what they do once (RFC 9110, 9.2.2).
_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
# Before anything of the request has gone out.
_NOT_SENT = (httpx.ConnectError, httpx.ConnectTimeout)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0


def new_key() -> dict[str, str]:
    """A header that makes a request to create something one that can be sent again."""
    return {KEY: uuid.uuid4().hex}


def is_repeatable(method: str, headers: Mapping[str, str]) -> bool:
    return method in _IDEMPOTENT or KEY in headers


class Tries:
    """Of one request. A service that has just been ended may be back soon: it is asked again for `patience` seconds.

    A wrong address is not waited for: `answered` says whether there has ever been a service at this one.
    """

    def __init__(self, url: str, patience: float, *, repeatable: bool, answered: bool) -> None:
        self._url = url
        self._patience = patience
        self._repeatable = repeatable
        self._answered = answered
        self._pause = _FIRST_PAUSE
        self._since: float | None = None

    def succeeded(self) -> None:
        """Something has come; what breaks from now on has not been broken for long."""
        self._answered, self._since, self._pause = True, None, _FIRST_PAUSE

    def pause_after(self, problem: httpx.TransportError | Unavailable | InProgress) -> float:
        """Seconds until the next one. Raises the refusal, or ConnectionLost, if there is to be none."""
        if isinstance(problem, InProgress):
            self.succeeded()  # it is there, and at work
            return problem.retry_after or _LONGEST_PAUSE
        now = time.monotonic()
        self._since = now if self._since is None else self._since
        left = self._since + self._patience - now
        if isinstance(problem, Unavailable):
            if not self._repeatable or problem.retry_after is None or problem.retry_after > left:
                raise problem
            return problem.retry_after
        may_be_sent = self._repeatable or isinstance(problem, _NOT_SENT)
        if not may_be_sent or left <= 0 or not self._may_come_back(problem):
            raise ConnectionLost(self._sentence(problem)) from problem
        # Not all that wait for it at the same moment.
        pause, self._pause = self._pause * random.uniform(0.5, 1.0), min(2 * self._pause, _LONGEST_PAUSE)
        return min(pause, left)

    def _may_come_back(self, problem: httpx.TransportError) -> bool:
        if isinstance(problem, httpx.UnsupportedProtocol):
            return False
        return self._answered or not isinstance(problem, _NOT_SENT)

    def _sentence(self, problem: httpx.TransportError) -> str:
        if isinstance(problem, _NOT_SENT):
            return f"There is no service at {self._url}."
        if isinstance(problem, httpx.TimeoutException):
            return f"The service at {self._url} has not answered in time."
        if isinstance(problem, httpx.UnsupportedProtocol):
            return f"{self._url} is no address of a service; one begins with http:// or https://."
        return f"The connection to {self._url} broke."
