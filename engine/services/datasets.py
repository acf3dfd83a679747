"""Dataset service: creates and deletes datasets, receives uploads in one or several requests, and ingests them."""

import logging
import threading
import uuid
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset, store_examples
from nabla.engine.data.examples import Examples
from nabla.engine.data.ingest_options import DatasetContent, Progress, TablePreview
from nabla.engine.errors import Conflict, InvalidInput, NablaError, NotFound, TooLarge, TooMany, Unavailable
from nabla.engine.literals import UploadKind
from nabla.engine.records import ids
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.services.networks import require_unused
from nabla.engine.storage.collection import check_single
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.workers.task_process import TaskCancelled, TaskProcess
from nabla.engine.workers.tasks import TaskResult
from nabla.engine.workers.tasks.datasets import IngestDataset, PreviewResult, PreviewTable, StoredDatasets

log = logging.getLogger(__name__)

# HTTP status of the response to an upload whose ingest is still running.
_ACCEPTED = 202
_UPLOAD_KINDS: dict[UploadKind, str] = {
    "rows": "rows, in files",
    "file": "one file, in chunks",
    "fields": "one request",
}
_UNREADY_REASONS = {
    "receiving": "is still being uploaded; close it when all of it has been sent",
    "reading": "is still being read",
    "failed": "could not be read; delete it and send it again",
}


class IngestTask:
    """The ingest of one upload. `progress` is None until it has begun."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.progress: Progress | None = None
        self.done = threading.Event()
        self.content: DatasetContent | None = None
        self.error: NablaError | None = None

    def result(self) -> DatasetContent:
        """Return the content of the dataset when the task is done; raise the error that it ended with."""
        if self.content is None:
            raise self.error or TaskCancelled()
        return self.content


class DatasetIngest:
    """Ingests uploads in a task process, each watched by a thread. Methods may be called from any thread."""

    def __init__(self, registry: Registry, data_dir: DataDir, task_process: TaskProcess) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._task_process = task_process
        self._tasks: dict[str, IngestTask] = {}

    @property
    def upload_ids(self) -> set[str]:
        """Ids of the uploads being ingested."""
        return set(self._tasks)

    def get(self, upload: Upload) -> IngestTask | None:
        """Return the task that ingests an upload."""
        return self._tasks.get(upload.id)

    def start(self, upload: Upload) -> IngestTask:
        """Start to ingest an upload."""
        task = IngestTask(upload)
        self._tasks[upload.id] = task
        threading.Thread(target=self._run, args=(task,), name=f"ingest-{upload.id}", daemon=True).start()
        return task

    def cancel(self, task: IngestTask) -> None:
        """Abort a task and wait until it has ended."""
        self._task_process.cancel(task.upload.id)
        task.done.wait()
        self.forget(task.upload)

    def run_preview(self, id: str, task: PreviewTable) -> TaskResult:
        """Preview a table in the task process, and wait for the result. Raises NablaError."""
        return self._task_process.run(id, task, lambda progress: None)

    def forget(self, upload: Upload) -> None:
        """Drop the tracking entry of a finished ingest."""
        self._tasks.pop(upload.id, None)

    def close(self) -> None:
        """Abort all tasks and end the process. The next service process restarts those of journaled uploads."""
        self._task_process.close()
        for task in tuple(self._tasks.values()):
            task.done.wait()

    def dataset(self, upload: Upload, content: DatasetContent) -> Dataset:
        """Return the dataset that an upload becomes."""
        return Dataset.from_content(
            upload.id, upload.name, upload.created_at, content, self._data_dir.dataset_dir(upload.id)
        )

    def _run(self, task: IngestTask) -> None:
        try:
            task.content = self._ingest(task)
        except NablaError as error:
            task.error = error
        except BaseException:
            log.exception("ingest of %s failed", task.upload.id)
            task.error = NablaError("Internal error while reading the dataset; the log of the service has the details.")
        with self._registry.lock:
            journaled = self._registry.uploads.get_or_none(task.upload.id) is not None
            try:
                if journaled:
                    self._record_result(task)
            except NablaError as error:
                log.critical("%s: %s", task.upload.id, error)
                task.error = error
            task.done.set()

    def _ingest(self, task: IngestTask) -> DatasetContent:
        upload = task.upload

        def on_progress(progress: Progress) -> None:
            task.progress = progress

        with durable_files.create_dir(self._data_dir.dataset_dir(upload.id)) as directory:
            sources = upload.sources(self._data_dir.upload_dir(upload.id))
            read = IngestDataset(sources, upload.reading, check=upload.state == "reading", output_dir=str(directory))
            stored = self._task_process.run(upload.id, read, on_progress)
            assert isinstance(stored, StoredDatasets)
            return stored.contents[0]

    def _record_result(self, task: IngestTask) -> None:
        """Turn a journaled upload into a dataset, or record why it failed."""
        upload, error = task.upload, task.error
        self.forget(upload)
        if task.content is not None:
            self._registry.promote_to_dataset(upload, self.dataset(upload, task.content))
            self._data_dir.remove(self._data_dir.upload_dir(upload.id))
        elif not isinstance(error, TaskCancelled | Unavailable):
            if not isinstance(error, InvalidInput):
                log.error("%s could not be read: %s", upload.id, error)
            problems = error.problems if isinstance(error, InvalidInput) else (("file", str(error)),)
            self._registry.change(self._registry.uploads, replace(upload, state="failed", chunks=(), problems=problems))
            # The record is kept for its error; its files have no more use.
            self._data_dir.remove(self._data_dir.upload_dir(upload.id))


class DatasetService:
    """Creates and deletes datasets, and receives uploads that become datasets.

    Methods may be called from any thread. Most uploads are a single request, which waits for its dataset; nothing is
    journaled until that is ready. An upload itself is journaled if its client gets its id before that: because it takes
    long, or comes in several requests.
    """

    def __init__(
        self,
        registry: Registry,
        data_dir: DataDir,
        task_process: TaskProcess,
        max_uploads: int,
        max_open_uploads: int,
    ) -> None:
        """Create the service.

        Args:
            registry: Where datasets and uploads are recorded.
            data_dir: Where their files are.
            task_process: Reads the files.
            max_uploads: Maximum number of single-request uploads, of datasets and networks, that arrive or are ingested
                at the same time.
            max_open_uploads: Maximum number of uploads that are open for further requests.
        """
        self._registry = registry
        self._data_dir = data_dir
        self._ingest = DatasetIngest(registry, data_dir, task_process)
        self._max_uploads = max_uploads
        self._max_open_uploads = max_open_uploads
        self._arriving: set[str] = set()

    def recover(self) -> None:
        """Restart the ingests that the last service process had not finished."""
        for upload in self._registry.uploads:
            if upload.state == "reading":
                self._ingest.start(upload)

    def close(self) -> None:
        """Abort all ingests. The next service process restarts those of journaled uploads."""
        self._ingest.close()

    def resolve(self, reference: str) -> Dataset | Upload:
        """Return a dataset, ready or not, by id or name.

        Raises:
            NotFound: There is none.
        """
        records = (
            self._registry.datasets.resolve_or_none(reference),
            self._registry.uploads.resolve_or_none(reference),
        )
        newest = max((record for record in records if record is not None), key=lambda record: record.id, default=None)
        if newest is None:
            raise NotFound.of("dataset", reference)
        return newest

    def resolve_single(self, reference: str) -> Dataset | Upload:
        """Return a dataset, ready or not, by id or by a name that no other has.

        Raises:
            NotFound: There is none.
            Conflict: Several have the name; it lists their ids.
        """
        dataset = self.resolve(reference)
        names = (self._registry.datasets.ids_named(reference), self._registry.uploads.ids_named(reference))
        check_single("dataset", reference, tuple(sorted((*names[0], *names[1]))))
        return dataset

    def resolve_ready(self, reference: str) -> Dataset:
        """Return a dataset by id or name.

        Raises:
            NotFound: There is none.
            Conflict: It is not ready.
        """
        dataset = self.resolve(reference)
        if isinstance(dataset, Upload):
            raise Conflict(f"The dataset {dataset.id} {_UNREADY_REASONS[dataset.state]}.")
        return dataset

    def page(self, after: str | None, limit: int) -> tuple[list[Dataset | Upload], bool]:
        """Return up to `limit` datasets older than `after`, ready or not, newest first; and whether there are more."""
        datasets, more_datasets = self._registry.datasets.page(after, limit)
        uploads, more_uploads = self._registry.uploads.page(after, limit)
        both: list[Dataset | Upload] = [*datasets, *uploads]
        newest_first = sorted(both, key=lambda record: record.id, reverse=True)
        return newest_first[:limit], more_datasets or more_uploads or len(newest_first) > limit

    def progress(self, upload: Upload) -> Progress | None:
        """Return how far the ingest of an upload is; None if it is not being ingested."""
        task = self._ingest.get(upload)
        return task.progress if task else None

    def create_dataset(
        self, examples: Examples, name: str | None, idempotency: IdempotencyKey | None = None
    ) -> Dataset:
        """Store validated examples as a dataset."""
        id = ids.new_id(ids.DATASET)
        directory = self._data_dir.dataset_dir(id)
        dataset = store_examples(directory, examples, id=id, name=name, created_at=datetime.now(UTC))
        with self._data_dir.remove_if_full(directory):
            self._registry.add(self._registry.datasets, dataset, idempotency)
        return dataset

    def delete_dataset(self, dataset: Dataset) -> None:
        """Delete a dataset that is ready.

        Raises:
            Conflict: An unfinished job or batch prediction needs it.
        """
        with self._registry.lock:
            self._registry.datasets.get(dataset.id)
            require_unused(self._registry, dataset.id, "dataset", lambda user: user.dataset_ids)
            self._registry.remove(self._registry.datasets, dataset)
        self._data_dir.remove(self._data_dir.dataset_dir(dataset.id))

    def delete_owned(self, dataset_ids: Sequence[str]) -> None:
        """Delete the datasets that a deleted job or batch prediction owned, except those in use by others, or gone."""
        for id in dataset_ids:
            with suppress(NotFound, Conflict):
                self.delete_dataset(self._registry.datasets.get(id))

    def delete_upload(self, upload: Upload) -> None:
        """Delete a dataset that is not ready, and abort its ingest.

        Raises:
            Conflict: It has become ready.
        """
        with self._registry.lock:
            if self._registry.uploads.get_or_none(upload.id) is None:
                raise Conflict("The dataset has just become ready; delete it again.")
            self._registry.remove(self._registry.uploads, upload)
        task = self._ingest.get(upload)
        if task is not None:
            self._ingest.cancel(task)
        self.discard(upload)

    def begin_upload(self, kind: UploadKind) -> Upload:
        """Create a directory for files that will arrive. The upload is not journaled yet.

        Raises:
            TooMany: Too many uploads are arriving, or are open.
            StorageFailed: The directory could not be created.
        """
        upload = Upload(ids.new_id(ids.DATASET), kind, datetime.now(UTC))
        with self._registry.lock:
            if kind == "fields":
                if len(self._arriving | self._ingest.upload_ids) >= self._max_uploads:
                    raise TooMany(
                        f"{self._max_uploads} datasets and networks are being uploaded or read already, the maximum. "
                        "Retry later."
                    )
                self._arriving.add(upload.id)
            else:
                self._check_open_uploads()
        try:
            with durable_files.create_dir(self._data_dir.upload_dir(upload.id)):
                return upload
        except BaseException:
            self._arriving.discard(upload.id)
            raise

    def create_chunk_file(self, upload: Upload) -> durable_files.PendingFile:
        """Create a file of the upload, to be written and then stored."""
        return durable_files.PendingFile(self._data_dir.upload_dir(upload.id), "the upload")

    def store_chunk(self, upload: Upload, file: durable_files.PendingFile, chunk: UploadChunk) -> UploadChunk:
        """Make a complete file durable; return the chunk with the file's name, size and digest."""
        path = file.commit(self._data_dir.upload_dir(upload.id) / f"{uuid.uuid4().hex}.part")
        return replace(chunk, file=path.name, bytes=file.bytes, sha256=file.sha256)

    def chunk_path(self, upload: Upload, chunk: UploadChunk) -> Path:
        """Return the path of a chunk, which is valid until the upload is discarded."""
        return self._data_dir.upload_dir(upload.id) / chunk.file

    def discard(self, upload: Upload) -> None:
        """Remove the files of an upload, unless it is journaled."""
        self._arriving.discard(upload.id)
        if self._registry.uploads.get_or_none(upload.id) is None:
            self._data_dir.remove(self._data_dir.upload_dir(upload.id))

    def discard_chunk(self, upload: Upload, chunk: UploadChunk) -> None:
        """Remove the file of a chunk, unless it was added to the upload."""
        now = self._registry.uploads.get_or_none(upload.id)
        if now is None or all(other.file != chunk.file for other in now.chunks):
            self.chunk_path(upload, chunk).unlink(missing_ok=True)

    def open_upload(self, upload: Upload, idempotency: IdempotencyKey | None = None) -> Upload:
        """Journal an upload, so that its chunks can come in further requests."""
        self._registry.add(self._registry.uploads, upload, idempotency)
        return upload

    def require_open(self, reference: str, kind: UploadKind) -> Upload:
        """Return an open upload of this kind, by id or name.

        Raises:
            NotFound: There is none.
            Conflict: It accepts no more chunks, or none of this kind.
        """
        upload = self.resolve(reference)
        state = "ready" if isinstance(upload, Dataset) else upload.state
        if isinstance(upload, Dataset) or state != "receiving":
            raise Conflict(f"The dataset is {state}; only one that is receiving accepts more data.")
        if upload.kind != kind:
            raise Conflict(f"The dataset was opened to receive {_UPLOAD_KINDS[upload.kind]}.")
        return upload

    def append_chunk(self, upload: Upload, chunk: UploadChunk, idempotency: IdempotencyKey | None = None) -> Upload:
        """Add a chunk behind all others; raises as `put_chunk`."""
        with self._registry.lock:
            chunks = self.require_open(upload.id, upload.kind).chunks
            number = max((other.number for other in chunks), default=0) + 1
            return self.put_chunk(upload, replace(chunk, number=number), idempotency)

    def put_chunk(self, upload: Upload, chunk: UploadChunk, idempotency: IdempotencyKey | None = None) -> Upload:
        """Add a chunk, or replace the one of its number; return the changed upload.

        Raises:
            NotFound: The upload was deleted.
            Conflict: The upload accepts no more chunks.
            TooLarge: All chunks together are larger than the service allows.
        """
        with self._registry.lock:
            now = self.require_open(upload.id, upload.kind)
            replaced = now.chunk(chunk.number)
            others = [other for other in now.chunks if other is not replaced]
            changed = replace(now, chunks=tuple(sorted((*others, chunk), key=lambda chunk: chunk.number)))
            if changed.bytes > upload.reading.largest:
                raise TooLarge("file", f"At most {upload.reading.largest} bytes are accepted in one dataset.")
            self._registry.change(self._registry.uploads, changed, idempotency)
        if replaced is not None:
            self.discard_chunk(upload, replaced)
        return changed

    def ingest_upload(
        self, upload: Upload, wait_seconds: float, idempotency: IdempotencyKey | None = None
    ) -> Dataset | Upload:
        """Ingest an upload of one request; return its dataset, or the upload if that takes longer than `wait_seconds`.

        In the latter case the ingest continues, and the upload is journaled; its key is recorded with status 202.

        Raises:
            NablaError: The upload could not be read or stored; its files are removed.
        """
        self._registry.check_name(self._registry.datasets, upload.id, upload.name)
        task = self._ingest.start(upload)
        try:
            task.done.wait(wait_seconds)
            with self._registry.lock:
                if not task.done.is_set():
                    reading = replace(upload, state="reading")
                    accepted = replace(idempotency, status=_ACCEPTED) if idempotency else None
                    self._registry.add(self._registry.uploads, reading, accepted)
                    task.upload = reading
                    return reading
            dataset = self._ingest.dataset(upload, task.result())
            self._registry.add(self._registry.datasets, dataset, idempotency)
        except BaseException:
            self._ingest.cancel(task)
            self.discard(upload)
            self._data_dir.remove(self._data_dir.dataset_dir(upload.id))
            raise
        self._ingest.forget(upload)
        self.discard(upload)
        return dataset

    def preview_upload(self, upload: Upload) -> TablePreview:
        """Return a preview of an upload of one request, which is not recorded.

        Raises:
            NablaError: The upload could not be read.
        """
        with durable_files.create_dir(self._data_dir.upload_dir(upload.id) / "preview") as directory:
            sources = upload.sources(self._data_dir.upload_dir(upload.id))
            result = self._ingest.run_preview(
                upload.id, PreviewTable(sources, upload.reading, output_dir=str(directory))
            )
        assert isinstance(result, PreviewResult)
        return result.preview

    def close_upload(self, upload: Upload, wait_seconds: float) -> Dataset | Upload:
        """Ingest an open upload; return its dataset, or the upload if that takes longer than `wait_seconds`.

        Raises:
            Conflict: It is not open, has no chunks, or lacks some.
            NablaError: It could not be read; the record is kept, with the error.
        """
        with self._registry.lock:
            now = self.require_open(upload.id, upload.kind)
            _check_complete(now)
            reading = replace(now, state="reading")
            self._registry.change(self._registry.uploads, reading)
            task = self._ingest.start(reading)
        task.done.wait(wait_seconds)
        if not task.done.is_set():
            return reading
        task.result()
        return self._registry.datasets.get(upload.id)

    def _check_open_uploads(self) -> None:
        open_uploads = [upload for upload in self._registry.uploads if upload.state == "receiving"]
        if len(open_uploads) >= self._max_open_uploads:
            oldest = min(open_uploads, key=lambda upload: upload.id)
            raise TooMany(
                f"{len(open_uploads)} datasets are open already, the maximum. The oldest is {oldest.id}, opened "
                f"{oldest.created_at:%Y-%m-%d}: close it, or delete it if it was abandoned."
            )


def _check_complete(upload: Upload) -> None:
    """Raise Conflict unless all chunks up to the highest number have arrived."""
    if not upload.chunks:
        raise Conflict("Nothing has been sent yet; there is nothing to close.")
    if upload.kind == "file":
        missing = set(range(1, upload.chunks[-1].number)) - {chunk.number for chunk in upload.chunks}
        if missing:
            raise Conflict(f"Chunks are missing: {', '.join(map(str, sorted(missing)[:20]))}.")
