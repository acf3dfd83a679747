# Generated from datasets.py in _async by tests/synchronous.py. Change that one.
"""A dataset, as a program holds it."""

import hashlib
from pathlib import Path

from app.client._sync.content import content_of
from app.client._sync.handle import Handle
from app.client.encoding import ARROW_STREAM, BYTES, content_digest
from app.client.errors import Conflict, Invalid
from app.client.frames import Frame
from app.client.pausing import here, sleep
from app.client.tries import new_key
from app.schemas.datasets import DatasetView
from app.schemas.profiles import PartsView, ProfileView, RowsView

BYTES_OF_A_PART = 2**24
# Between two looks at what is being read: the first, and the longest.
_SOON, _SECONDS_BETWEEN_LOOKS = 0.02, 1.0


class Dataset(Handle[DatasetView]):
    """Data to train on, to measure with or to predict."""

    @property
    def state(self) -> str:
        return self.view.state

    @property
    def inputs(self) -> int | None:
        """Of a network for it."""
        return self.view.inputs

    @property
    def outputs(self) -> int | None:
        """Of a network for it; with classes their number."""
        return self.view.targets

    @property
    def classes(self) -> list[str] | None:
        return self.view.classes

    def refresh(self) -> "Dataset":
        """Ask how it is now."""
        self.view = self._connection.ask(DatasetView, "GET", self._path)
        return self

    def ready(self) -> "Dataset":
        """Wait until it has been read, also across a restart of the service.

        Raises Invalid, with the service's sentences, if it could not be read; Conflict if it is not closed.
        """
        pause = _SOON
        while self.view.state == "reading":
            sleep(pause)
            pause = min(2 * pause, _SECONDS_BETWEEN_LOOKS)
            self.refresh()
        if self.view.state == "failed":
            errors = [error.model_dump() for error in self.view.errors or ()]
            raise Invalid(422, {"detail": " ".join(error["message"] for error in errors), "errors": errors})
        if self.view.state == "receiving":
            raise Conflict(409, {"detail": f"The dataset {self.id} is not closed yet."})
        return self

    def profile(self) -> ProfileView:
        """What each column holds, and warnings. However long it takes to make it."""
        patience = self._connection.as_long_as_it_takes
        return self._connection.ask(ProfileView, "GET", f"{self._path}/profile", timeout=patience)

    def rows(self, *, offset: int = 0, limit: int = 20) -> RowsView:
        """`limit` rows, up to 1,000, beginning with number `offset`, counted from 0."""
        return self._connection.ask(RowsView, "GET", f"{self._path}/rows", params={"offset": offset, "limit": limit})

    def split(self, parts: dict[str, float], *, seed: int = 0, stratified: bool = True) -> list["Dataset"]:
        """New datasets, by their names and shares: `{"train": 0.8, "test": 0.2}`. However long it takes."""
        shares = [{"name": name, "share": share} for name, share in parts.items()]
        fields = {"parts": shares, "seed": seed, "stratified": stratified}
        patience = self._connection.as_long_as_it_takes
        found = self._connection.ask(
            PartsView, "POST", f"{self._path}/split", json=fields, headers=new_key(), timeout=patience
        )
        return [Dataset(self._connection, view) for view in found.data]

    def append(self, rows: Path | str | Frame) -> "Dataset":
        """A file or a frame, as one more of the `pieces` of a dataset that is open for rows. It is there once, also if
        the connection breaks and it has to be sent again."""
        is_path = isinstance(rows, Path | str)
        with content_of(rows) as content:
            headers = {
                "Content-Type": BYTES if is_path else ARROW_STREAM,
                "Content-Length": str(content.length()),
                "Content-Digest": content_digest(content.sha256()),
                **new_key(),
            }
            self.view = self._connection.ask(
                DatasetView, "POST", f"{self._path}/rows", content=content, headers=headers
            )
        return self

    def send_parts(self, path: Path | str, *, bytes_of_a_part: int = BYTES_OF_A_PART) -> "Dataset":
        """A file, in parts, to a dataset that is open for them; those that it has are not sent again. After whatever
        has broken it off the same call goes on.

        Raises ValueError if the dataset has parts that are not of this file.
        """
        path = Path(path)
        self.refresh()
        there = {piece.number: piece.sha256 for piece in self.view.pieces or ()}
        number = 0
        with here(path.open, "rb") as file:
            while part := here(file.read, bytes_of_a_part):
                number += 1
                digest = here(hashlib.sha256, part)
                if there.pop(number, None) != digest.hexdigest():
                    self._send_part(number, part, digest.digest())
        if there:
            raise ValueError(f"{path.name} has {number} parts; the dataset {self.id} has parts up to {max(there)}.")
        return self

    def _send_part(self, number: int, part: bytes, digest: bytes) -> None:
        headers = {"Content-Type": BYTES, "Content-Digest": content_digest(digest)}
        path = f"{self._path}/parts/{number}"
        self.view = self._connection.ask(DatasetView, "PUT", path, content=part, headers=headers)

    def close(self, *, wait: bool = True) -> "Dataset":
        """All rows or parts have been sent. One that is closed already stays so: it is safe to ask again."""
        headers = prefer(wait, self._connection.timeout)
        self.view = self._connection.ask(DatasetView, "POST", f"{self._path}/close", headers=headers, repeatable=True)
        return self.ready() if wait else self

    def delete(self) -> None:
        """One that is not ready is not read any further; one that a job needs is refused."""
        self._connection.delete(self._path)

    @property
    def _path(self) -> str:
        return f"/v1/datasets/{self.id}"

    def __repr__(self) -> str:
        rows = "" if self.view.rows is None else f", {self.view.rows:,} rows"
        return f"<Dataset {self._called()}: {self.view.state}{rows}>"


def prefer(wait: bool, timeout: float) -> dict[str, str]:
    """The service answers before this client would think it dead."""
    return {"Prefer": f"wait={min(30.0, timeout / 2):g}" if wait else "respond-async"}
