"""Messages arrive whole, in order and with their types, however the bytes are cut."""

import socket
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from nabla.engine.workers.ipc import Channel


class Located(msgspec.Struct, frozen=True, tag=True):
    path: Path


class Counted(msgspec.Struct, frozen=True, tag=True):
    number: int


@pytest.fixture
def sockets() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_messages_keep_their_types_and_order(sockets: tuple[socket.socket, socket.socket]) -> None:
    sender: Channel[Located | Counted] = Channel(sockets[0], Located | Counted)
    receiver: Channel[Located | Counted] = Channel(sockets[1], Located | Counted)
    messages = [Located(Path("/data/a")), Counted(1), Counted(2)]
    for message in messages:
        sender.send(message)
    assert receiver.receive() == messages[0]
    assert receiver.receive() == messages[1]
    assert receiver.receive() == messages[2]


def test_receive_available_does_not_block_on_a_partial_message(sockets: tuple[socket.socket, socket.socket]) -> None:
    receiver: Channel[Counted] = Channel(sockets[1], Counted)
    encoded = msgspec.json.encode(Counted(1)) + b"\n"
    sockets[0].sendall(encoded + encoded[:5])
    assert receiver.receive_available() == [Counted(1)]
    sockets[0].sendall(encoded[5:])
    assert receiver.receive_available() == [Counted(1)]


def test_closed_channel_raises_after_the_last_message(sockets: tuple[socket.socket, socket.socket]) -> None:
    receiver: Channel[Counted] = Channel(sockets[1], Counted)
    Channel(sockets[0], Counted).send(Counted(1))
    sockets[0].close()
    assert receiver.receive_available() == [Counted(1)]
    with pytest.raises(EOFError):
        receiver.receive_available()
    with pytest.raises(EOFError):
        receiver.receive()


def test_sending_to_a_process_that_does_not_read_times_out(sockets: tuple[socket.socket, socket.socket]) -> None:
    sockets[0].settimeout(0.01)
    sender: Channel[Counted] = Channel(sockets[0], Counted)

    def fill() -> None:
        for number in range(10**6):
            sender.send(Counted(number))

    with pytest.raises(TimeoutError):
        fill()
