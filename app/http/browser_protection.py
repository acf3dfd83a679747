"""Protection against pages of other sites, which run in the browser of somebody who can reach the service."""

import ipaddress
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from nabla.app.http.errors import format_for_protocol, problem_response

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d+)?", re.IGNORECASE)
# Of responses that have no policy of their own: they are no pages.
_DEFAULT_POLICY = "default-src 'none'; frame-ancestors 'none'"


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
        is_same_origin = origin is None or urlsplit(origin).netloc.lower() == headers["host"].lower()
    if is_same_origin:
        return None
    return f"Pages of another origin ({origin or site}) cannot change anything here."
