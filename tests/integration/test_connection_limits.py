"""Connections of clients that send too much, too little or nothing, or do not read."""

import socket
import time
from pathlib import Path

import pytest

from nabla.app.schemas.jobs import JobView
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import TIMEOUT_SECONDS, RunningService


def connect(service: RunningService) -> socket.socket:
    return socket.create_connection(service.socket.getsockname()[:2], timeout=60)


def receive_part(connection: socket.socket) -> bytes:
    """Return the next part of a response."""
    part = connection.recv(65536)
    assert part
    return part


def is_open(service: RunningService, connection: socket.socket) -> bool:
    """Return whether the service still has its side of the connection open."""
    ends = [f":{end[1]:04X}" for end in (service.socket.getsockname(), connection.getsockname())]
    table = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any([line[1][-5:], line[2][-5:]] == ends and line[3] == "01" for line in table)


def receive_all(connection: socket.socket) -> bytes:
    """Return everything until the service closes the connection."""
    content = b""
    try:
        while part := connection.recv(65536):
            content += part
    except ConnectionResetError:  # closed while the test was still sending
        pass
    return content


def test_endless_head_is_rejected(service: RunningService) -> None:
    for line in (b"X-Long: " + b"x" * 2**17, b"X: y\r\n" * 2**15):
        with connect(service) as connection:
            connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: [::]\r\n" + line)
            assert b" 431 " in receive_all(connection)
    assert service.get("/health/live") == {"status": "live"}


@pytest.mark.parametrize(
    "partial_request",
    [
        b"",
        b"GET /health",
        b"POST /v1/networks HTTP/1.1\r\nHost: [::]\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{",
    ],
)
def test_silent_client_is_disconnected(start_service: StartService, partial_request: bytes) -> None:
    service = start_service(client_idle_timeout="0.5")
    with connect(service) as connection:
        connection.sendall(partial_request)
        response = receive_all(connection)
    assert response == b"" if not partial_request else b" 408 " in response
    assert service.get("/health/live") == {"status": "live"}


def test_client_of_a_quiet_event_stream_stays_connected(start_service: StartService) -> None:
    service = start_service(client_idle_timeout="0.5")
    blocking = scenarios.submit_endless_job(service)
    waiting = scenarios.submit_job(service)
    events = service.follow(waiting["id"])
    assert isinstance(first := next(events), JobView)
    assert first.state == "queued"
    for _ in range(2):
        with connect(service) as connection:
            assert receive_all(connection) == b""  # the stream is quiet for longer than the timeout
    service.post(f"/v1/jobs/{waiting['id']}/cancel")
    *_, last = events
    assert isinstance(last, JobView)
    assert last.state == "cancelled"
    service.post(f"/v1/jobs/{blocking['id']}/cancel")


ALIVE = b"GET /health/live HTTP/1.1\r\nHost: [::]\r\n\r\n"


def test_client_with_too_many_pipelined_requests_is_disconnected(service: RunningService) -> None:
    with connect(service) as connection:
        connection.sendall(ALIVE * 20)
        content = b""
        while content.count(b" 200 OK") < 20:
            content += receive_part(connection)
    with connect(service) as connection:
        try:
            while True:
                connection.sendall(ALIVE * 1000)
        except (ConnectionResetError, BrokenPipeError):
            pass
    assert service.get("/health/live") == {"status": "live"}


def test_client_that_does_not_read_is_disconnected(start_service: StartService) -> None:
    service = start_service(client_idle_timeout="0.5")
    layers = [{"units": 2000, "activation": "identity"}]
    network = scenarios.create_network(service, cost="quadratic", inputs=1, layers=layers)["id"]
    body = b'{"inputs": [' + b"[0], " * 9999 + b"[0]]}"
    head = f"POST /v1/networks/{network}/predictions HTTP/1.1\r\nHost: [::]\r\nContent-Type: application/json\r\n"
    with connect(service) as connection:
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert is_open(service, connection)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while is_open(service, connection):
            assert time.monotonic() < deadline
    assert service.get("/health/live") == {"status": "live"}


@pytest.mark.parametrize("first_request", [b"", ALIVE])
def test_empty_lines_do_not_keep_a_connection_open(start_service: StartService, first_request: bytes) -> None:
    service = start_service(client_idle_timeout="0.5")
    with connect(service) as connection:
        connection.sendall(first_request)
        if first_request:
            assert b" 200 OK" in connection.recv(65536)
        connection.sendall(b"\r\n")
        receive_all(connection)
    assert "Traceback" not in service.log.read_text()


def test_body_does_not_count_as_the_next_head(service: RunningService) -> None:
    body = b" " * 120_000 + b"{}"
    head = b"POST /v1/networks HTTP/1.1\r\nHost: [::]\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    with connect(service) as connection:
        connection.sendall(head % len(body) + body + ALIVE[:20])
        connection.sendall(ALIVE[20:])
        content = b""
        while b" 200 OK" not in content:
            content += receive_part(connection)
    assert b" 422 " in content
    assert b" 431 " not in content
