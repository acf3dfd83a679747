"""A server between a client and the service, which loses what it is told to lose."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, NamedTuple

import httpx

from tests.support.service import PATIENCE

Fate = Literal[
    "lose the request",
    "lose the answer",
    "leave it at work",
    "busy",
    "busy for long",
    "lead elsewhere",
    "answer as others",
]


class Asked(NamedTuple):
    method: str
    path: str
    key: str | None


class Breaking:
    """`fates`: of the next requests, one each; those after them come through. `asked`: what has arrived; `left`: the
    last that was left at work."""

    def __init__(self, service: str) -> None:
        self.service = service
        self.fates: list[Fate] = []
        self.asked: list[Asked] = []
        self.url = ""
        self.left: threading.Thread | None = None

    def expect(self, *fates: Fate) -> None:
        self.fates, self.asked = list(fates), []


@contextmanager
def breaking(service: str) -> Iterator[Breaking]:
    between = Breaking(service)
    http = httpx.Client(base_url=service, timeout=PATIENCE)
    handler = type("Handler", (_Handler,), {"between": between, "http": http})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        between.url = f"http://127.0.0.1:{server.server_port}"
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield between
        finally:
            server.shutdown()
            serving.join()
            if between.left is not None:
                between.left.join()
            http.close()


class _Handler(BaseHTTPRequestHandler):
    between: Breaking
    http: httpx.Client

    def handle_one_request(self) -> None:
        self.raw_requestline = self.rfile.readline()
        self.close_connection = True
        if self.raw_requestline and self.parse_request():
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.between.asked.append(Asked(self.command, self.path, self.headers["Idempotency-Key"]))
            self._meet(self.between.fates.pop(0) if self.between.fates else None, body)

    def _meet(self, fate: Fate | None, body: bytes) -> None:
        if fate in ("busy", "busy for long"):
            self._answer(503, {"Retry-After": "0" if fate == "busy" else "3600"}, b'{"detail": "Busy."}')
        elif fate == "lead elsewhere":
            self._answer(301, {"Location": "https://elsewhere.test/"}, b"")
        elif fate == "answer as others":
            self._answer(200, {"Content-Type": "text/html"}, b"<h1>It works!</h1>")
        elif fate == "leave it at work":
            self.between.left = threading.Thread(target=self._handed_on, args=(body,))
            self.between.left.start()
        elif fate != "lose the request":
            answer = self._handed_on(body)
            kept = {name: value for name, value in answer.headers.items() if name in ("content-type", "retry-after")}
            if fate != "lose the answer":
                self._answer(answer.status_code, kept, answer.content)

    def _handed_on(self, body: bytes) -> httpx.Response:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "host"}
        return self.http.request(self.command, self.path, content=body, headers=headers)

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content)), "Connection": "close"}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is said."""
