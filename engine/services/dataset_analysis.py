"""Looking at datasets that are ready, and dividing them."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.ingest_options import Share
from nabla.engine.data.profile_schema import Cell, Named, Profile
from nabla.engine.errors import StorageFailed
from nabla.engine.records import ids
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Receipt, Registry
from nabla.engine.workers.task_process import Child
from nabla.engine.workers.task_protocol import Divide, Look, Looked, Stored

# Columns of all profiles that are kept.
_COLUMNS_KEPT = 50_000


@dataclass(frozen=True)
class Parts:
    """What a dataset was divided into; `id` is that of the first part."""

    datasets: tuple[Dataset, ...]

    @property
    def id(self) -> str:
        return self.datasets[0].id


class Looks:
    """Methods may be called from any thread."""

    def __init__(self, registry: Registry, folder: DataFolder, looker: Child) -> None:
        self._registry = registry
        self._folder = folder
        self._looker = looker
        self._lock = threading.Lock()
        self._profiles: OrderedDict[str, Profile] = OrderedDict()

    def end(self) -> None:
        """What is asked for is given up."""
        self._looker.close()

    def profile(self, dataset: Dataset) -> Profile:
        """Made when it is first asked for. Raises InvalidInput, Damaged."""
        with self._lock:
            if dataset.id in self._profiles:
                self._profiles.move_to_end(dataset.id)
                return self._profiles[dataset.id]
        errand = Look(dataset, str(self._folder.of_dataset(dataset.id)))
        looked = self._looker.carry_out(ids.new_id("look_"), errand, lambda progress: None)
        assert isinstance(looked, Looked)
        with self._lock:
            self._profiles[dataset.id] = looked.profile
            while sum(len(profile.columns) for profile in self._profiles.values()) > _COLUMNS_KEPT:
                self._profiles.popitem(last=False)
        return looked.profile

    def rows(self, dataset: Dataset, first: int, limit: int) -> tuple[tuple[Named, ...], list[list[Cell]]]:
        """The columns, and up to `limit` rows from row `first` on, counted from 0. Raises Damaged."""
        # PyArrow takes time and memory to load, and is wanted for this alone.
        from nabla.engine.data.preview import viewed

        try:
            with viewed(dataset, self._folder.of_dataset(dataset.id)) as view:
                return view.columns, view.rows(first, min(first + limit, dataset.rows))
        except StorageFailed:
            self._registry.datasets.get(dataset.id)  # it may have been deleted since it was found
            raise

    def split(
        self,
        dataset: Dataset,
        parts: Sequence[tuple[str | None, float]],
        seed: int,
        stratified: bool,
        receipt: Receipt | None,
    ) -> Parts:
        """New datasets of these names and shares of the rows. Raises InvalidInput, StorageFailed."""
        new = [ids.new_id(ids.DATASET) for _ in parts]
        with ExitStack() as stack:
            folders = [stack.enter_context(durable_files.new_folder(self._folder.of_dataset(id))) for id in new]
            shares = tuple(Share(share, folder) for (_, share), folder in zip(parts, folders, strict=True))
            errand = Divide(dataset, str(self._folder.of_dataset(dataset.id)), shares, seed, stratified)
            stored = self._looker.carry_out(new[0], errand, lambda progress: None)
        assert isinstance(stored, Stored)
        now = datetime.now(UTC)
        datasets = tuple(
            Dataset.of(id, name, now, content, self._folder.of_dataset(id))
            for id, (name, _), content in zip(new, parts, stored.contents, strict=True)
        )
        try:
            self._registry.add_all(self._registry.datasets, datasets, receipt, Parts(datasets))
        except StorageFailed:
            for id in new:
                self._folder.remove(self._folder.of_dataset(id))
            raise
        return Parts(datasets)
