"""Networks and datasets: created, changed, deleted, and networks loaded for predictions and evaluations."""

import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from nabla.engine import durable_files
from nabla.engine.data.dataset import Dataset, store
from nabla.engine.data.examples import Examples
from nabla.engine.data.ingest_options import Progress
from nabla.engine.data.loading import OpenDataset, open_for_training
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.errors import Conflict, Damaged, StorageFailed, TooLarge
from nabla.engine.literals import NetworkFormat, VersionReference
from nabla.engine.model_io.bundle import Hints
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.network import Network
from nabla.engine.records import ids
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.registry import Receipt, Registry
from nabla.engine.training.checkpoint import load_preprocessor, load_weights, save_weights
from nabla.engine.training.evaluation import Evaluation, evaluate
from nabla.engine.training.model import Model
from nabla.engine.workers.task_process import Child
from nabla.engine.workers.task_protocol import CopyOut, TakeIn, TakenIn

# Networks that stay loaded for the next prediction: so many at most, and so many parameters; one in any case.
_NETWORKS_KEPT, _PARAMETERS_KEPT = 16, 2**26
_NO_PREPROCESSING = PreprocessingConfig()


class Catalog:
    """What jobs work with. Files come before their record, and go after it."""

    def __init__(self, registry: Registry, folder: DataFolder, max_parameters: int) -> None:
        self._registry = registry
        self._folder = folder
        self._max_parameters = max_parameters
        self._loading = threading.Lock()
        self._loaded: OrderedDict[tuple[str, int], Model] = OrderedDict()

    def sweep(self) -> None:
        """At start: remove files that no record speaks of."""
        published = {network.id: {version.file for version in network.versions} for network in self._registry.networks}

        def is_known(network_id: str, file: str) -> bool:
            job = None if file in published[network_id] else self._registry.jobs.peek(file.split("-")[0])
            return file in published[network_id] or (job is not None and file in job.files)

        datasets = {dataset.id for dataset in self._registry.datasets}
        uploads = {upload.id for upload in self._registry.uploads if upload.state != "failed"}
        batches = {batch.id for batch in self._registry.batches if batch.state == "succeeded"}
        self._folder.sweep(set(published), datasets, uploads, batches, is_known)

    def create_network(
        self,
        architecture: Architecture,
        name: str | None,
        receipt: Receipt | None = None,
        preprocessing: PreprocessingConfig = _NO_PREPROCESSING,
    ) -> NetworkRecord:
        """Draw its start and keep it. Raises TooLarge beyond the service's limit, InvalidInput if preprocessing and
        cost do not go together."""
        preprocessing.check_cost(architecture.cost)
        if architecture.parameters > self._max_parameters:
            raise TooLarge(
                "layers",
                f"The network would have {architecture.parameters} parameters; this service takes at most "
                f"{self._max_parameters}.",
            )
        now = datetime.now(UTC)
        id = ids.new_id(ids.NETWORK)
        with durable_files.new_folder(self._folder.of_network(id)) as folder:
            file = save_weights(folder / "0.safetensors", Network(architecture)).name
        start = Version(0, file, None, None, now, origin="drawn")
        network = NetworkRecord(id, name, architecture, (start,), now, preprocessing=preprocessing)
        with self._folder.given_back(self._folder.of_network(id)):
            self._registry.add(self._registry.networks, network, receipt)
        return network

    def clone_network(
        self,
        source: NetworkRecord,
        reference: VersionReference | None,
        name: str | None,
        receipt: Receipt | None = None,
    ) -> NetworkRecord:
        """A network of its own that starts with the weights of a version of another, by default its current one. Raises
        NotFound, Damaged."""
        version = source.find(reference)
        now = datetime.now(UTC)
        id = ids.new_id(ids.NETWORK)
        weights = self._folder.of_network(source.id) / version.file
        try:
            durable_files.check(weights)
            with durable_files.new_folder(self._folder.of_network(id)) as folder:
                file = durable_files.adopt(weights, folder / "0.safetensors").name
        except StorageFailed:
            self._registry.networks.get(source.id)  # it may have been deleted since it was found
            raise
        start = replace(version, number=0, file=file, created_at=now, cloned_from=(source.id, version.number))
        network = NetworkRecord(id, name, source.architecture, (start,), now, preprocessing=source.preprocessing)
        with self._folder.given_back(self._folder.of_network(id)):
            self._registry.add(self._registry.networks, network, receipt)
        return network

    def change_network(
        self, record: NetworkRecord, name: str | None = None, current: VersionReference | None = None
    ) -> NetworkRecord:
        """Rename it, let a version predict from now on, or both. Raises NotFound."""
        with self._registry.lock:
            now = self._registry.networks.get(record.id)
            changed = replace(now, name=name or now.name, current=now.find(current).number)
            self._registry.change(self._registry.networks, changed)
            return changed

    def tag(self, record: NetworkRecord, tag: str, reference: VersionReference) -> tuple[NetworkRecord, bool]:
        """Put a tag on a version, from wherever it was; and whether it was nowhere. Raises NotFound, and Conflict if
        there are as many as may be."""
        with self._registry.lock:
            now = self._registry.networks.get(record.id)
            changed = now.tagged(tag, now.find(reference))
            self._registry.change(self._registry.networks, changed)
            return changed, tag not in now.tags

    def untag(self, record: NetworkRecord, tag: str) -> None:
        """Raises NotFound."""
        with self._registry.lock:
            now = self._registry.networks.get(record.id)
            self._registry.change(self._registry.networks, now.untagged(tag))

    def create_dataset(self, examples: Examples, name: str | None, receipt: Receipt | None = None) -> Dataset:
        """Keep checked examples."""
        id = ids.new_id(ids.DATASET)
        folder = self._folder.of_dataset(id)
        dataset = store(folder, examples, id=id, name=name, created_at=datetime.now(UTC))
        with self._folder.given_back(folder):
            self._registry.add(self._registry.datasets, dataset, receipt)
        return dataset

    def delete_network(self, network: NetworkRecord) -> None:
        """Raises Conflict while a job or a batch prediction that is not finished needs it."""
        with self._registry.lock:
            self._registry.networks.get(network.id)
            self._check_unused(network.id, "network", lambda user: {user.network_id})
            self._registry.remove(self._registry.networks, network)
        self._folder.remove(self._folder.of_network(network.id))

    def delete_dataset(self, dataset: Dataset) -> None:
        """Raises Conflict while a job or a batch prediction that is not finished needs it."""
        with self._registry.lock:
            self._registry.datasets.get(dataset.id)
            self._check_unused(dataset.id, "dataset", lambda user: user.dataset_ids)
            self._registry.remove(self._registry.datasets, dataset)
        self._folder.remove(self._folder.of_dataset(dataset.id))

    def _check_unused(self, id: str, kind: str, needs: Callable[[Job | BatchPrediction], set[str]]) -> None:
        for what, users in (("job", self._registry.jobs), ("batch prediction", self._registry.batches)):
            for user in users:
                if not user.finished and id in needs(user):
                    raise Conflict(f"The {what} {user.id} needs this {kind}; cancel it or let it finish.")

    def loaded(self, record: NetworkRecord, reference: VersionReference | None) -> tuple[Version, Model] | None:
        """The same as `load`, if that needs no look at the disk; else None. Raises NotFound."""
        version = record.find(reference)
        key = (record.id, version.number)
        model = self._loaded.get(key)
        if model is None:
            return None
        with suppress(KeyError):  # dropped just now
            self._loaded.move_to_end(key)
        return version, model

    def load(self, record: NetworkRecord, reference: VersionReference | None) -> tuple[Version, Model]:
        """A version, by default the current one, and what predicts with it. Raises NotFound, Damaged, and Conflict
        where it scales what nothing has been fitted to yet."""
        version = record.find(reference)
        key = (record.id, version.number)
        with self._loading:
            if key not in self._loaded:
                path = self._folder.of_network(record.id) / version.file
                network, fitted = load_weights(path, record.architecture)
                self._loaded[key] = Model(network, fitted or _unfitted(record, version))
            self._loaded.move_to_end(key)
            self._drop_some()
            return version, self._loaded[key]

    def _drop_some(self) -> None:
        parameters = sum(model.network.architecture.parameters for model in self._loaded.values())
        while len(self._loaded) > 1 and (len(self._loaded) > _NETWORKS_KEPT or parameters > _PARAMETERS_KEPT):
            _, dropped = self._loaded.popitem(last=False)
            parameters -= dropped.network.architecture.parameters

    def evaluate(
        self, record: NetworkRecord, reference: VersionReference | None, dataset: Dataset
    ) -> tuple[Version, Evaluation]:
        """Measure a version, by default the current one, on a dataset.

        Raises NotFound, or InvalidInput (field `dataset_id`) if the dataset does not fit the network, or has other
        classes than the version was trained on.
        """
        version, model = self.load(record, reference)
        _check_fits(record, version, model.preprocessor, dataset)
        return version, evaluate(model.network, self._open(dataset, model))

    def check_predicts(self, record: NetworkRecord, version: Version, dataset: Dataset) -> None:
        """Raises InvalidInput (field `dataset_id`) if a dataset cannot be worked through a version, and Conflict where
        that scales what nothing has been fitted to yet."""
        path = self._folder.of_network(record.id) / version.file
        try:
            durable_files.check(path)
            fitted = load_preprocessor(path)
        except Damaged:
            return  # whoever reads them says so
        preprocessor = fitted or _unfitted(record, version)
        if dataset.unlabeled:
            _check_inputs(record, preprocessor, dataset)
        else:
            _check_fits(record, version, preprocessor, dataset)

    def _open(self, dataset: Dataset, model: Model) -> OpenDataset:
        architecture = model.network.architecture
        try:
            return open_for_training(
                dataset,
                self._folder.of_dataset(dataset.id),
                architecture.outputs,
                architecture.dtype,
                model.preprocessor,
            )
        except StorageFailed:
            self._registry.datasets.get(dataset.id)  # it may have been deleted since it was found
            raise


def _check_fits(record: NetworkRecord, version: Version, preprocessor: Preprocessor, dataset: Dataset) -> None:
    """Raises InvalidInput."""
    preprocessor.check_columns(dataset.features)
    dataset.check_fits(record.architecture, record.preprocessing, preprocessor.columns)
    record.preprocessing.check_classes(dataset.classes, "dataset_id")
    if version.classes is not None:
        dataset.check_classes(version.classes)


def _check_inputs(record: NetworkRecord, preprocessor: Preprocessor, dataset: Dataset) -> None:
    """Raises InvalidInput."""
    preprocessor.check_columns(dataset.features)
    dataset.check_inputs(record.architecture, record.preprocessing, preprocessor.columns)


def _unfitted(record: NetworkRecord, version: Version) -> Preprocessor:
    """Raises Conflict if it takes training to know."""
    if record.preprocessing.scales:
        raise Conflict(
            f"Version {version.number} of the network has not been trained: what its inputs and targets are scaled by "
            "is found by the first job. Train it, then ask again."
        )
    return Preprocessor.plain(record.preprocessing)


class Exchange:
    """Methods may be called from any thread."""

    def __init__(self, registry: Registry, folder: DataFolder, exchanger: Child, max_parameters: int) -> None:
        self._registry = registry
        self._folder = folder
        self._exchanger = exchanger
        self._max_parameters = max_parameters

    def end(self) -> None:
        """What is asked for is given up."""
        self._exchanger.close()

    def copy_out(self, network: NetworkRecord, reference: VersionReference, format: NetworkFormat) -> BinaryIO:
        """A version as a file, to be read from its beginning; it has no name, and is gone when it is closed. Raises
        NotFound, Damaged, and InvalidInput or Conflict if the version cannot be in this format."""
        version = network.find(reference)
        folder = self._folder.of_network(network.id)
        path = folder / f"{durable_files.UNFINISHED}{uuid.uuid4().hex}"
        weights = str(folder / version.file)
        errand = CopyOut(weights, network.architecture, network.preprocessing, version.classes, format, str(path))
        try:
            self._exchanger.carry_out(path.name, errand, _unheard)
            with durable_files.reporting("the network's file"):
                return path.open("rb")
        except StorageFailed:
            self._registry.networks.get(network.id)  # it may have been deleted since it was found
            raise
        finally:
            path.unlink(missing_ok=True)

    def take_in(self, path: Path, name: str | None, hints: Hints, receipt: Receipt | None = None) -> NetworkRecord:
        """A new network with the weights of a file as version 1, which predicts; version 0 is a start of its own, as
        the architecture says. Raises InvalidInput, TooLarge, StorageFailed, and then nothing is left of it, unless the
        journal may have it."""
        id = ids.new_id(ids.NETWORK)
        with durable_files.new_folder(self._folder.of_network(id)) as folder:
            errand = TakeIn(str(path), hints, self._max_parameters, str(folder / "1.safetensors"))
            taken = self._exchanger.carry_out(id, errand, _unheard)
            assert isinstance(taken, TakenIn)
            start = save_weights(folder / "0.safetensors", Network(taken.architecture)).name
        now = datetime.now(UTC)
        versions = (
            Version(0, start, None, None, now, origin="drawn"),
            Version(
                1,
                taken.file,
                None,
                taken.classes,
                now,
                columns=taken.columns,
                origin="imported",
                imported=taken.format,
            ),
        )
        network = NetworkRecord(id, name, taken.architecture, versions, now, 1, taken.rule)
        with self._folder.given_back(self._folder.of_network(id)):
            self._registry.add(self._registry.networks, network, receipt)
        return network


def _unheard(progress: Progress) -> None:
    """Nobody asks how far it is."""
