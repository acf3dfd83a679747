"""The data directory: its lock, its layout, and the removal of files that no record refers to."""

import fcntl
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.errors import StorageFailed, StorageFull
from nabla.engine.storage.journal import require_in_place
from nabla.engine.storage.registry import Registry

_PROBE_BYTES = 2**20


class DataDir:
    """The data directory of one running service.

    - `lock`: locked by the running service
    - `journal.sqlite` and the files beside it
    - `datasets/ds_…/`
    - `uploads/ds_…/`: chunks of datasets that are not ready
    - `networks/net_…/`: weights and checkpoints
    - `batches/bp_…/`: files of batch predictions
    - `requests/req_…/`: files that a request and a task process exchange, while the request runs
    """

    def __init__(self, path: Path) -> None:
        """Create the directory if it does not exist, take its lock, and close it to other users.

        Raises:
            StorageFailed: It cannot be written, belongs to another user, or another service uses it.
        """
        self.path = path.absolute()
        self._networks = self.path / "networks"
        self._datasets = self.path / "datasets"
        self._uploads = self.path / "uploads"
        self._batch_predictions = self.path / "batches"
        self._requests = self.path / "requests"
        self._lock_path = self.path / "lock"
        children = (self._networks, self._datasets, self._uploads, self._batch_predictions, self._requests)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            durable_files.sync_dir(self.path.parent)
            _require_owner(self.path, self.path.stat(), os.geteuid(), 0)
            for directory in children:
                directory.mkdir(exist_ok=True)
                _require_owner(directory, directory.lstat(), os.geteuid())
                directory.chmod(0o700)
            durable_files.sync_dir(self.path)
            for file in self.path.glob("journal.*"):  # an earlier version made them readable for all
                file.chmod(0o600)
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock = os.open(self._lock_path, flags, 0o600)
        except OSError as error:
            raise StorageFailed(f"The data directory {self.path} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise StorageFailed(f"Another service uses the data directory {self.path}.") from error

    @property
    def journal(self) -> Path:
        """Path of the journal."""
        return self.path / "journal.sqlite"

    def network_dir(self, network_id: str) -> Path:
        """Return the directory of a network."""
        return self._networks / network_id

    def dataset_dir(self, dataset_id: str) -> Path:
        """Return the directory of a dataset."""
        return self._datasets / dataset_id

    def upload_dir(self, dataset_id: str) -> Path:
        """Return the directory of the upload that becomes a dataset."""
        return self._uploads / dataset_id

    def batch_prediction_dir(self, batch_id: str) -> Path:
        """Return the directory of a batch prediction."""
        return self._batch_predictions / batch_id

    def request_dir(self, request_id: str) -> Path:
        """Return the directory of a request."""
        return self._requests / request_id

    def sweep(
        self,
        networks: set[str],
        datasets: set[str],
        uploads: set[str],
        batch_predictions: set[str],
        is_referenced: Callable[[str, str], bool],
    ) -> None:
        """Remove all files that no record refers to; see `remove_orphaned_files`.

        Args:
            networks: Ids of all networks.
            datasets: Ids of all datasets.
            uploads: Ids of all uploads with chunks.
            batch_predictions: Ids of all batch predictions with a file.
            is_referenced: Returns whether a record refers to a file, from the id of its network and its name.
        """
        durable_files.remove_unfinished(self.path)
        for parent, ids in (
            (self._datasets, datasets),
            (self._uploads, uploads),
            (self._batch_predictions, batch_predictions),
            (self._requests, set[str]()),
        ):
            for directory in parent.iterdir():
                if directory.name not in ids:
                    self.remove(directory)
        for directory in self._networks.iterdir():
            if directory.name not in networks:
                self.remove(directory)
                continue
            for file in directory.iterdir():
                if not is_referenced(directory.name, file.name):
                    file.unlink(missing_ok=True)

    def require_in_place(self) -> None:
        """Raise StorageFailed if the directory is no longer where it was opened."""
        require_in_place(self._lock, self._lock_path)

    def probe(self) -> None:
        """Raise StorageFailed unless the directory is in its place, and a file can be written."""
        self.require_in_place()
        path = self.path / f"{durable_files.UNFINISHED_PREFIX}probe"
        durable_files.write_file(path, lambda file: file.write(bytes(_PROBE_BYTES))).unlink()

    def remove(self, directory: Path) -> None:
        """Remove a directory that no record refers to any more."""
        shutil.rmtree(directory, ignore_errors=True)

    @contextmanager
    def remove_if_full(self, directory: Path) -> Iterator[None]:
        """Remove a new directory if the block, which adds its record, raises StorageFull.

        After any other failure of the journal the record may have been written, so the directory stays; the next start
        removes it if no record refers to it.
        """
        try:
            yield
        except StorageFull:
            self.remove(directory)
            raise

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)


def _require_owner(directory: Path, status: os.stat_result, *users: int) -> None:
    """Raise StorageFailed if a path is no directory, or belongs to none of these users."""
    if not stat.S_ISDIR(status.st_mode):
        raise StorageFailed(f"{directory} is no directory, but a link or a file.")
    if status.st_uid not in users:
        raise StorageFailed(f"{directory} belongs to another user (uid {status.st_uid}).")


def remove_orphaned_files(registry: Registry, data_dir: DataDir) -> None:
    """Remove all files that no record refers to. An interrupted service leaves such files."""
    published = {network.id: {version.file for version in network.versions} for network in registry.networks}

    def is_referenced(network_id: str, file: str) -> bool:
        if file in published[network_id]:
            return True
        job = registry.jobs.get_or_none(file.split("-")[0])
        return job is not None and file in job.files

    datasets = {dataset.id for dataset in registry.datasets}
    uploads = {upload.id for upload in registry.uploads if upload.state != "failed"}
    batches = {batch.id for batch in registry.batch_predictions if batch.state == "succeeded"}
    data_dir.sweep(set(published), datasets, uploads, batches, is_referenced)
