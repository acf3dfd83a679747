"""The data folder: who owns it, and where things lie in it."""

import fcntl
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.errors import StorageFailed, StorageFull

_PROBE_BYTES = 2**20


class DataFolder:
    """`lock`, `journal.sqlite` and what belongs to it, `datasets/ds_…/`, `uploads/ds_…/` (files of datasets that are
    not ready), `networks/net_…/` (weights and checkpoints), `batches/bp_…/` (files of batch predictions),
    `requests/req_…/` (what requests bring and get that goes by another process, as long as they are carried out).

    One service owns it at a time. Raises StorageFailed, in one line, if another one does or it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()
        try:
            for folder in (
                self.path,
                self._networks,
                self._datasets,
                self._uploads,
                self._batches,
                self._requests,
            ):
                folder.mkdir(parents=True, exist_ok=True)
                durable_files.sync_folder(folder.parent)
            self._lock = (self.path / "lock").open("w")
        except OSError as problem:
            raise StorageFailed(f"The data folder {self.path} cannot be used: {problem.strerror}.") from problem
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            self._lock.close()
            raise StorageFailed(f"Another service uses the data folder {self.path}.") from problem

    @property
    def journal(self) -> Path:
        return self.path / "journal.sqlite"

    @property
    def _networks(self) -> Path:
        return self.path / "networks"

    @property
    def _datasets(self) -> Path:
        return self.path / "datasets"

    @property
    def _uploads(self) -> Path:
        return self.path / "uploads"

    @property
    def _batches(self) -> Path:
        return self.path / "batches"

    @property
    def _requests(self) -> Path:
        return self.path / "requests"

    def of_network(self, network_id: str) -> Path:
        return self._networks / network_id

    def of_dataset(self, dataset_id: str) -> Path:
        return self._datasets / dataset_id

    def of_upload(self, dataset_id: str) -> Path:
        return self._uploads / dataset_id

    def of_batch(self, batch_id: str) -> Path:
        return self._batches / batch_id

    def of_request(self, request_id: str) -> Path:
        return self._requests / request_id

    def sweep(
        self,
        networks: set[str],
        datasets: set[str],
        uploads: set[str],
        batches: set[str],
        is_known: Callable[[str, str], bool],
    ) -> None:
        """Remove what an interrupted service left behind: all but these networks, with the files that `is_known` of the
        network's id and the file's name, these datasets, these uploads, and these batch predictions."""
        durable_files.remove_unfinished(self.path)
        kept = (
            (self._datasets, datasets),
            (self._uploads, uploads),
            (self._batches, batches),
            (self._requests, set[str]()),
        )
        for place, known in kept:
            for folder in place.iterdir():
                if folder.name not in known:
                    shutil.rmtree(folder, ignore_errors=True)
        for folder in self._networks.iterdir():
            if folder.name not in networks:
                shutil.rmtree(folder, ignore_errors=True)
                continue
            for file in folder.iterdir():
                if not is_known(folder.name, file.name):
                    file.unlink(missing_ok=True)

    def probe(self) -> None:
        """Raises StorageFailed unless something can be written here."""
        durable_files.write_file(
            self.path / f"{durable_files.UNFINISHED}probe", lambda file: file.write(bytes(_PROBE_BYTES))
        ).unlink()

    def remove(self, folder: Path) -> None:
        """Remove the folder of something that the journal has forgotten already."""
        shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def given_back(self, folder: Path) -> Iterator[None]:
        """For recording what lies in a new folder: where there is no space for the record the folder is removed. Where
        the journal failed otherwise it may have the record all the same; then the folder stays, until the next start
        finds out."""
        try:
            yield
        except StorageFull:
            self.remove(folder)
            raise

    def close(self) -> None:
        self._lock.close()
