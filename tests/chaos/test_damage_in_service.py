"""One bit flipped in a file of a service: it is not served, the rest goes on, and all of it when it is flipped back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.chaos.test_damage import PAGE
from tests.conftest import StartService
from tests.support import scenarios
from tests.support.scenarios import Result, long, many_rows, result
from tests.support.service import PATIENCE, RunningService


@contextmanager
def damaged(*paths: Path, every: int | None = None) -> Iterator[None]:
    """Meanwhile one bit in the middle of each file, or of `every` so many bytes of it, is another one. A file that is
    gone at the end stays so."""
    before = {path: path.read_bytes() for path in paths}
    for path, content in before.items():
        changed = bytearray(content)
        length = every or len(content)
        for place in range(length // 2, len(content), length):
            changed[place] ^= 1
        path.write_bytes(changed)
    yield
    for path, content in before.items():
        if path.exists():
            path.write_bytes(content)


def predict(service: RunningService, network: str, status: int = 200) -> dict[str, Any]:
    return service.post(f"/v1/networks/{network}/predictions", {"inputs": scenarios.XOR_INPUTS}, status)


def test_weights(start_service: StartService) -> None:
    service = start_service()
    job, other = scenarios.job(service, epochs=20), scenarios.network(service)
    assert service.finished(job["id"]).state == "succeeded"
    right = predict(service, job["network_id"])
    (file,) = (service.folder / "networks" / job["network_id"]).glob(f"{job['id']}-*.safetensors")
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
        warm = scenarios.job(service, network_id=job["network_id"], epochs=1, warm_start=True)
        failed = service.finished(warm["id"])
        assert failed.error is not None
        assert (failed.error.kind, failed.retries) == ("damaged_data", 0)
    assert f"{file.name} is damaged" in service.log.read_text()
    assert predict(service, job["network_id"]) == right


def paused(service: RunningService, **change: Any) -> tuple[dict[str, Any], list[Path]]:
    """A job in the middle, and its checkpoints, oldest first."""
    job = long(service, checkpoints={"epochs": 100, "keep": 2}, **change)
    service.trained(job["id"], 250)
    assert service.post(f"/v1/jobs/{job['id']}/pause")["state"] == "paused"
    files = sorted((service.folder / "networks" / job["network_id"]).glob("*.checkpoint"), key=position_of)
    assert len(files) == 2
    return job, files


def position_of(checkpoint: Path) -> tuple[int, ...]:
    """Epoch and row."""
    return tuple(map(int, checkpoint.name.split(".")[0].split("-")[2:]))


def test_checkpoints(service: RunningService, undisturbed: Result) -> None:
    dataset = many_rows(service)["id"]
    for broken in (1, 2):
        job, files = paused(service, dataset_id=dataset)
        last = service.get(f"/v1/jobs/{job['id']}/checkpoints")["data"][0]["number"]
        with damaged(*files[-broken:]):
            path = f"/v1/jobs/{job['id']}/checkpoints/{last}"
            assert service.http.get(path).json()["type"] == "/problems/damaged"
            assert service.post(f"{path}/publish", status=500)["type"] == "/problems/damaged"
            service.post(f"/v1/jobs/{job['id']}/resume")
            done = service.finished(job["id"])
            assert (done.state, done.retries, done.attempts) == ("succeeded", 0, 2 + broken)
        assert result(service, job) == undisturbed
    assert "goes on from an older checkpoint" in service.log.read_text()


def test_data(service: RunningService) -> None:
    data, other = many_rows(service), many_rows(service)
    before = scenarios.job(service, dataset_id=data["id"], epochs=2)
    assert service.finished(before["id"]).state == "succeeded"
    folder = service.folder / "datasets" / data["id"]
    with damaged(*folder.iterdir()):
        failed = service.finished(scenarios.job(service, dataset_id=data["id"], epochs=2)["id"])
        assert failed.error is not None
        assert (failed.state, failed.error.kind, failed.attempts) == ("failed", "damaged_data", 1)
        assert "damaged" in failed.error.message
        assert service.finished(scenarios.job(service, dataset_id=other["id"], epochs=2)["id"]).state == "succeeded"
    again = scenarios.job(service, dataset_id=data["id"], epochs=2)
    assert service.finished(again["id"]).state == "succeeded"
    assert result(service, again) == result(service, before)


def test_the_journal(start_service: StartService) -> None:
    """A service that cannot trust its journal says so and ends; it changes nothing, and starts with the right file."""
    service = start_service()
    made = [scenarios.network(service, name=f"network {number}") for number in range(30)]
    assert service.terminate() == 0
    files = {path: path.read_bytes() for path in service.folder.rglob("*") if path.is_file()}
    with damaged(service.folder / "journal.sqlite", every=PAGE):
        written = len(service.log.read_text())
        for _ in range(2):
            service.start()
            assert service.process.wait(PATIENCE) == 1
        said = service.log.read_text()[written:]
        assert said.count("nabla: The journal is damaged: page 1 is not what was written.\n") == 2
        assert "Traceback" not in said
    assert {path: path.read_bytes() for path in service.folder.rglob("*") if path.is_file()} == files
    service.start()
    assert [service.get(f"/v1/networks/{network['id']}") for network in made] == made
