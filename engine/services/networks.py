"""Network service: networks, versions and tags, the cache of loaded models, and import and export.

`require_unused` guards the deletion of networks, and of datasets too.
"""

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
from nabla.engine.data.dataset import Dataset
from nabla.engine.data.preprocessing import PreprocessingConfig, Preprocessor
from nabla.engine.errors import Conflict, Damaged, StorageFailed, TooLarge
from nabla.engine.literals import NetworkFormat, VersionReference
from nabla.engine.model_io.bundle import ImportHints
from nabla.engine.nn.architecture import Architecture
from nabla.engine.nn.network import Network
from nabla.engine.records import ids
from nabla.engine.records.batch_prediction import BatchPrediction
from nabla.engine.records.job import Job
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.registry import IdempotencyKey, Registry
from nabla.engine.training.checkpoint import load_preprocessor, load_weights, save_weights
from nabla.engine.training.model import Model
from nabla.engine.workers.task_process import TaskProcess
from nabla.engine.workers.tasks.models import ExportModel, ImportedModel, ImportModel

# Least recently used models beyond either limit are evicted from the cache; the last one used always stays.
_MAX_CACHED_MODELS, _MAX_CACHED_PARAMETERS = 16, 2**26
_NO_PREPROCESSING = PreprocessingConfig()


class NetworkService:
    """Creates, changes and deletes networks, and keeps recently used models loaded.

    Methods may be called from any thread. Files are written before their record, and removed after it.
    """

    def __init__(self, registry: Registry, data_dir: DataDir, max_parameters: int) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._max_parameters = max_parameters
        self._load_lock = threading.Lock()
        self._models: OrderedDict[tuple[str, int], Model] = OrderedDict()

    def create_network(
        self,
        architecture: Architecture,
        name: str | None,
        preprocessing: PreprocessingConfig = _NO_PREPROCESSING,
        idempotency: IdempotencyKey | None = None,
    ) -> NetworkRecord:
        """Create a network with random initial weights as version 0.

        Raises:
            TooLarge: It has more parameters than the service allows.
            InvalidInput: The preprocessing and the cost do not fit together.
        """
        preprocessing.check_cost(architecture.cost)
        if architecture.parameters > self._max_parameters:
            raise TooLarge(
                "layers",
                f"The network would have {architecture.parameters} parameters; this service accepts at most "
                f"{self._max_parameters}.",
            )
        now = datetime.now(UTC)
        id = ids.new_id(ids.NETWORK)
        with durable_files.create_dir(self._data_dir.network_dir(id)) as directory:
            file = save_weights(directory / "0.safetensors", Network(architecture)).name
        start = Version(0, file, None, None, now, origin="drawn")
        network = NetworkRecord(id, name, architecture, (start,), now, preprocessing=preprocessing)
        return _add_network(self._registry, self._data_dir, network, idempotency)

    def clone_network(
        self,
        source: NetworkRecord,
        reference: VersionReference | None,
        name: str | None,
        idempotency: IdempotencyKey | None = None,
    ) -> NetworkRecord:
        """Create a network whose version 0 has the weights of a version of another one, by default the current one.

        Raises:
            NotFound: There is no such version, or the network was deleted meanwhile.
            Damaged: The weights file does not match its digest.
        """
        version = source.resolve_version(reference)
        now = datetime.now(UTC)
        id = ids.new_id(ids.NETWORK)
        weights = self._data_dir.network_dir(source.id) / version.file
        try:
            durable_files.verify(weights)
            with durable_files.create_dir(self._data_dir.network_dir(id)) as directory:
                file = durable_files.link_with_digest(weights, directory / "0.safetensors").name
        except StorageFailed:
            self._registry.networks.get(source.id)  # NotFound if it was deleted meanwhile
            raise
        start = replace(version, number=0, file=file, created_at=now, cloned_from=(source.id, version.number))
        network = NetworkRecord(id, name, source.architecture, (start,), now, preprocessing=source.preprocessing)
        return _add_network(self._registry, self._data_dir, network, idempotency)

    def change_network(
        self, record: NetworkRecord, name: str | None = None, current: VersionReference | None = None
    ) -> NetworkRecord:
        """Rename a network, make another version current, or both.

        Raises:
            NotFound: There is no such version, or the network was deleted.
        """
        with self._registry.lock:
            now = self._registry.networks.get(record.id)
            changed = replace(now, name=name or now.name, current=now.resolve_version(current).number)
            self._registry.change(self._registry.networks, changed)
            return changed

    def tag(self, record: NetworkRecord, tag: str, reference: VersionReference) -> tuple[NetworkRecord, bool]:
        """Put a tag on a version, or move it there; return the network and whether the tag is new.

        Raises:
            NotFound: There is no such version, or the network was deleted.
            Conflict: The network has the maximum number of tags.
        """
        with self._registry.lock:
            now = self._registry.networks.get(record.id)
            changed = now.with_tag(tag, now.resolve_version(reference))
            self._registry.change(self._registry.networks, changed)
            return changed, tag not in now.tags

    def untag(self, record: NetworkRecord, tag: str) -> None:
        """Remove a tag.

        Raises:
            NotFound: There is no such tag, or the network was deleted.
        """
        with self._registry.lock:
            now = self._registry.networks.get(record.id)
            self._registry.change(self._registry.networks, now.without_tag(tag))

    def delete_network(self, network: NetworkRecord) -> None:
        """Delete a network with all its versions.

        Raises:
            Conflict: An unfinished job or batch prediction needs it.
        """
        with self._registry.lock:
            self._registry.networks.get(network.id)
            require_unused(self._registry, network.id, "network", lambda user: {user.network_id})
            self._registry.remove(self._registry.networks, network)
        self._data_dir.remove(self._data_dir.network_dir(network.id))

    def get_cached_model(
        self, record: NetworkRecord, reference: VersionReference | None
    ) -> tuple[Version, Model] | None:
        """Return a version and its model if it is cached, else None; see `load_model`.

        Raises:
            NotFound: There is no such version.
        """
        version = record.resolve_version(reference)
        key = (record.id, version.number)
        model = self._models.get(key)
        if model is None:
            return None
        with suppress(KeyError):  # evicted by another thread meanwhile
            self._models.move_to_end(key)
        return version, model

    def load_model(self, record: NetworkRecord, reference: VersionReference | None) -> tuple[Version, Model]:
        """Return a version, by default the current one, and the model that predicts with it.

        Raises:
            NotFound: There is no such version.
            Damaged: The weights file does not match its digest.
            Conflict: The network scales its data, and the version is untrained.
        """
        version = record.resolve_version(reference)
        key = (record.id, version.number)
        with self._load_lock:
            if key not in self._models:
                path = self._data_dir.network_dir(record.id) / version.file
                network, fitted = load_weights(path, record.architecture)
                self._models[key] = Model(network, fitted or _untrained_preprocessor(record, version))
            self._models.move_to_end(key)
            self._evict_models()
            return version, self._models[key]

    def validate_prediction(self, record: NetworkRecord, version: Version, dataset: Dataset) -> None:
        """Check that a version can predict a dataset.

        Raises:
            InvalidInput: The dataset does not fit (field `dataset_id`).
            Conflict: The network scales its data, and the version is untrained.
        """
        path = self._data_dir.network_dir(record.id) / version.file
        try:
            durable_files.verify(path)
            fitted = load_preprocessor(path)
        except Damaged:
            return  # the prediction reports it
        preprocessor = fitted or _untrained_preprocessor(record, version)
        preprocessor.check_columns(dataset.features)
        dataset.check_inputs(record.architecture, record.preprocessing, preprocessor.columns)

    def _evict_models(self) -> None:
        parameters = sum(model.network.architecture.parameters for model in self._models.values())
        while len(self._models) > 1 and (len(self._models) > _MAX_CACHED_MODELS or parameters > _MAX_CACHED_PARAMETERS):
            _, evicted = self._models.popitem(last=False)
            parameters -= evicted.network.architecture.parameters


class ModelTransfer:
    """Imports and exports networks as files, in a task process. Methods may be called from any thread."""

    def __init__(self, registry: Registry, data_dir: DataDir, task_process: TaskProcess, max_parameters: int) -> None:
        self._registry = registry
        self._data_dir = data_dir
        self._task_process = task_process
        self._max_parameters = max_parameters

    def close(self) -> None:
        """Abort the running transfer and end the process."""
        self._task_process.close()

    def export_version(self, network: NetworkRecord, reference: VersionReference, format: NetworkFormat) -> BinaryIO:
        """Write a version to an unnamed file, which is gone when it is closed; return it at its beginning.

        Raises:
            NotFound: There is no such version, or the network was deleted meanwhile.
            InvalidInput: The format cannot hold the version.
            Conflict: The network scales its data, and the version is untrained.
            Damaged: The weights file does not match its digest.
        """
        version = network.resolve_version(reference)
        directory = self._data_dir.network_dir(network.id)
        path = directory / f"{durable_files.UNFINISHED_PREFIX}{uuid.uuid4().hex}"
        weights = str(directory / version.file)
        task = ExportModel(weights, network.architecture, network.preprocessing, version.classes, format, str(path))
        try:
            self._task_process.run(path.name, task, lambda progress: None)
            with durable_files.storage_errors("the network's file"):
                return path.open("rb")
        except StorageFailed:
            self._registry.networks.get(network.id)  # NotFound if it was deleted meanwhile
            raise
        finally:
            path.unlink(missing_ok=True)

    def import_network(
        self, path: Path, name: str | None, hints: ImportHints, idempotency: IdempotencyKey | None = None
    ) -> NetworkRecord:
        """Create a network from a file: version 1 has its weights and is current, version 0 has random ones.

        Raises:
            InvalidInput: The file is not a supported model.
            TooLarge: It has more parameters than the service allows.
            StorageFailed: The network could not be stored or journaled.
        """
        id = ids.new_id(ids.NETWORK)
        with durable_files.create_dir(self._data_dir.network_dir(id)) as directory:
            task = ImportModel(str(path), hints, self._max_parameters, str(directory / "1.safetensors"))
            imported = self._task_process.run(id, task, lambda progress: None)
            assert isinstance(imported, ImportedModel)
            start = save_weights(directory / "0.safetensors", Network(imported.architecture)).name
        now = datetime.now(UTC)
        versions = (
            Version(0, start, None, None, now, origin="drawn"),
            Version(
                1,
                imported.file,
                None,
                imported.classes,
                now,
                columns=imported.columns,
                origin="imported",
                imported=imported.format,
            ),
        )
        network = NetworkRecord(id, name, imported.architecture, versions, now, 1, imported.preprocessing)
        return _add_network(self._registry, self._data_dir, network, idempotency)


def _add_network(
    registry: Registry, data_dir: DataDir, network: NetworkRecord, idempotency: IdempotencyKey | None
) -> NetworkRecord:
    """Record a network whose files have been written."""
    with data_dir.remove_if_full(data_dir.network_dir(network.id)):
        registry.add(registry.networks, network, idempotency)
    return network


def check_labeled(record: NetworkRecord, version: Version, preprocessor: Preprocessor, dataset: Dataset) -> None:
    """Raise InvalidInput unless a version can be measured on the dataset."""
    preprocessor.check_columns(dataset.features)
    record.preprocessing.check_classes(dataset.classes, "dataset_id")
    dataset.check_fits(record.architecture, record.preprocessing, preprocessor.columns, version.classes)


def _untrained_preprocessor(record: NetworkRecord, version: Version) -> Preprocessor:
    """Return the preprocessor of a version that has not been trained; raise Conflict if it has to be fitted."""
    if record.preprocessing.has_scaling:
        raise Conflict(
            f"Version {version.number} of the network has not been trained; the first job fits the scaling of its "
            "inputs and targets. Train it first."
        )
    return Preprocessor.identity(record.preprocessing)


def require_unused(registry: Registry, id: str, kind: str, needs: Callable[[Job | BatchPrediction], set[str]]) -> None:
    """Raise Conflict if an unfinished job or batch prediction needs a record. The caller holds the registry's lock.

    Args:
        registry: Where jobs and batch predictions are.
        id: The record.
        kind: Kind of the record, for the error.
        needs: Returns the ids of the records of this kind that a job or batch prediction needs.
    """
    for user_kind, users in (("job", registry.jobs), ("batch prediction", registry.batch_predictions)):
        for user in users:
            if not user.finished and id in needs(user):
                raise Conflict(f"The {user_kind} {user.id} needs this {kind}; cancel it or let it finish.")
