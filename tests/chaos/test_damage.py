"""Random damage to any file of a data directory is detected, and nothing damaged is served.

Flipped bits, truncated files, zeroed and misplaced pages. Everything in the directory is read as by a start and by
requests: each result is the right one, or says that something is damaged. NABLA_CHAOS_LONG=1 makes ten thousand trials.
"""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from nabla.engine import durable_files
from nabla.engine.data.dataset_reader import open_reader
from nabla.engine.errors import StorageFailed
from nabla.engine.services.networks import NetworkService
from nabla.engine.storage.data_dir import DataDir, remove_orphaned_files
from nabla.engine.storage.journal import Journal
from nabla.engine.storage.registry import Registry
from nabla.engine.training.checkpoint import load_checkpoint
from tests.chaos import LONG
from tests.chaos.fault_disk import Disk, Operation, tree, write_tree

TRIALS = 5_000 if LONG else 150
PAGE_BYTES = 4096
Results = dict[str, bytes | None]
Files = dict[str, bytes | None]


@pytest.fixture(params=["in the log", "in the database"])
def files(operations: list[Operation], replay_dir: Path, request: pytest.FixtureRequest) -> Files:
    """Return the recorded directory before anything was deleted, with the journal's log checkpointed or not."""
    _replay_to_first_deletion(operations).write_to(replay_dir)
    if request.param == "in the database":
        Journal(replay_dir / "journal.sqlite").close()
        assert not (replay_dir / "journal.sqlite-wal").exists()
    return tree(replay_dir)


def _replay_to_first_deletion(operations: list[Operation]) -> Disk:
    disk = Disk()
    for operation in operations:
        if operation.kind == "mark" and '"job ' in operation.path and ", null]" in operation.path:
            return disk
        if operation.kind != "mark":
            disk.apply(operation)
    raise AssertionError("nothing was deleted")


def read_all(path: Path, expected: Results | None = None) -> Results:
    """Read everything, or what is `expected`; None for what is reported as damaged."""
    try:
        with closing(DataDir(path)) as data_dir, closing(Journal(data_dir.journal)) as journal:
            registry = Registry(journal)
            catalog = NetworkService(registry, data_dir, 10**6)
            remove_orphaned_files(registry, data_dir)
            keys = all_keys(registry) if expected is None else expected
            return {key: read_one(key, registry, catalog, data_dir) for key in keys}
    except StorageFailed:
        return dict.fromkeys(expected or {})


def read_one(key: str, registry: Registry, catalog: NetworkService, data_dir: DataDir) -> bytes | None:
    kind, id, number = key.split(" ")
    try:
        match kind:
            case "network":
                return msgspec.json.encode(registry.networks.get(id))
            case "weights":
                return catalog.load_model(registry.networks.get(id), int(number))[1].network.parameters.tobytes()
            case "dataset":
                return msgspec.json.encode(registry.datasets.get(id))
            case "data":
                dataset = registry.datasets.get(id)
                with open_reader(dataset, data_dir.dataset_dir(id)) as view:
                    return msgspec.json.encode(view.read_rows(0, dataset.rows))
            case "batch":
                return msgspec.json.encode(registry.batch_predictions.get(id))
            case "predicted":
                with durable_files.open_verified(
                    data_dir.batch_prediction_dir(id) / str(registry.batch_predictions.get(id).file)
                ) as file:
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
                checkpoint = load_checkpoint(data_dir.network_dir(job.network_id) / job.checkpoints[int(number)].file)
                return b"".join(array.tobytes() for array in checkpoint.state.arrays.values())
    except StorageFailed:
        return None


def all_keys(registry: Registry) -> Iterator[str]:
    yield "jobs - -"
    for network in registry.networks:
        yield f"network {network.id} -"
        yield from (f"weights {network.id} {version.number}" for version in network.versions)
    for dataset in registry.datasets:
        yield from (f"dataset {dataset.id} -", f"data {dataset.id} -")
    for batch in registry.batch_predictions:
        yield from (f"batch {batch.id} -", f"predicted {batch.id} -")
    for job in registry.jobs.page(None, 1000)[0]:
        yield from (f"{kind} {job.id} -" for kind in ("job", "history", "events"))
        yield from (f"checkpoint {job.id} {number}" for number in range(len(job.checkpoints)))


def test_damage_is_detected_or_harmless(files: Files, replay_dir: Path) -> None:
    write_tree(files, replay_dir)
    truth = read_all(replay_dir)
    assert None not in truth.values()
    assert len(truth) > 15
    assert read_all(replay_dir, truth) == truth
    seed = random.randrange(10**9)
    detected = 0
    for trial in range(TRIALS):
        chance = random.Random(seed + trial)
        write_tree(files, replay_dir)
        path, how = damage(replay_dir, chance)
        results = read_all(replay_dir, truth)
        wrong = [key for key, result in results.items() if result not in (truth[key], None)]
        assert not wrong, f"seed {seed + trial}: wrong results after {how} of {path}: {wrong}"
        detected += None in results.values()
    assert detected > TRIALS / 3


def damage(directory: Path, chance: random.Random) -> tuple[str, str]:
    """Damage a random file, and return its name and how."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file() and path.stat().st_size)
    path = chance.choice(paths)
    content = bytearray(path.read_bytes())
    how = chance.choice(["flip", "flip", "cut", "zeros", "copy"])
    if how == "flip":
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    elif how == "cut":
        del content[chance.randrange(len(content)) :]
    else:
        first, other = (chance.randrange(-(-len(content) // PAGE_BYTES)) * PAGE_BYTES for _ in range(2))
        part = bytes(PAGE_BYTES) if how == "zeros" else bytes(content[other : other + PAGE_BYTES])
        content[first : first + PAGE_BYTES] = part[: len(content) - first]
    path.write_bytes(content)
    return path.name, how
