"""Dataset analysis: profiles, rows and splits of ready datasets."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.dataset_reader import open_reader
from nabla.engine.data.ingest_options import SplitSpec
from nabla.engine.data.schema import Cell, ColumnHeader, Profile
from nabla.engine.errors import StorageFailed
from nabla.engine.records import ids
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.workers.task_process import TaskProcess
from nabla.engine.workers.tasks.datasets import ProfileDataset, ProfileResult, SplitDataset, StoredDatasets

# Least recently used profiles are evicted when all of them together have more columns.
_MAX_CACHED_COLUMNS = 50_000


class DatasetAnalysis:
    """Profiles and splits datasets in a task process. Methods may be called from any thread."""

    def __init__(self, registry: Registry, data_dir: DataDir, task_process: TaskProcess) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._task_process = task_process
        self._lock = threading.Lock()
        self._profiles: OrderedDict[str, Profile] = OrderedDict()

    def close(self) -> None:
        """Abort the running task and end the process."""
        self._task_process.close()

    def profile(self, dataset: Dataset) -> Profile:
        """Return the profile of a dataset, which is computed on the first request and then cached.

        Raises:
            InvalidInput: The process crashed on the dataset.
            Damaged: A file does not match its digest.
        """
        with self._lock:
            if dataset.id in self._profiles:
                self._profiles.move_to_end(dataset.id)
                return self._profiles[dataset.id]
        task = ProfileDataset(dataset, str(self._data_dir.dataset_dir(dataset.id)))
        result = self._task_process.run(ids.new_id("profile_"), task, lambda progress: None)
        assert isinstance(result, ProfileResult)
        with self._lock:
            self._profiles[dataset.id] = result.profile
            while sum(len(profile.columns) for profile in self._profiles.values()) > _MAX_CACHED_COLUMNS:
                self._profiles.popitem(last=False)
        return result.profile

    def rows(self, dataset: Dataset, first: int, limit: int) -> tuple[tuple[ColumnHeader, ...], list[list[Cell]]]:
        """Return the columns of a dataset and up to `limit` rows from row `first`, counted from 0.

        Raises:
            Damaged: A file does not match its digest.
            NotFound: The dataset was deleted meanwhile.
        """
        try:
            with open_reader(dataset, self._data_dir.dataset_dir(dataset.id)) as view:
                return view.columns, view.read_rows(first, min(first + limit, dataset.rows))
        except StorageFailed:
            self._registry.datasets.get(dataset.id)  # NotFound if it was deleted meanwhile
            raise

    def split(
        self,
        dataset: Dataset,
        shares: Sequence[tuple[str | None, float]],
        seed: int,
        stratified: bool,
        idempotency: IdempotencyKey | None = None,
    ) -> tuple[Dataset, ...]:
        """Split a dataset into new ones.

        Args:
            dataset: The dataset.
            shares: Name and share of the rows of each new dataset.
            seed: Seed that alone determines the rows of each.
            stratified: Whether each keeps the shares of the classes.
            idempotency: Key to journal with the ids of all new datasets.

        Raises:
            InvalidInput: The rows cannot be split like this.
            StorageFailed: The new datasets could not be stored; none of them exists.
        """
        new_ids = [ids.new_id(ids.DATASET) for _ in shares]
        with ExitStack() as stack:
            directories = [
                stack.enter_context(durable_files.create_dir(self._data_dir.dataset_dir(id))) for id in new_ids
            ]
            splits = tuple(
                SplitSpec(share, directory) for (_, share), directory in zip(shares, directories, strict=True)
            )
            task = SplitDataset(dataset, str(self._data_dir.dataset_dir(dataset.id)), splits, seed, stratified)
            stored = self._task_process.run(new_ids[0], task, lambda progress: None)
        assert isinstance(stored, StoredDatasets)
        now = datetime.now(UTC)
        datasets = tuple(
            replace(
                Dataset.from_content(id, name, now, content, self._data_dir.dataset_dir(id)),
                split_from=dataset.id,
                split_with=tuple(other for other in new_ids if other != id),
            )
            for id, (name, _), content in zip(new_ids, shares, stored.contents, strict=True)
        )
        try:
            self._registry.add_all(self._registry.datasets, datasets, idempotency)
        except StorageFailed:
            for id in new_ids:
                self._data_dir.remove(self._data_dir.dataset_dir(id))
            raise
        return datasets
