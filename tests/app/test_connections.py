"""Clients that do not keep to HTTP, or keep silent."""

import socket

import pytest

from app.schemas.jobs import JobView
from tests.app import stories
from tests.conftest import StartService
from tests.running import RunningService


def connected(service: RunningService) -> socket.socket:
    return socket.create_connection(service.socket.getsockname()[:2], timeout=60)


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
    service = start_service(silence_seconds="0.5")
    with connected(service) as connection:
        connection.sendall(begun)
        answer = rest(connection)
    assert answer == b"" if not begun else b" 408 " in answer
    assert service.get("/health/live") == {"status": "live"}


def test_who_only_listens_is_not(start_service: StartService) -> None:
    service = start_service(silence_seconds="0.5")
    blocking = stories.endless(service)
    waiting = stories.job(service)
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
