"""Evaluation of versions on datasets: the choice of rows that were not trained on, and the count of those that were."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from nabla.engine.data.dataset import Dataset
from nabla.engine.data.input_warnings import InputWarnings
from nabla.engine.data.loading import OpenDataset, RawDataset, hash_rows, open_raw
from nabla.engine.errors import InvalidInput, StorageFailed
from nabla.engine.literals import RowSelection, VersionReference
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.networks import NetworkService, check_labeled
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import Registry
from nabla.engine.training.data_split import split_rows
from nabla.engine.training.evaluation import Evaluation, evaluate
from nabla.engine.training.model import Model
from nabla.engine.typing import RowIndices

# Share of trained rows from which on a dataset is the training data, under another name or with more rows.
_TRAINING_DATA_SHARE = 0.5


@dataclass(frozen=True)
class EvaluatedVersion:
    """An evaluation, and what it was computed on.

    Attributes:
        version: The version.
        dataset: The dataset.
        evaluation: The metrics.
        selection: Which rows of the dataset were used.
        trained_rows: How many of these rows equal rows that the version was trained on; None if that is not known,
            because it is from a file, or a job or a dataset of its training was deleted.
        warnings: Sentences about the rows.
    """

    version: Version
    dataset: Dataset
    evaluation: Evaluation
    selection: RowSelection
    trained_rows: int | None
    warnings: tuple[str, ...]


class EvaluationService:
    """Evaluates versions of networks. Methods may be called from any thread."""

    def __init__(self, registry: Registry, data_dir: DataDir, networks: NetworkService) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._networks = networks

    def evaluate(
        self,
        network: NetworkRecord,
        reference: VersionReference | None = None,
        dataset: Dataset | None = None,
        selection: RowSelection | None = None,
    ) -> EvaluatedVersion:
        """Measure a version, by default the current one.

        Args:
            network: The network.
            reference: The version.
            dataset: The dataset; None for one with rows that the version was not trained on: the other part of the
                split that it was trained on, else its validation dataset, else its training dataset.
            selection: The rows of the dataset. None takes the unseen ones of a dataset that the version was trained on,
                also under another name or as a part of it, and all rows of any other.

        Raises:
            NotFound: There is no such version.
            InvalidInput: The dataset does not fit the network, or has no such rows (fields `dataset_id` and `rows`).
        """
        version, model = self._networks.load_model(network, reference)
        jobs = self._training_jobs(network, version)
        dataset = self._select_dataset(jobs) if dataset is None else dataset
        check_labeled(network, version, model.preprocessor, dataset)
        raw = self._open(dataset, model, version)
        trained = self._find_trained_rows(dataset, raw, model, version, jobs)
        if selection is None:
            is_training_data = trained is not None and (
                trained.mean() >= _TRAINING_DATA_SHARE or dataset.id in {job.dataset_id for job in jobs or ()}
            )
            selection = "unseen" if is_training_data and trained is not None and not trained.all() else "all"
        warnings = InputWarnings()
        warnings.add_unused(model.preprocessor.list_unused(dataset.features))
        architecture = model.network.architecture
        data = raw.preprocess(model.preprocessor, architecture.outputs, architecture.dtype, warnings)
        sentences = [*warnings.sentences()]
        if selection == "unseen":
            unseen = _unseen_rows(trained)
            data, trained = _select_rows(data, unseen), np.zeros(len(unseen), np.bool_)
            if len(unseen) < dataset.rows:
                sentences.insert(
                    0, f"Only the {len(unseen)} of {dataset.rows} rows that the network was not trained on are used."
                )
        elif trained is not None and trained.any():
            sentences.insert(0, _describe_trained_rows(int(trained.sum()), dataset.rows))
        trained_rows = None if trained is None else int(trained.sum())
        return EvaluatedVersion(
            version, dataset, evaluate(model.network, data), selection, trained_rows, tuple(sentences)
        )

    def _training_jobs(self, network: NetworkRecord, version: Version) -> list[Job] | None:
        """Return the jobs that trained a version and those that it started from, newest first; None if not known.

        That is not known of weights from a file, and after one of the jobs was deleted.
        """
        jobs: list[Job] = []
        while version.origin != "drawn":
            if version.cloned_from is not None:
                id, number = version.cloned_from
                source = self._registry.networks.get_or_none(id)
                cloned = None if source is None else source.version(number)
                if source is None or cloned is None:
                    return None
                network, version = source, cloned
                continue
            job = self._registry.jobs.get_or_none(version.job_id or "")
            if job is None:
                return None
            jobs.append(job)
            while job.resume_from is not None:
                job = self._registry.jobs.get_or_none(job.resume_from[0])
                if job is None:
                    return None
                jobs.append(job)
            start = network.version(job.start_version or 0)
            if start is None:
                return None
            version = start
        return jobs

    def _select_dataset(self, jobs: list[Job] | None) -> Dataset:
        """Return the dataset with rows that the last job did not train on. Raises InvalidInput if there is none."""
        hint = "Name a dataset."
        if jobs is None:
            raise InvalidInput(
                "dataset_id",
                f"It is not known what the version was trained on: it is from a file, or its job was deleted. {hint}",
            )
        if not jobs:
            raise InvalidInput("dataset_id", f"The version has not been trained, so it has no dataset. {hint}")
        job, datasets = jobs[0], self._registry.datasets
        used = {id for other in jobs for id in other.dataset_ids}
        training = datasets.get_or_none(job.dataset_id)
        others = [] if training is None else [id for id in training.split_with if id not in used]
        for id in (*reversed(others), job.validation_dataset_id or "", job.dataset_id):
            dataset = datasets.get_or_none(id)
            if dataset is not None and (id != job.dataset_id or job.spec.validation_rows(dataset.rows)):
                return dataset
        raise InvalidInput(
            "dataset_id",
            f"The job {job.id} held out no rows for validation, and its dataset has no other part. {hint}",
        )

    def _open(self, dataset: Dataset, model: Model, version: Version) -> RawDataset:
        try:
            directory = self._data_dir.dataset_dir(dataset.id)
            return open_raw(dataset, directory, model.preprocessor.columns, version.classes)
        except StorageFailed:
            self._registry.datasets.get(dataset.id)  # NotFound if it was deleted meanwhile
            raise

    def _find_trained_rows(
        self, dataset: Dataset, raw: RawDataset, model: Model, version: Version, jobs: list[Job] | None
    ) -> npt.NDArray[np.bool_] | None:
        """Return which rows of a dataset equal rows that the jobs trained on; None if that is not known."""
        if jobs is None:
            return None
        found = np.zeros(dataset.rows, np.bool_)
        hashes = None
        for job in jobs:
            training = self._registry.datasets.get_or_none(job.dataset_id)
            if training is None:
                return None
            if dataset.id in training.split_with:
                continue
            is_same = training.sha256 == dataset.sha256
            try:
                training_raw = raw if is_same else self._open(training, model, version)
            except (StorageFailed, KeyError):  # a file is damaged; other columns or classes in an earlier job
                return None
            rows, _ = split_rows(training.rows, training_raw.codes, job.spec)
            if is_same:
                found[rows] = True
            else:
                hashes = hash_rows(raw) if hashes is None else hashes
                found |= np.isin(hashes, hash_rows(training_raw)[rows])
        return found


def _unseen_rows(trained: npt.NDArray[np.bool_] | None) -> RowIndices:
    """Return the rows that were not trained on. Raises InvalidInput if there is none, or that is not known."""
    if trained is None:
        raise InvalidInput(
            "rows",
            "It is not known which rows the version was trained on: it is from a file, or a job or dataset was "
            "deleted. Set rows to all.",
        )
    unseen: RowIndices = np.flatnonzero(~trained)
    if not len(unseen):
        raise InvalidInput(
            "rows", "The network was trained on all rows of this dataset, so none is unseen. Set rows to all."
        )
    return unseen


def _select_rows(data: OpenDataset, rows: RowIndices) -> OpenDataset:
    return replace(
        data,
        x=data.x[rows],
        y=data.y[rows],
        codes=None if data.codes is None else data.codes[rows],
        weights=None if data.weights is None else data.weights[rows],
    )


def _describe_trained_rows(trained: int, rows: int) -> str:
    if trained == rows:
        return f"The network was trained on all {rows} rows, so these metrics are better than those of new rows."
    return (
        f"{trained} of the {rows} rows equal rows that the network was trained on, so these metrics are better than "
        "those of new rows."
    )
