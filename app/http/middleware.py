"""Middleware: limits of request bodies and of their memory, and protection of browsers against pages of other sites."""

import ipaddress
import re
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nabla.app.http.errors import format_for_protocol, problem_response
from nabla.engine.errors import Busy

Body = TypeVar("Body", bound=BaseModel)

_SCOPE_KEY = "nabla.request_memory"

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d+)?", re.IGNORECASE)
# Of responses that have no policy of their own: they are no pages.
_DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"


@dataclass(frozen=True)
class _BodyLimit:
    """Size limit for one kind of body.

    Attributes:
        max_bytes: Size limit in bytes.
        kind: Kind of body, as error messages name it.
        in_memory: Whether such bodies are buffered as a whole, and so count against the memory budget.
    """

    max_bytes: int
    kind: str
    in_memory: bool = True


class BodyLimitMiddleware:
    """Rejects a body as soon as it exceeds the limit of its kind, or all bodies together exceed the memory budget.

    FastAPI's `max_body_size` has one value for an operation, whatever the body's media type. Operations that take JSON
    of some megabytes or a file of some gigabytes need two (`test_body_above_limit_of_its_media_type`), and the memory
    budget counts bodies of all requests together.

    A body is limited like JSON unless its operation reads it with `stream_body` or `read_tensor_body`.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        max_json_bytes: int,
        max_tensor_bytes: int,
        max_upload_bytes: int,
        max_inflight_bytes: int,
    ) -> None:
        self._app = app
        self._json = _BodyLimit(max_json_bytes, "a JSON body; upload larger data as a file")
        self.tensor = _BodyLimit(max_tensor_bytes, "a request with binary tensors")
        self.upload = _BodyLimit(max_upload_bytes, "an upload", in_memory=False)
        self._max_inflight_bytes = max_inflight_bytes
        self._inflight_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count the body of a request while the application receives it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        memory = scope[_SCOPE_KEY] = _RequestMemory(self, self._json)
        decoder = _GzipDecoder() if _is_gzipped_json(scope) else None

        async def receive_counted() -> Message:
            message = await receive()
            if decoder is not None and message["type"] == "http.request":
                message = {**message, "body": decoder.decode(message, memory.limit.max_bytes + 1)}
            memory.count_received(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, receive_counted, send)
        finally:
            self._inflight_bytes -= memory.reserved

    def reserve(self, size: int) -> None:
        """Count bytes that are about to be allocated.

        Raises:
            Busy: The memory budget is exhausted.
        """
        self._inflight_bytes += size
        if self._inflight_bytes > self._max_inflight_bytes:
            raise Busy(
                f"Requests in flight use the whole memory budget of {self._max_inflight_bytes} bytes. Retry later."
            )


def _is_gzipped_json(scope: Scope) -> bool:
    """Return whether a body is compressed JSON. Compressed files are decompressed as they are read."""
    headers = Headers(scope=scope)
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" and headers.get("content-encoding", "").strip().lower() == "gzip"


class _GzipDecoder:
    """Decompresses a body message by message."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)

    def decode(self, message: Message, max_bytes: int) -> bytes:
        """Return the content of a message, at most `max_bytes`, so that more exceeds the limit.

        Raises:
            HTTPException: The body is not in gzip, or ends too early (400).
        """
        try:
            content = self._stream.decompress(message.get("body", b""), max_bytes)
        except zlib.error as error:
            raise HTTPException(400, "The body is not in gzip, as its Content-Encoding says.") from error
        if not message.get("more_body") and not self._stream.eof and len(content) < max_bytes:
            raise HTTPException(400, "The body ends within its gzip stream.")
        return content


class _RequestMemory:
    """Memory that one request takes until its response is sent."""

    def __init__(self, middleware: BodyLimitMiddleware, limit: _BodyLimit) -> None:
        self.middleware, self.limit = middleware, limit
        self.received = self.reserved = 0

    def count_received(self, size: int) -> None:
        self.received += size
        if self.received > self.limit.max_bytes:
            raise HTTPException(413, f"At most {self.limit.max_bytes} bytes are accepted in {self.limit.kind}.")
        if self.limit.in_memory:
            self.reserve(size)

    def reserve(self, size: int) -> None:
        self.reserved += size
        self.middleware.reserve(size)


def _memory_of(request: Request) -> _RequestMemory:
    memory: _RequestMemory = request.scope[_SCOPE_KEY]
    return memory


def stream_body(request: Request) -> AsyncIterator[bytes]:
    """Iterate over the body as it arrives, up to the size limit of uploads; it does not count as memory in flight."""
    memory = _memory_of(request)
    memory.limit = memory.middleware.upload
    return request.stream()


async def read_tensor_body(request: Request) -> bytes:
    """Return the whole body, up to the size limit of bodies with binary tensors."""
    memory = _memory_of(request)
    memory.limit = memory.middleware.tensor
    return await request.body()


def reserve_memory(request: Request, size: int) -> None:
    """Count the memory of a response, in bytes, until it is sent.

    Raises:
        Busy: The memory budget of all requests is exhausted.
    """
    _memory_of(request).reserve(size)


async def parse_json_body(request: Request, model: type[Body]) -> Body:
    """Parse the body as `model`, in a thread.

    Raises:
        ValidationError: The body does not fit the model.
    """
    body = await request.body()
    return await run_in_threadpool(model.model_validate_json, body)


class BrowserProtection:
    """Rejects what a page of another site can make a browser send, and keeps it from showing what the service sends.

    - The Host must be an IP address, localhost, or a name that the settings allow. Otherwise a site could let its own
      name point to this machine (DNS rebinding), and be same-origin with the service.
    - Requests that change something must not come from pages of another origin. This is what Sec-Fetch-Site says, or
      Origin in browsers before 2023; clients that are no browsers send neither. The rules are those of
      CrossOriginProtection in Go's net/http (Filippo Valsorda, "Cross-Site Request Forgery", 2025).
    - Other sites can neither frame nor embed responses, and browsers do not guess their type.
    """

    def __init__(self, app: ASGIApp, allowed_hosts: Iterable[str]) -> None:
        """Wrap an application.

        Args:
            app: The application.
            allowed_hosts: Names besides localhost and IP addresses; `*.example.com` allows all names below
                example.com, `*` every name.
        """
        self._app = app
        self._allowed_hosts = [host.lower() for host in allowed_hosts]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle an ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_protected(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Content-Type-Options"] = "nosniff"
                headers["Cross-Origin-Resource-Policy"] = "same-origin"
                headers.setdefault("Content-Security-Policy", _DEFAULT_POLICY)
            await send(message)

        headers = Headers(scope=scope)
        if (problem := self._check_host(headers)) is not None:
            response = problem_response("unknown-host", "Unknown host", 421, problem)
        elif (problem := _check_origin(scope["method"], headers)) is not None:
            response = problem_response("cross-origin", "Cross-origin request", 403, problem)
        else:
            await self._app(scope, receive, send_protected)
            return
        await format_for_protocol(response, scope["path"])(scope, receive, send_protected)

    def _check_host(self, headers: Headers) -> str | None:
        """Return why the host is rejected; None if it is not."""
        hosts = headers.getlist("host")
        match = _HOST.fullmatch(hosts[0]) if len(hosts) == 1 else None
        if match is None:
            return f"Exactly one valid Host header is expected, got {len(hosts)}: {', '.join(map(repr, hosts))}."
        name = match["name"].lower().removesuffix(".")
        if name == "localhost" or name.endswith(".localhost") or _is_ip_address(name) or self._is_allowed(name):
            return None
        return f"This service does not answer as {name!r}. NABLA_ALLOWED_HOSTS lists the names that it has."

    def _is_allowed(self, name: str) -> bool:
        return any(
            host in ("*", name) or (host.startswith("*.") and name.endswith(host[1:])) for host in self._allowed_hosts
        )


def _is_ip_address(name: str) -> bool:
    """Return whether a host is an address, which no site can give another meaning."""
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _check_origin(method: str, headers: Headers) -> str | None:
    """Return why a request is rejected that comes from a page of another origin; None if it does not."""
    if method in _SAFE_METHODS:
        return None
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        is_same_origin = site in ("same-origin", "none")
    else:
        is_same_origin = origin is None or origin.partition("://")[2].lower() == headers["host"].lower()
    if is_same_origin:
        return None
    return f"Pages of another origin ({origin or site}) cannot change anything here."
