"""Retries: which requests may be repeated, and how long to wait between attempts."""

import random
import time
import uuid
from collections.abc import Mapping

import httpx

from nabla.app.client.errors import ConnectionFailed, RequestInProgress, ServiceUnavailable

_KEY_HEADER = "Idempotency-Key"
# Repeating them has no further effect (RFC 9110, 9.2.2).
_IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
# Raised before anything is sent.
_CONNECT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout)
_MIN_DELAY_SECONDS, _MAX_DELAY_SECONDS = 0.1, 2.0


def idempotency_key() -> dict[str, str]:
    """Return a header with a new idempotency key, which makes a creating request safe to repeat."""
    return {_KEY_HEADER: uuid.uuid4().hex}


def is_repeatable(method: str, headers: Mapping[str, str]) -> bool:
    """Return whether the service may receive the request twice."""
    return method in _IDEMPOTENT_METHODS or _KEY_HEADER in headers


class RetryPolicy:
    """Retry schedule of one request: exponential backoff with jitter, bounded by a timeout.

    A refused connection is retried only if the service has responded before: it is probably restarting, whereas an
    address that never responded is probably wrong.
    """

    def __init__(self, url: str, timeout: float, *, repeatable: bool, has_responded: bool) -> None:
        """Start before the first attempt.

        Args:
            url: The service, for error messages.
            timeout: Seconds without a response after which retrying ends.
            repeatable: Whether the service may receive the request twice.
            has_responded: Whether the service has responded at this URL before.
        """
        self._url = url
        self._timeout = timeout
        self._repeatable = repeatable
        self._has_responded = has_responded
        self._delay = _MIN_DELAY_SECONDS
        self._failing_since: float | None = None

    def reset(self) -> None:
        """Record a response: the timeout starts anew with the next failure."""
        self._has_responded, self._failing_since, self._delay = True, None, _MIN_DELAY_SECONDS

    def next_delay(self, error: httpx.TransportError | ServiceUnavailable | RequestInProgress) -> float:
        """Return the seconds to wait before the next attempt.

        Raises:
            ConnectionFailed: No response arrived, and the request cannot or can no longer be retried.
            ServiceUnavailable: The request is not repeatable, or the service suggests no delay within the timeout.
        """
        if isinstance(error, RequestInProgress):
            self.reset()
            return error.retry_after or _MAX_DELAY_SECONDS
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        remaining = self._failing_since + self._timeout - now
        if isinstance(error, ServiceUnavailable):
            if not self._repeatable or error.retry_after is None or error.retry_after > remaining:
                raise error
            return error.retry_after
        if remaining <= 0 or not self._is_retryable(error):
            raise ConnectionFailed(self._describe(error)) from error
        # Jitter, so that the clients of a restarting service do not all return at once.
        delay = self._delay * random.uniform(0.5, 1.0)
        self._delay = min(2 * self._delay, _MAX_DELAY_SECONDS)
        return min(delay, remaining)

    def _is_retryable(self, error: httpx.TransportError) -> bool:
        if isinstance(error, _CONNECT_ERRORS):
            return self._has_responded
        return self._repeatable and not isinstance(error, httpx.UnsupportedProtocol)

    def _describe(self, error: httpx.TransportError) -> str:
        if isinstance(error, _CONNECT_ERRORS):
            return f"Cannot connect to a service at {self._url}."
        if isinstance(error, httpx.TimeoutException):
            return f"The service at {self._url} did not respond in time."
        if isinstance(error, httpx.UnsupportedProtocol):
            return f"{self._url!r} is not the URL of a service: it must start with http:// or https://."
        return f"The connection to {self._url} was lost."
