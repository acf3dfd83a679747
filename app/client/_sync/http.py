# Generated from _async/http.py by scripts/generate_sync_client.py. Do not edit.
"""HTTP connection to a service: requests with retries, typed responses, event streams, downloads."""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from httpx_sse import EventSource, ServerSentEvent
from pydantic import BaseModel, ValidationError

from nabla.app.client.concurrency import run_inline, sleep
from nabla.app.client.errors import (
    BadRequest,
    ConnectionFailed,
    RequestInProgress,
    ServerError,
    ServiceUnavailable,
    parse_status_error,
)
from nabla.app.client.json_encoding import encode_json
from nabla.app.client.retries import RetryPolicy, is_repeatable

ModelT = TypeVar("ModelT", bound=BaseModel)

_CONNECT_TIMEOUT = 5.0
# The service sends a heartbeat every 15 seconds.
_EVENT_STREAM_TIMEOUT = 60.0
_RECONNECT_SECONDS = 0.1
_LOOPBACK_HOSTS = ("127.0.0.1", "::1", "localhost")
_PARTIAL_SUFFIX = ".part"


class Connection:
    """HTTP connection pool of a client, shared by the resources that it returns."""

    def __init__(self, url: str, timeout: float, retry_timeout: float) -> None:
        """Prepare the pool; nothing is sent yet.

        Args:
            url: The address of the service.
            timeout: Seconds without receiving anything after which a request fails.
            retry_timeout: Seconds for which repeatable requests are retried.

        Raises:
            ConnectionFailed: The URL is malformed, or needs a proxy that httpx does not support as installed.
        """
        self.url = url
        self.timeout = timeout
        self._retry_timeout = retry_timeout
        # Until the service has responded once, a refused connection is not retried.
        self._has_responded = False
        limits = httpx.Timeout(timeout, connect=min(timeout, _CONNECT_TIMEOUT))
        try:
            # Proxy settings of the environment do not apply to services on this machine.
            use_proxy = httpx.URL(url).host not in _LOOPBACK_HOSTS
            self._http = httpx.Client(base_url=url, timeout=limits, trust_env=use_proxy)
        except (httpx.InvalidURL, ImportError) as error:  # ImportError: a proxy scheme that needs another package
            raise ConnectionFailed(f"Cannot connect to a service at {url}: {error}.") from error

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    @property
    def no_read_timeout(self) -> httpx.Timeout:
        """Timeouts for requests whose processing time grows with the data."""
        return httpx.Timeout(self.timeout, connect=min(self.timeout, _CONNECT_TIMEOUT), read=None)

    def retry_policy(self, timeout: float | None = None, *, repeatable: bool = True) -> RetryPolicy:
        """Return the retry schedule of a new request, with the client's timeout by default."""
        timeout = self._retry_timeout if timeout is None else timeout
        return RetryPolicy(self.url, timeout, repeatable=repeatable, has_responded=self._has_responded)

    def request(self, model: type[ModelT], method: str, path: str, **options: Any) -> ModelT:
        """Send a request and validate the response.

        Raises:
            StatusError: The service rejected the request.
            ServerError: The response is not that of a Nabla service of this version.
            ConnectionFailed: No response arrived.
        """
        response = self.send(method, path, **options)
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            detail = f"The response from {self.url} is not that of a Nabla service of this version."
            raise ServerError(response.status_code, {"detail": detail}) from error

    def send(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx.Response:
        """Send a request, and retry it if that is safe and no response arrives.

        Args:
            method: The HTTP method.
            path: The path below the URL of the service.
            repeatable: Whether the service may receive the request twice; by default that follows from the method
                and the idempotency key.
            options: Arguments of `httpx.Client.request`; `json` may have values of NumPy and pandas.

        Raises:
            StatusError: The service rejected the request.
            ConnectionFailed: No response arrived.
            InvalidArgument: `json` has a value that JSON cannot represent.
        """
        if "json" in options:
            options["content"] = encode_json(options.pop("json"))
            options["headers"] = {**(options.get("headers") or {}), "Content-Type": "application/json"}
        if repeatable is None:
            repeatable = is_repeatable(method, options.get("headers") or {})
        policy, is_retry = self.retry_policy(repeatable=repeatable), False
        while True:
            try:
                response = self._http.request(method, path, **options)
                self._has_responded = True
                # Ids are never reused: a resource that is gone at a retry was deleted by the attempt before.
                if not (is_retry and method == "DELETE" and response.status_code == 404):
                    _raise_for_status(response)
                return response
            except (httpx.TransportError, ServiceUnavailable, RequestInProgress) as error:
                delay, is_retry = policy.next_delay(error), True
            sleep(delay)

    @contextmanager
    def stream(self, path: str, **options: Any) -> Iterator[httpx.Response]:
        """Open a response that is read as it arrives.

        Raises:
            StatusError: The service rejected the request.
            httpx.TransportError: No response arrived, or it was interrupted.
        """
        with self._http.stream("GET", path, **options) as response:
            self._has_responded = True
            _raise_for_status(response)
            yield response

    def stream_events(self, path: str, retry_timeout: float | None = None) -> Generator[ServerSentEvent, None]:
        """Stream Server-Sent Events from the first one on, resuming after the last one received when interrupted.

        Args:
            path: The path of the event stream.
            retry_timeout: Seconds for which an unreachable service is retried; by default that of the client.

        Raises:
            StatusError: The service rejected the request.
            ConnectionFailed: The service was unreachable for too long.
        """
        last_event_id, policy = "0", self.retry_policy(retry_timeout)
        while True:
            try:
                headers = {"Last-Event-ID": last_event_id}
                with self.stream(path, headers=headers, timeout=_EVENT_STREAM_TIMEOUT) as response:
                    try:
                        for event in EventSource(response).iter_sse():
                            last_event_id = event.id or last_event_id
                            yield event
                    finally:
                        # Any byte counts, heartbeats too: a long time without events is not an outage.
                        if response.num_bytes_downloaded:
                            policy.reset()
                delay = _RECONNECT_SECONDS  # a service that shuts down ends its streams
            except (httpx.TransportError, ServiceUnavailable) as error:
                delay = policy.next_delay(error)
            sleep(delay)

    def delete(self, path: str) -> None:
        """Delete a resource. The path must contain its id: by a retry, its name may belong to another resource.

        Raises:
            StatusError: The service rejected the request.
            ConnectionFailed: No response arrived.
        """
        self.send("DELETE", path)

    def download(self, url_path: str, path: Path, **query: str) -> Path:
        """Download a file. It gets its name only when it is complete; an interrupted download starts over.

        Raises:
            StatusError: The service rejected the request.
            ConnectionFailed: No response arrived, or the download was interrupted for too long.
        """
        partial, policy, max_bytes = path.with_name(path.name + _PARTIAL_SUFFIX), self.retry_policy(), 0
        try:
            while True:
                try:
                    with self.stream(url_path, params=query, timeout=self.no_read_timeout) as response:
                        _write_body(response, partial)
                    return partial.rename(path)
                except (httpx.TransportError, ServiceUnavailable) as error:
                    received = partial.stat().st_size if partial.exists() else 0
                    if received > max_bytes:  # progress, so the time it took is not an outage
                        max_bytes = received
                        policy.reset()
                    delay = policy.next_delay(error)
                sleep(delay)
        finally:
            partial.unlink(missing_ok=True)


def _write_body(response: httpx.Response, path: Path) -> None:
    with run_inline(path.open, "wb") as file:
        for chunk in response.iter_bytes():
            run_inline(file.write, chunk)


def _raise_for_status(response: httpx.Response) -> None:
    if response.is_redirect:
        location = response.headers.get("Location", "")
        detail = f"{response.url} redirects to {location}: use that address of the service instead."
        raise BadRequest(response.status_code, {"detail": detail})
    if not response.is_success:
        content = response.read()
        raise parse_status_error(response.status_code, content, response.headers.get("Retry-After"))
