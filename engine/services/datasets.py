"""Datasets on their way: their files as they come, in one request or in several."""

import logging
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import Content, Progress
from nabla.engine.errors import Conflict, InvalidInput, NablaError, NotFound, TooLarge, TooMany, Unavailable
from nabla.engine.literals import UploadKind
from nabla.engine.records import ids
from nabla.engine.records.upload import Upload, UploadChunk
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Receipt, Registry
from nabla.engine.workers.task_process import Child, GivenUp
from nabla.engine.workers.task_protocol import Read, Stored

log = logging.getLogger(__name__)


class Underway:
    """An upload that is being read. `progress`: how far that is; None before it has begun."""

    def __init__(self, upload: Upload) -> None:
        self.upload = upload
        self.progress: Progress | None = None
        self.ended = threading.Event()
        self.content: Content | None = None
        self.problem: NablaError | None = None

    def found(self) -> Content:
        """When it has ended. Raises what was wrong."""
        if self.content is None:
            raise self.problem or GivenUp()
        return self.content


class Readings:
    """Methods may be called from any thread. Each upload has a thread that waits for the process that reads."""

    def __init__(self, registry: Registry, folder: DataFolder, reader: Child) -> None:
        self._registry = registry
        self._folder = folder
        self._reader = reader
        self._underway: dict[str, Underway] = {}

    @property
    def ids(self) -> set[str]:
        """Of the uploads that are being read."""
        return set(self._underway)

    def find(self, upload: Upload) -> Underway | None:
        return self._underway.get(upload.id)

    def end(self) -> None:
        """Leave what is being read."""
        self._reader.close()
        for underway in tuple(self._underway.values()):
            underway.ended.wait()

    def start(self, upload: Upload) -> Underway:
        """Begin to read it."""
        underway = Underway(upload)
        self._underway[upload.id] = underway
        threading.Thread(target=self._work, args=(underway,), name=f"reading-{upload.id}", daemon=True).start()
        return underway

    def stop(self, underway: Underway) -> None:
        """Stop reading it."""
        self._reader.give_up(underway.upload.id)
        underway.ended.wait()
        self.forget(underway.upload)

    def forget(self, upload: Upload) -> None:
        """One whose end nobody needs to know of any more."""
        self._underway.pop(upload.id, None)

    def dataset(self, upload: Upload, content: Content) -> Dataset:
        return Dataset.of(upload.id, upload.name, upload.created_at, content, self._folder.of_dataset(upload.id))

    def _work(self, underway: Underway) -> None:
        try:
            underway.content = self._carry_out(underway)
        except NablaError as problem:
            underway.problem = problem
        except BaseException:
            log.exception("reading %s failed", underway.upload.id)
            underway.problem = NablaError("Reading met an error of the service; its log has the details.")
        with self._registry.lock:
            known = self._registry.uploads.peek(underway.upload.id) is not None
            try:
                if known:
                    self._settle(underway)
            except NablaError as problem:
                log.critical("%s: %s", underway.upload.id, problem)
                underway.problem = problem
            underway.ended.set()

    def _carry_out(self, underway: Underway) -> Content:
        upload = underway.upload

        def advanced(progress: Progress) -> None:
            underway.progress = progress

        with durable_files.new_folder(self._folder.of_dataset(upload.id)) as place:
            sources = upload.sources(self._folder.of_upload(upload.id))
            errand = Read(sources, upload.reading, str(place), check=upload.state == "reading")
            stored = self._reader.carry_out(upload.id, errand, advanced)
            assert isinstance(stored, Stored)
            return stored.contents[0]

    def _settle(self, underway: Underway) -> None:
        """An upload that the journal knows becomes a dataset, or fails."""
        upload, problem = underway.upload, underway.problem
        self.forget(upload)
        if underway.content is not None:
            self._registry.become(upload, self.dataset(upload, underway.content))
            self._folder.remove(self._folder.of_upload(upload.id))
        elif not isinstance(problem, GivenUp | Unavailable):
            if not isinstance(problem, InvalidInput):
                log.error("%s could not be read: %s", upload.id, problem)
            problems = problem.problems if isinstance(problem, InvalidInput) else (("file", str(problem)),)
            self._registry.change(self._registry.uploads, replace(upload, state="failed", chunks=(), problems=problems))
            # It is known for its reason alone; nothing reads its files any more.
            self._folder.remove(self._folder.of_upload(upload.id))


class Uploads:
    """Methods may be called from any thread.

    Most uploads are one request, which waits for the dataset; then the journal knows nothing of them until that is
    ready. It knows those whose sender has been told of them: because they take long, or come in several requests.
    """

    def __init__(self, registry: Registry, folder: DataFolder, reader: Child, most: int, most_open: int) -> None:
        """`most`: how many, networks among them, may arrive in one request, or be read, at the same time;
        `most_open`: how many may be open for requests to come."""
        self._registry = registry
        self._folder = folder
        self._readings = Readings(registry, folder, reader)
        self._most = most
        self._most_open = most_open
        self._arriving: set[str] = set()

    def recover(self) -> None:
        """What was being read when the last service ended is read again."""
        for upload in self._registry.uploads:
            if upload.state == "reading":
                self._readings.start(upload)

    def end(self) -> None:
        """What is being read is left; the next service reads what the journal knows of."""
        self._readings.end()

    def find(self, reference: str) -> Dataset | Upload:
        """A dataset, ready or not, by id or name. Raises NotFound."""
        found = (self._registry.datasets.look(reference), self._registry.uploads.look(reference))
        newest = max((record for record in found if record is not None), key=lambda record: record.id, default=None)
        if newest is None:
            raise NotFound.of("dataset", reference)
        return newest

    def ready(self, reference: str) -> Dataset:
        """Raises NotFound, Conflict if it is not ready."""
        found = self.find(reference)
        if isinstance(found, Upload):
            why = {
                "receiving": "is not closed yet; close it when all of it has been sent",
                "reading": "is still being read",
                "failed": "could not be read; delete it and send it again",
            }
            raise Conflict(f"The dataset {found.id} {why[found.state]}.")
        return found

    def page(self, after: str | None, limit: int) -> tuple[list[Dataset | Upload], bool]:
        """Up to `limit` datasets, ready or not, newest first, older than `after`; and whether there are more."""
        datasets, more = self._registry.datasets.page(after, limit)
        uploads, more_uploads = self._registry.uploads.page(after, limit)
        both: list[Dataset | Upload] = [*datasets, *uploads]
        found = sorted(both, key=lambda record: record.id, reverse=True)
        return found[:limit], more or more_uploads or len(found) > limit

    def progress(self, upload: Upload) -> Progress | None:
        """How far reading it has come; None where nobody reads it."""
        underway = self._readings.find(upload)
        return underway.progress if underway else None

    def begin(self, kind: UploadKind) -> Upload:
        """A folder for files that will come. Raises TooMany, StorageFailed."""
        upload = Upload(ids.new_id(ids.DATASET), kind, datetime.now(UTC))
        with self._registry.lock:
            if kind == "fields":
                if len(self._arriving | self._readings.ids) >= self._most:
                    raise TooMany(
                        f"{self._most} datasets and networks are on their way already, as many as this service takes."
                    )
                self._arriving.add(upload.id)
            else:
                self._check_open()
        try:
            with durable_files.new_folder(self._folder.of_upload(upload.id)):
                return upload
        except BaseException:
            self._arriving.discard(upload.id)
            raise

    def _check_open(self) -> None:
        opened = [upload for upload in self._registry.uploads if upload.state == "receiving"]
        if len(opened) >= self._most_open:
            oldest = min(opened, key=lambda upload: upload.id)
            raise TooMany(
                f"{len(opened)} datasets are open already, as many as this service takes. The oldest is {oldest.id}, "
                f"opened {oldest.created_at:%Y-%m-%d}: close it, or delete it if nobody will."
            )

    def incoming(self, upload: Upload) -> durable_files.Unfinished:
        """A file of the upload, to be written."""
        return durable_files.Unfinished(self._folder.of_upload(upload.id), "the upload")

    def kept(self, upload: Upload, file: durable_files.Unfinished, chunk: UploadChunk) -> UploadChunk:
        """A file that has come, whole and for good."""
        path = file.keep(self._folder.of_upload(upload.id) / f"{uuid.uuid4().hex}.part")
        return replace(chunk, file=path.name, bytes=file.bytes, sha256=file.sha256)

    def path(self, upload: Upload, chunk: UploadChunk) -> Path:
        """Where a file that has come is, until the upload is discarded."""
        return self._folder.of_upload(upload.id) / chunk.file

    def discard(self, upload: Upload) -> None:
        """Forget an upload, unless the journal knows it."""
        self._arriving.discard(upload.id)
        if self._registry.uploads.peek(upload.id) is None:
            self._folder.remove(self._folder.of_upload(upload.id))

    def discard_chunk(self, upload: Upload, chunk: UploadChunk) -> None:
        """Forget a file that has come, unless the upload has it."""
        now = self._registry.uploads.peek(upload.id)
        if now is None or all(other.file != chunk.file for other in now.chunks):
            (self._folder.of_upload(upload.id) / chunk.file).unlink(missing_ok=True)

    def open(self, upload: Upload, receipt: Receipt | None) -> Upload:
        """Let it come in several requests."""
        self._registry.add(self._registry.uploads, upload, receipt)
        return upload

    def opened(self, reference: str, kind: UploadKind) -> Upload:
        """One that takes more chunks of a kind. Raises NotFound, Conflict."""
        found = self.find(reference)
        state = "ready" if isinstance(found, Dataset) else found.state
        if isinstance(found, Dataset) or state != "receiving":
            raise Conflict(f"The dataset is {state}; only one that is receiving takes more.")
        if found.kind != kind:
            raise Conflict(f"The dataset was opened for {_COMES_AS[found.kind]}.")
        return found

    def append(self, upload: Upload, chunk: UploadChunk, receipt: Receipt | None) -> Upload:
        """A chunk behind all others. Raises as `add`."""
        with self._registry.lock:
            number = max((one.number for one in self.opened(upload.id, upload.kind).chunks), default=0) + 1
            return self.add(upload, replace(chunk, number=number), receipt)

    def add(self, upload: Upload, chunk: UploadChunk, receipt: Receipt | None = None) -> Upload:
        """A chunk more; one of its number takes the place of the one before. Raises Conflict if no more are taken,
        TooLarge if all of it is more than may be."""
        with self._registry.lock:
            now = self.opened(upload.id, upload.kind)
            before = now.chunk(chunk.number)
            others = [other for other in now.chunks if other is not before]
            changed = replace(now, chunks=tuple(sorted((*others, chunk), key=lambda one: one.number)))
            if changed.bytes > upload.reading.largest:
                raise TooLarge("file", f"At most {upload.reading.largest} bytes are accepted in one dataset.")
            self._registry.change(self._registry.uploads, changed, receipt, changed)
        if before is not None:
            self.discard_chunk(upload, before)
        return changed

    def read(self, upload: Upload, seconds: float, receipt: Receipt | None) -> Dataset | Upload:
        """The dataset that an upload of one request becomes; or the upload, which is read on, if that takes longer than
        so many seconds. Raises what is wrong with it, and then nothing of it is left."""
        underway = self._readings.start(upload)
        try:
            underway.ended.wait(seconds)
            with self._registry.lock:
                if not underway.ended.is_set():
                    reading = replace(upload, state="reading")
                    self._registry.add(self._registry.uploads, reading, receipt)
                    underway.upload = reading
                    return reading
            dataset = self._readings.dataset(upload, underway.found())
            self._registry.add(self._registry.datasets, dataset, receipt)
        except BaseException:
            self._readings.stop(underway)
            self.discard(upload)
            self._folder.remove(self._folder.of_dataset(upload.id))
            raise
        self._readings.forget(upload)
        self.discard(upload)
        return dataset

    def close(self, upload: Upload, seconds: float) -> Dataset | Upload:
        """Let an upload of several requests be read: the dataset, or the upload if that takes longer than so many
        seconds. Raises Conflict if it has no chunks or lacks some, and what is wrong with it, which stays known."""
        with self._registry.lock:
            now = self.opened(upload.id, upload.kind)
            _check_complete(now)
            reading = replace(now, state="reading")
            self._registry.change(self._registry.uploads, reading)
            underway = self._readings.start(reading)
        underway.ended.wait(seconds)
        if not underway.ended.is_set():
            return reading
        underway.found()
        return self._registry.datasets.get(upload.id)

    def delete(self, upload: Upload) -> None:
        """Stop reading it, and forget it."""
        with self._registry.lock:
            if self._registry.uploads.peek(upload.id) is None:
                raise Conflict("The dataset has just become ready; delete it again.")
            self._registry.remove(self._registry.uploads, upload)
        underway = self._readings.find(upload)
        if underway is not None:
            self._readings.stop(underway)
        self.discard(upload)


_COMES_AS: dict[UploadKind, str] = {"rows": "rows, in files", "file": "one file, in parts", "fields": "one request"}


def _check_complete(upload: Upload) -> None:
    if not upload.chunks:
        raise Conflict("Nothing has been sent yet; there is nothing to close.")
    if upload.kind == "file":
        missing = set(range(1, upload.chunks[-1].number)) - {chunk.number for chunk in upload.chunks}
        if missing:
            raise Conflict(f"Parts are missing: {', '.join(map(str, sorted(missing)[:20]))}.")
