"""Networks copied out to files, and in from files, by a process of its own: what is in a file takes no memory here."""

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from engine import durable
from engine.data.sources import Progress
from engine.errors import StorageFailed
from engine.exchange.portable import Hints
from engine.jobs import ids
from engine.jobs.children import Child
from engine.jobs.errands import CopyOut, TakeIn, TakenIn
from engine.jobs.folder import DataFolder
from engine.jobs.network import NetworkRecord, Version
from engine.jobs.registry import Receipt, Registry
from engine.names import NetworkFormat, VersionReference
from engine.nn.network import Network
from engine.training.checkpoint import save_weights


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
        path = folder / f"{durable.UNFINISHED}{uuid.uuid4().hex}"
        weights = str(folder / version.file)
        errand = CopyOut(weights, network.architecture, network.preparation, version.classes, format, str(path))
        try:
            self._exchanger.carry_out(path.name, errand, _unheard)
            with durable.reporting("the network's file"):
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
        with durable.new_folder(self._folder.of_network(id)) as folder:
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
