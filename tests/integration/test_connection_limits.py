"""Clients that do not keep to HTTP, or keep silent."""

import socket
import time
from pathlib import Path

import pytest

from nabla.app.schemas.jobs import JobView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import PATIENCE, RunningService


def connected(service: RunningService) -> socket.socket:
    return socket.create_connection(service.socket.getsockname()[:2], timeout=60)


def some(connection: socket.socket) -> bytes:
    """What comes next."""
    part = connection.recv(65536)
    assert part
    return part


def is_held(service: RunningService, connection: socket.socket) -> bool:
    """Whether the service has not closed its side of it."""
    ends = [f":{end[1]:04X}" for end in (service.socket.getsockname(), connection.getsockname())]
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any([line[1][-5:], line[2][-5:]] == ends and line[3] == "01" for line in table)


def rest(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:  # closed while we had still been sending
        pass
    return found


def test_endless_heads_are_refused(service: RunningService) -> None:
    for line in (b"X-Long: " + b"x" * 2**17, b"X: y\r\n" * 2**15):
        with connected(service) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: x\r\n" + line)
            assert b" 431 " in rest(connection)
    assert service.get("/health/live") == {"status": "live"}


@pytest.mark.parametrize(
    "begun",
    [
        b"",
        b"GET /health",
        b"POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    ],
)
def test_who_keeps_silent_is_dropped(start_service: StartService, begun: bytes) -> None:
    service = start_service(client_idle_timeout="0.5")
    with connected(service) as connection:
        connection.sendall(begun)
        answer = rest(connection)
    assert answer == b"" if not begun else b" 408 " in answer
    assert service.get("/health/live") == {"status": "live"}


def test_who_only_listens_is_not(start_service: StartService) -> None:
    service = start_service(client_idle_timeout="0.5")
    blocking = scenarios.endless(service)
    waiting = scenarios.job(service)
    events = service.follow(waiting["id"])
    assert isinstance(first := next(events), JobView)
    assert first.state == "queued"
    for _ in range(2):
        with connected(service) as connection:
            assert rest(connection) == b""  # so long nothing was to be told
    service.post(f"/v1/jobs/{waiting['id']}/cancel")
    *_, last = events
    assert isinstance(last, JobView)
    assert last.state == "cancelled"
    service.post(f"/v1/jobs/{blocking['id']}/cancel")


ALIVE = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"


def test_who_does_not_wait_for_answers_is_dropped(service: RunningService) -> None:
    with connected(service) as connection:
        connection.sendall(ALIVE * 20)
        found = b""
        while found.count(b" 200 OK") < 20:
            found += some(connection)
    with connected(service) as connection:
        try:
            while True:
                connection.sendall(ALIVE * 1000)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert service.get("/health/live") == {"status": "live"}


def test_who_does_not_read_the_answer_is_dropped(start_service: StartService) -> None:
    service = start_service(client_idle_timeout="0.5")
    layers = [{"units": 2000, "activation": "identity"}]
    network = scenarios.network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    body = b'{"inputs": [' + b"[0], " * 9999 + b"[0]]}"
    head = f"POST /v1/networks/{network}/predictions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    with connected(service) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert is_held(service, connection)
        deadline = time.monotonic() + PATIENCE
        while is_held(service, connection):
            assert time.monotonic() < deadline
    assert service.get("/health/live") == {"status": "live"}


@pytest.mark.parametrize("before", [b"", ALIVE])
def test_line_ends_hold_no_connection(start_service: StartService, before: bytes) -> None:
    service = start_service(client_idle_timeout="0.5")
    with connected(service) as connection:
        connection.sendall(before)
        if before:
            assert b" 200 OK" in connection.recv(65536)
        connection.sendall(b"\r\n")
        rest(connection)
    assert "Traceback" not in service.log.read_text()


def test_the_end_of_a_body_counts_to_no_head(service: RunningService) -> None:
    body = b" " * 120_000 + b"{}"
    head = b"POST /v1/networks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with connected(service) as connection:
        connection.sendall(head % len(body) + body + ALIVE[:20])
        connection.sendall(ALIVE[20:])
        found = b""
        while b" 200 OK" not in found:
            found += some(connection)
    assert b" 422 " in found
    assert b" 431 " not in found
