"""The service that a command speaks to: one that runs, or one of its own."""

from collections.abc import Iterator
from contextlib import contextmanager

from app.client import Client
from app.command.local import local_client
from app.command.showing import note


@contextmanager
def connected(url: str, local: bool) -> Iterator[Client]:
    if not local:
        with Client(url) as client:
            yield client
        return
    from app.settings import Settings

    folder = Settings().data_dir
    note(f"Starting a service on {folder.absolute()} (the very first start takes up to a minute) …")
    with local_client(folder) as client:
        yield client
