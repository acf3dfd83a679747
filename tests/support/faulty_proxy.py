"""An HTTP proxy in front of a service that injects faults into requests and responses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

import httpx

from tests.support.service import TIMEOUT_SECONDS

Fault = Literal[
    "drop request",
    "drop response",
    "disconnect during request",
    "busy",
    "busy for an hour",
    "redirect",
    "respond with HTML",
]
_FORWARDED_RESPONSE_HEADERS = ("content-type", "retry-after")


class RecordedRequest(NamedTuple):
    """A request that has arrived at the proxy; `key` is its Idempotency-Key."""

    method: str
    path: str
    key: str | None


class FaultyProxy:
    """A proxy that applies the next fault to each request, and forwards requests once there are none left.

    Attributes:
        url: Its own address.
        requests: The requests since the last call of `inject`.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[RecordedRequest] = []
        self._faults: list[Fault] = []
        self._background: threading.Thread | None = None

    def inject(self, *faults: Fault) -> None:
        """Apply these faults to the next requests, one each, and forget the recorded requests."""
        self._faults, self.requests = list(faults), []

    def next_fault(self) -> Fault | None:
        """Return the fault of the next request; None if it is to be forwarded."""
        return self._faults.pop(0) if self._faults else None

    def run_in_background(self, thread: threading.Thread) -> None:
        """Start a thread that `join` waits for."""
        self._background = thread
        thread.start()

    def join(self) -> None:
        """Wait until the last background thread has ended."""
        if self._background is not None:
            self._background.join()


@contextmanager
def run_faulty_proxy(service_url: str) -> Iterator[FaultyProxy]:
    """Run a proxy in front of the service with this address."""
    proxy = FaultyProxy()
    http = httpx.Client(base_url=service_url, timeout=TIMEOUT_SECONDS)
    handler = type("Handler", (_Handler,), {"proxy": proxy, "http": http})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        proxy.url = f"http://127.0.0.1:{server.server_port}"
        server_thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        server_thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            server_thread.join()
            proxy.join()
            http.close()


class _Handler(BaseHTTPRequestHandler):
    proxy: FaultyProxy
    http: httpx.Client

    def handle_one_request(self) -> None:
        """Record one request, and apply its fault or forward it; then close the connection."""
        self.raw_requestline = self.rfile.readline()
        self.close_connection = True
        if self.raw_requestline and self.parse_request():
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.proxy.requests.append(RecordedRequest(self.command, self.path, self.headers["Idempotency-Key"]))
            self._apply(self.proxy.next_fault(), body)

    def _apply(self, fault: Fault | None, body: bytes) -> None:
        match fault:
            case "drop request":
                pass
            case "drop response":
                self._forward(body)
            case "disconnect during request":
                self.proxy.run_in_background(threading.Thread(target=self._forward, args=(body,)))
            case "busy" | "busy for an hour":
                self._respond(503, {"Retry-After": "0" if fault == "busy" else "3600"}, b'{"detail": "Busy."}')
            case "redirect":
                self._respond(301, {"Location": "https://elsewhere.test/"}, b"")
            case "respond with HTML":
                self._respond(200, {"Content-Type": "text/html"}, b"<h1>It works!</h1>")
            case None:
                response = self._forward(body)
                headers = {
                    name: response.headers[name] for name in _FORWARDED_RESPONSE_HEADERS if name in response.headers
                }
                self._respond(response.status_code, headers, response.content)

    def _forward(self, body: bytes) -> httpx.Response:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        return self.http.request(self.command, self.path, content=body, headers=headers)

    def _respond(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""
