"""One flipped bit in a file of a service: the file is not served, everything else is, and all of it once repaired."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.test_damage import PAGE_BYTES
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import TrainingResult, create_2000_row_dataset, submit_long_job, training_result
from tests.support.service import TIMEOUT_SECONDS, RunningService


@contextmanager
def damaged(*paths: Path, every: int | None = None) -> Iterator[None]:
    """Flip one bit of each file while the block runs. A file that was removed meanwhile is not restored.

    Args:
        *paths: The files.
        every: Flip one bit in every block of this size; by default one in the middle of the file.
    """
    before = {path: path.read_bytes() for path in paths}
    for path, content in before.items():
        damaged_content = bytearray(content)
        length = every or len(content)
        for index in range(length // 2, len(content), length):
            damaged_content[index] ^= 1
        path.write_bytes(damaged_content)
    yield
    for path, content in before.items():
        if path.exists():
            path.write_bytes(content)


def predict(service: RunningService, network: str, status: int = 200) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS}, status)


def test_damaged_weights(start_service: StartService) -> None:
    service = start_service()
    job, other = scenarios.submit_job(service, epochs=20), scenarios.create_network(service)
    assert service.wait_for_job(job["id"]).state == "succeeded"
    expected = predict(service, job["network_id"])
    (file,) = (service.data_dir / "networks" / job["network_id"]).glob(f"{job['id']}-*.safetensors")
    with damaged(file):
        assert service.terminate() == 0
        service.start()
        for _ in range(2):
            refused = predict(service, job["network_id"], 500)
            assert refused["type"] == "/problems/damaged"
            assert file.name not in str(refused)
        predict(service, other["id"])
        evaluated = f"/v1/networks/{job['network_id']}/evaluations"
        assert service.post(evaluated, {"dataset_id": job["dataset_id"]}, 500)["type"] == "/problems/damaged"
        warm = scenarios.submit_job(service, network_id=job["network_id"], epochs=1, warm_start=True)
        failed = service.wait_for_job(warm["id"])
        assert failed.error is not None
        assert (failed.error.kind, failed.retries) == ("damaged_data", 0)
    assert f"{file.name} is damaged" in service.log.read_text()
    assert predict(service, job["network_id"]) == expected


def pause_midway(service: RunningService, **change: Any) -> tuple[dict[str, Any], list[Path]]:
    """Return a job that is paused in the middle, and its checkpoints, oldest first."""
    job = submit_long_job(service, checkpoints={"epochs": 100, "keep": 2}, **change)
    service.wait_for_epoch(job["id"], 250)
    assert service.post(f"/v1/jobs/{job['id']}/pause")["state"] == "paused"
    files = sorted((service.data_dir / "networks" / job["network_id"]).glob("*.checkpoint"), key=position_of)
    assert len(files) == 2
    return job, files


def position_of(checkpoint: Path) -> tuple[int, ...]:
    """Return epoch and row of a checkpoint file."""
    return tuple(map(int, checkpoint.name.split(".")[0].split("-")[2:]))


def test_damaged_checkpoints(service: RunningService, uninterrupted: TrainingResult) -> None:
    dataset = create_2000_row_dataset(service)["id"]
    for broken in (1, 2):
        job, files = pause_midway(service, dataset_id=dataset)
        last = service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"][0]["number"]
        with damaged(*files[-broken:]):
            path = f"/v1/jobs/{job['id']}/checkpoints/{last}"
            assert service.http.get(path).json()["type"] == "/problems/damaged"
            assert service.post(f"{path}/publish", status=500)["type"] == "/problems/damaged"
            service.post(f"/v1/jobs/{job['id']}/resume")
            done = service.wait_for_job(job["id"])
            assert (done.state, done.retries, done.attempts) == ("succeeded", 0, 2 + broken)
        assert training_result(service, job) == uninterrupted
    assert "continues from an older checkpoint" in service.log.read_text()


def test_damaged_data(service: RunningService) -> None:
    data, other = create_2000_row_dataset(service), create_2000_row_dataset(service)
    before = scenarios.submit_job(service, dataset_id=data["id"], epochs=2)
    assert service.wait_for_job(before["id"]).state == "succeeded"
    directory = service.data_dir / "datasets" / data["id"]
    with damaged(*directory.iterdir()):
        failed = service.wait_for_job(scenarios.submit_job(service, dataset_id=data["id"], epochs=2)["id"])
        assert failed.error is not None
        assert (failed.state, failed.error.kind, failed.attempts) == ("failed", "damaged_data", 1)
        assert "damaged" in failed.error.message
        assert (
            service.wait_for_job(scenarios.submit_job(service, dataset_id=other["id"], epochs=2)["id"]).state
            == "succeeded"
        )
    again = scenarios.submit_job(service, dataset_id=data["id"], epochs=2)
    assert service.wait_for_job(again["id"]).state == "succeeded"
    assert training_result(service, again) == training_result(service, before)


def test_damaged_journal(start_service: StartService) -> None:
    """The service refuses to start and changes nothing; with the right file it starts."""
    service = start_service()
    networks = [scenarios.create_network(service, name=f"network {number}") for number in range(30)]
    assert service.terminate() == 0
    files = {path: path.read_bytes() for path in service.data_dir.rglob("*") if path.is_file()}
    with damaged(service.data_dir / "journal.sqlite", every=PAGE_BYTES):
        written = len(service.log.read_text())
        for _ in range(2):
            service.start()
            assert service.process.wait(TIMEOUT_SECONDS) == 1
        log = service.log.read_text()[written:]
        assert log.count("nabla: The journal is damaged: page 1 has a wrong checksum.\n") == 2
        assert "Traceback" not in log
    assert {path: path.read_bytes() for path in service.data_dir.rglob("*") if path.is_file()} == files
    service.start()
    assert [service.get(f"/v1/networks/{network['id']}") for network in networks] == networks
