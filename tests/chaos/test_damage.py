"""Flipped bits, lost ends and misplaced pages in any file: what is damaged is found, and never served.

Everything that the folder holds is asked for, as a start and requests would: each answer is the right one, or says that
something is damaged. The long form, NABLA_CHAOS_LONG=1 pytest tests/chaos, makes ten thousand trials in all.
"""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from nabla.engine import durable_files
from nabla.engine.data.preview import viewed
from nabla.engine.errors import StorageFailed
from nabla.engine.services.networks import Catalog
from nabla.engine.storage.data_dir import DataFolder
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import load_checkpoint
from tests.chaos import LONG
from tests.chaos.fault_disk import Disk, Operation, lay_out, tree

TRIALS = 5_000 if LONG else 150
PAGE = 4096
Answers = dict[str, bytes | None]


Files = dict[str, bytes | None]


@pytest.fixture(params=["in the log", "in the database"])
def full(operations: list[Operation], place: Path, request: pytest.FixtureRequest) -> Files:
    """The folder of the life before anything was deleted; the journal's log is taken over into its database, or not."""
    _up_to_the_first_deletion(operations).write_to(place)
    if request.param == "in the database":
        Journal(place / "journal.sqlite").close()
        assert not (place / "journal.sqlite-wal").exists()
    return tree(place)


def _up_to_the_first_deletion(operations: list[Operation]) -> Disk:
    disk = Disk()
    for operation in operations:
        if operation.kind == "mark" and '"job ' in operation.path and ", null]" in operation.path:
            return disk
        if operation.kind != "mark":
            disk.apply(operation)
    raise AssertionError("nothing was deleted")


def ask(place: Path, expected: Answers | None = None) -> Answers:
    """All answers; None for what is said to be damaged. With those `expected`, each of them is asked for."""
    try:
        with closing(DataFolder(place)) as folder, closing(Journal(folder.journal)) as journal:
            registry = Registry(journal)
            catalog = Catalog(registry, folder, 10**6)
            catalog.sweep()
            keys = known(registry) if expected is None else expected
            return {key: answer(key, registry, catalog, folder) for key in keys}
    except StorageFailed:
        return dict.fromkeys(expected or {})


def answer(key: str, registry: Registry, catalog: Catalog, folder: DataFolder) -> bytes | None:
    kind, id, number = key.split(" ")
    try:
        match kind:
            case "network":
                return msgspec.json.encode(registry.networks.get(id))
            case "weights":
                return catalog.load(registry.networks.get(id), int(number))[1].network.parameters.tobytes()
            case "dataset":
                return msgspec.json.encode(registry.datasets.get(id))
            case "data":
                dataset = registry.datasets.get(id)
                with viewed(dataset, folder.of_dataset(id)) as view:
                    return msgspec.json.encode(view.rows(0, dataset.rows))
            case "batch":
                return msgspec.json.encode(registry.batches.get(id))
            case "predicted":
                with durable_files.open_checked(folder.of_batch(id) / str(registry.batches.get(id).file)) as file:
                    return file.read()
            case "job":
                return msgspec.json.encode(registry.jobs.get(id))
            case "jobs":
                return msgspec.json.encode(registry.jobs.page(None, 100))
            case "history":
                return msgspec.json.encode(registry.history(id, 0, 10**6))
            case "events":
                return msgspec.json.encode(registry.events(id, 0, 10**6))
            case _:
                job = registry.jobs.get(id)
                found = load_checkpoint(folder.of_network(job.network_id) / job.checkpoints[int(number)].file)
                return b"".join(array.tobytes() for array in found.arrays.values())
    except StorageFailed:
        return None


def known(registry: Registry) -> Iterator[str]:
    yield "jobs - -"
    for network in registry.networks:
        yield f"network {network.id} -"
        yield from (f"weights {network.id} {version.number}" for version in network.versions)
    for dataset in registry.datasets:
        yield from (f"dataset {dataset.id} -", f"data {dataset.id} -")
    for batch in registry.batches:
        yield from (f"batch {batch.id} -", f"predicted {batch.id} -")
    for job in registry.jobs.page(None, 1000)[0]:
        yield from (f"{kind} {job.id} -" for kind in ("job", "history", "events"))
        yield from (f"checkpoint {job.id} {number}" for number in range(len(job.checkpoints)))


def test_damage_is_found_or_does_not_matter(full: Files, place: Path) -> None:
    lay_out(full, place)
    truth = ask(place)
    assert None not in truth.values()
    assert len(truth) > 15
    assert ask(place, truth) == truth
    seed = random.randrange(10**9)
    found = 0
    for trial in range(TRIALS):
        chance = random.Random(seed + trial)
        lay_out(full, place)
        path, how = damage(place, chance)
        answers = ask(place, truth)
        wrong = [key for key, answer in answers.items() if answer not in (truth[key], None)]
        assert not wrong, f"seed {seed + trial}: after {how} of {path} these are lies: {wrong}"
        found += None in answers.values()
    assert found > TRIALS / 3


def damage(place: Path, chance: random.Random) -> tuple[str, str]:
    """What was done to which file."""
    files = sorted(path for path in place.rglob("*") if path.is_file() and path.stat().st_size)
    path = chance.choice(files)
    content = bytearray(path.read_bytes())
    how = chance.choice(["flip", "flip", "cut", "zeros", "copy"])
    if how == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del content[chance.randrange(len(content)) :]
    else:
        first, other = (chance.randrange(-(-len(content) // PAGE)) * PAGE for _ in range(2))
        part = bytes(PAGE) if how == "zeros" else bytes(content[other : other + PAGE])
        content[first : first + PAGE] = part[: len(content) - first]
    path.write_bytes(content)
    return path.name, how
