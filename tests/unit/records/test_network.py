"""Networks under random sequences of changes: names and tags resolve as in a replayed journal."""

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from nabla.engine.errors import NotFound
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.records.network import NetworkRecord, Version
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry

NOW = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
ARCHITECTURE = Architecture(2, (Layer(1, "identity"),), "quadratic")
VERSIONS = tuple(Version(number, f"{number}.safetensors", None, None, NOW) for number in range(3))
NAMES, TAGS = "abc", ("production", "staging")
REFERENCES = st.sampled_from([0, 1, 2, *TAGS, "current"])


class NetworkChanges(RuleBasedStateMachine):
    """Compares name, current version and tags of each network with a model."""

    networks = Bundle("networks")

    def __init__(self) -> None:
        super().__init__()
        self._directory = tempfile.TemporaryDirectory()
        self._data_dir = DataDir(Path(self._directory.name))
        self._journal = Journal(self._data_dir.journal)
        self._open()
        self._count = 0
        self._expected: dict[str, tuple[str | None, int, dict[str, int]]] = {}

    def _open(self) -> None:
        self._registry = Registry(self._journal)
        self._catalog = NetworkService(self._registry, self._data_dir, 1000)

    def teardown(self) -> None:
        self._journal.close()
        self._data_dir.close()
        self._directory.cleanup()

    @rule(target=networks, name=st.none() | st.sampled_from(NAMES))
    def create(self, name: str | None) -> NetworkRecord:
        self._count += 1
        network = NetworkRecord(f"net_{self._count:03}", name, ARCHITECTURE, VERSIONS, NOW)
        self._registry.add(self._registry.networks, network)
        self._expected[network.id] = (name, 0, {})
        return network

    def _resolve(self, id: str, reference: int | str) -> int | None:
        _, current, tags = self._expected[id]
        return current if reference == "current" else tags.get(str(reference)) if reference in TAGS else int(reference)

    @rule(network=networks, name=st.none() | st.sampled_from(NAMES), reference=st.none() | REFERENCES)
    def change(self, network: NetworkRecord, name: str | None, reference: int | str | None) -> None:
        """Change a network through the record that it was created with."""
        known = self._expected.get(network.id)
        if known is None:
            with pytest.raises(NotFound, match="no network with the id"):
                self._catalog.change_network(network, name, reference)
            return
        number = known[1] if reference is None else self._resolve(network.id, reference)
        if number is None:
            with pytest.raises(NotFound, match="no version"):
                self._catalog.change_network(network, name, reference)
            return
        self._catalog.change_network(network, name, reference)
        self._expected[network.id] = (name or known[0], number, known[2])

    @rule(network=networks, tag=st.sampled_from(TAGS), reference=REFERENCES)
    def tag(self, network: NetworkRecord, tag: str, reference: int | str) -> None:
        known = self._expected.get(network.id)
        number = None if known is None else self._resolve(network.id, reference)
        if known is None or number is None:
            with pytest.raises(NotFound):
                self._catalog.tag(network, tag, reference)
            return
        _, is_new = self._catalog.tag(network, tag, reference)
        assert is_new == (tag not in known[2])
        self._expected[network.id] = (known[0], known[1], {**known[2], tag: number})

    @rule(network=networks, tag=st.sampled_from(TAGS))
    def untag(self, network: NetworkRecord, tag: str) -> None:
        known = self._expected.get(network.id)
        if known is None or tag not in known[2]:
            with pytest.raises(NotFound):
                self._catalog.untag(network, tag)
            return
        self._catalog.untag(network, tag)
        remaining = {other: number for other, number in known[2].items() if other != tag}
        self._expected[network.id] = (known[0], known[1], remaining)

    @rule(network=networks)
    def delete(self, network: NetworkRecord) -> None:
        if network.id in self._expected:
            self._catalog.delete_network(network)
            del self._expected[network.id]
        else:
            with pytest.raises(NotFound):
                self._catalog.delete_network(network)

    @rule()
    def restart(self) -> None:
        self._journal.close()
        self._journal = Journal(self._data_dir.journal)
        self._open()

    @invariant()
    def names_and_tags_equal_those_of_the_journal(self) -> None:
        for registry in (self._registry, Registry(self._journal)):
            networks = {network.id: (network.name, network.current, network.tags) for network in registry.networks}
            assert networks == self._expected
            for name in NAMES:
                ids = [id for id, (own, _, _) in self._expected.items() if own == name]
                newest = registry.networks.resolve_or_none(name)
                assert (None if newest is None else newest.id) == max(ids, default=None)
                assert self._journal.ids_named("network", name) == tuple(sorted(ids))
                assert registry.networks.ids_named(name) == tuple(sorted(ids))


TestNetworkChanges = NetworkChanges.TestCase
TestNetworkChanges.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
