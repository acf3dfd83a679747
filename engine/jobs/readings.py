"""Reading uploads into datasets that are ready."""

import logging
import threading
from dataclasses import replace

from engine import durable
from engine.data.dataset import Dataset
from engine.data.sources import Content, Progress
from engine.errors import InvalidInput, NablaError, Unavailable
from engine.jobs.children import Child, GivenUp
from engine.jobs.errands import Read, Stored
from engine.jobs.folder import DataFolder
from engine.jobs.registry import Registry
from engine.jobs.upload import Upload

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

        with durable.new_folder(self._folder.of_dataset(upload.id)) as place:
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
            self._registry.change(self._registry.uploads, replace(upload, state="failed", pieces=(), problems=problems))
            # It is known for its reason alone; nothing reads its files any more.
            self._folder.remove(self._folder.of_upload(upload.id))
