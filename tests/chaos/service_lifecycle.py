"""A scenario that uses every resource of the service, and marks in the log what was requested and acknowledged."""

import json
from pathlib import Path
from typing import Any

from tests.chaos.fault_disk import mark
from tests.support import scenarios
from tests.support.scenarios import create_2000_row_dataset
from tests.support.service import RunningService


class Lifecycle:
    """Runs the scenario. Before each request it marks what may become true, after it what is."""

    def __init__(self, service: RunningService, log: Path) -> None:
        self.service = service
        self._log = log

    def allow(self, key: str, *values: Any) -> None:
        """Mark values that something may have from now on."""
        for value in values:
            mark(self._log, json.dumps(["allow", key, value]))

    def require(self, key: str, value: Any) -> None:
        """Mark the value that something has."""
        mark(self._log, json.dumps(["require", key, value]))

    def run(self) -> None:
        """Create, upload, train, pause, resume, publish, name, tag, clone, cancel, export, import, predict, delete."""
        network = scenarios.create_network(self.service)["id"]
        self.require(f"network {network}", True)
        dataset = create_2000_row_dataset(self.service)["id"]
        self.require(f"dataset {dataset}", True)
        uploaded = self.upload()
        both = {"network_id": network, "dataset_id": dataset}
        first = scenarios.submit_job(self.service, **both, epochs=300, batch_size=4, checkpoints={"epochs": 100})["id"]
        self.require(f"job {first}", "unfinished")
        self.allow(f"job {first}", "succeeded")
        self.service.wait_for_epoch(first, 20)
        if self.control(first, "pause", "paused", "succeeded") == "paused":  # it may have ended already
            self.control(first, "resume", "unfinished", "succeeded")
        assert self.service.wait_for_job(first).state == "succeeded"
        self.require(f"job {first}", "succeeded")
        self.require(f"versions {network}", 2)
        self.allow(f"versions {network}", 3)
        self.service.post(f"/v1/jobs/{first}/checkpoints/3/publish")
        self.require(f"versions {network}", 3)
        self.name_and_tag(network)
        clone = self.clone(network)
        second = scenarios.submit_endless_job(self.service, **both)["id"]
        self.require(f"job {second}", "unfinished")
        self.service.wait_for_epoch(second, 10)
        self.control(second, "cancel", "cancelled")
        third = scenarios.submit_job(self.service, **both, depends_on=[first], epochs=1)["id"]
        self.require(f"job {third}", "unfinished")
        self.allow(f"job {third}", "succeeded")
        self.allow(f"versions {network}", 4)
        self.service.wait_for_job(third)
        self.require(f"versions {network}", 4)
        imported = self.export_and_import(network)
        batch = self.predict_dataset(network, dataset)
        records = [("job", second), ("job", third), ("job", first), ("dataset", dataset), ("network", network)]
        records += [("dataset", uploaded), ("network", clone), ("network", imported), ("batch-prediction", batch)]
        for kind, id in records:
            keys = (f"{kind} {id}", f"versions {id}", f"name {id}", f"tags {id}")
            for key in keys:
                self.allow(key, None)
            assert self.service.http.delete(f"/v1/{kind}s/{id}").status_code == 204
            for key in keys:
                self.require(key, None)

    def name_and_tag(self, network: str) -> None:
        path = f"/v1/networks/{network}"
        for number, name in ((0, "first"), (2, "second")):
            self.allow(f"name {network}", name)
            assert self.service.http.patch(path, json={"name": name}).status_code == 200
            self.require(f"name {network}", name)
            self.allow(f"tags {network}", {}, {"production": number})
            assert self.service.http.put(f"{path}/tags/production", json={"version": number}).is_success
            self.require(f"tags {network}", {"production": number})

    def clone(self, network: str) -> str:
        id = str(self.service.post(f"/v1/networks/{network}/clones", {"version": "production"})["id"])
        self.require(f"network {id}", True)
        self.require(f"versions {id}", 1)
        self.require(f"tags {id}", {})
        return id

    def predict_dataset(self, network: str, dataset: str) -> str:
        id = str(self.service.post(f"/v1/networks/{network}/batch-predictions", {"dataset_id": dataset})["id"])
        self.require(f"batch-prediction {id}", "queued")
        self.allow(f"batch-prediction {id}", "succeeded")
        while (state := self.service.get(f"/v1/batch-predictions/{id}")["state"]) in ("queued", "running"):
            pass
        assert state == "succeeded"
        self.require(f"batch-prediction {id}", state)
        return id

    def upload(self) -> str:
        """Create a dataset from two files."""
        id = str(self.service.post("/v1/datasets", {"upload": "rows", "label": "y"})["id"])
        self.require(f"dataset {id}", "receiving")
        self.require(f"chunks {id}", 0)
        for number in (1, 2):
            self.allow(f"chunks {id}", number)
            answer = self.service.http.post(
                f"/v1/datasets/{id}/rows", content=b"x,y\n1,no\n2,yes\n", headers={"Content-Type": "text/csv"}
            )
            assert answer.status_code == 201, answer.text
            self.require(f"chunks {id}", number)
        self.allow(f"dataset {id}", "reading", True)
        self.allow(f"chunks {id}", None)
        assert self.service.post(f"/v1/datasets/{id}/close")["rows"] == 4
        self.require(f"dataset {id}", True)
        self.require(f"chunks {id}", None)
        return id

    def export_and_import(self, network: str) -> str:
        """Export a version, and import the file as a new network."""
        file = self.service.http.get(f"/v1/networks/{network}/versions/1/file")
        assert file.status_code == 200, file.text
        answer = self.service.http.post("/v1/networks", files={"file": ("again.safetensors", file.content)})
        assert answer.status_code == 201, answer.text
        id = str(answer.json()["id"])
        self.require(f"network {id}", True)
        self.require(f"versions {id}", 2)
        self.require(f"name {id}", "again")
        self.require(f"tags {id}", {})
        return id

    def control(self, job: str, name: str, *states: str) -> str:
        """Send a command, and return the state of the job. Only an unfinished one may succeed afterwards."""
        self.allow(f"job {job}", *states)
        state = str(self.service.post(f"/v1/jobs/{job}/{name}")["state"])
        is_unfinished = state in ("queued", "running")
        self.require(f"job {job}", "unfinished" if is_unfinished else state)
        self.allow(f"job {job}", *(("succeeded",) if is_unfinished else ()))
        return state
