"""A life of the service with everything in it, lived for those who want to know what its files were at each moment."""

import json
from pathlib import Path
from typing import Any

from tests.chaos.fault_disk import mark
from tests.support import scenarios
from tests.support.scenarios import many_rows
from tests.support.service import RunningService


class Life:
    """Asks the service, and writes down before each request what may be so from then on, and after it what is so."""

    def __init__(self, service: RunningService, log: Path) -> None:
        self.service = service
        self._log = log

    def will(self, key: str, *values: Any) -> None:
        for value in values:
            mark(self._log, json.dumps(["will", key, value]))

    def did(self, key: str, value: Any) -> None:
        mark(self._log, json.dumps(["did", key, value]))

    def live(self) -> None:
        """Create, hand in data, train with checkpoints, pause, resume, publish, rename, tag, clone, cancel, copy out,
        take in, predict the data, delete."""
        network = scenarios.network(self.service)["id"]
        self.did(f"network {network}", True)
        dataset = many_rows(self.service)["id"]
        self.did(f"dataset {dataset}", True)
        uploaded = self.upload()
        both = {"network_id": network, "dataset_id": dataset}
        first = scenarios.job(self.service, **both, epochs=300, batch_size=4, checkpoints={"epochs": 100})["id"]
        self.did(f"job {first}", "unfinished")
        self.will(f"job {first}", "succeeded")
        self.service.trained(first, 20)
        if self.control(first, "pause", "paused", "succeeded") == "paused":  # it may have ended before
            self.control(first, "resume", "unfinished", "succeeded")
        assert self.service.finished(first).state == "succeeded"
        self.did(f"job {first}", "succeeded")
        self.did(f"versions {network}", 2)
        self.will(f"versions {network}", 3)
        self.service.post(f"/v1/jobs/{first}/checkpoints/3/publish")
        self.did(f"versions {network}", 3)
        self.name_and_tag(network)
        clone = self.clone(network)
        second = scenarios.endless(self.service, **both)["id"]
        self.did(f"job {second}", "unfinished")
        self.service.trained(second, 10)
        self.control(second, "cancel", "cancelled")
        third = scenarios.job(self.service, **both, depends_on=[first], epochs=1)["id"]
        self.did(f"job {third}", "unfinished")
        self.will(f"job {third}", "succeeded")
        self.will(f"versions {network}", 4)
        self.service.finished(third)
        self.did(f"versions {network}", 4)
        taken = self.exchange(network)
        batch = self.predict_dataset(network, dataset)
        records = [("job", second), ("job", third), ("job", first), ("dataset", dataset), ("network", network)]
        records += [("dataset", uploaded), ("network", clone), ("network", taken), ("batch-prediction", batch)]
        for kind, id in records:
            keys = (f"{kind} {id}", f"versions {id}", f"name {id}", f"tags {id}")
            for key in keys:
                self.will(key, None)
            assert self.service.http.delete(f"/v1/{kind}s/{id}").status_code == 204
            for key in keys:
                self.did(key, None)

    def name_and_tag(self, network: str) -> None:
        path = f"/v1/networks/{network}"
        for number, name in ((0, "first"), (2, "second")):
            self.will(f"name {network}", name)
            assert self.service.http.patch(path, json={"name": name}).status_code == 200
            self.did(f"name {network}", name)
            self.will(f"tags {network}", {}, {"production": number})
            assert self.service.http.put(f"{path}/tags/production", json={"version": number}).is_success
            self.did(f"tags {network}", {"production": number})

    def clone(self, network: str) -> str:
        id = str(self.service.post(f"/v1/networks/{network}/clones", {"version": "production"})["id"])
        self.did(f"network {id}", True)
        self.did(f"versions {id}", 1)
        self.did(f"tags {id}", {})
        return id

    def predict_dataset(self, network: str, dataset: str) -> str:
        id = str(self.service.post(f"/v1/networks/{network}/batch-predictions", {"dataset_id": dataset})["id"])
        self.did(f"batch-prediction {id}", "queued")
        self.will(f"batch-prediction {id}", "succeeded")
        while (state := self.service.get(f"/v1/batch-predictions/{id}")["state"]) in ("queued", "running"):
            pass
        assert state == "succeeded"
        self.did(f"batch-prediction {id}", state)
        return id

    def upload(self) -> str:
        """A dataset that comes in two files, and is read when it is closed."""
        id = str(self.service.post("/v1/datasets", {"upload": "rows", "label": "y"})["id"])
        self.did(f"dataset {id}", "receiving")
        self.did(f"chunks {id}", 0)
        for number in (1, 2):
            self.will(f"chunks {id}", number)
            answer = self.service.http.post(
                f"/v1/datasets/{id}/rows", content=b"x,y\n1,no\n2,yes\n", headers={"Content-Type": "text/csv"}
            )
            assert answer.status_code == 201, answer.text
            self.did(f"chunks {id}", number)
        self.will(f"dataset {id}", "reading", True)
        self.will(f"chunks {id}", None)
        assert self.service.post(f"/v1/datasets/{id}/close")["rows"] == 4
        self.did(f"dataset {id}", True)
        self.did(f"chunks {id}", None)
        return id

    def exchange(self, network: str) -> str:
        """A network that is copied out and taken in."""
        file = self.service.http.get(f"/v1/networks/{network}/versions/1/file")
        assert file.status_code == 200, file.text
        answer = self.service.http.post("/v1/networks", files={"file": ("again.safetensors", file.content)})
        assert answer.status_code == 201, answer.text
        id = str(answer.json()["id"])
        self.did(f"network {id}", True)
        self.did(f"versions {id}", 2)
        self.did(f"name {id}", "again")
        self.did(f"tags {id}", {})
        return id

    def control(self, job: str, name: str, *states: str) -> str:
        """The state then. Only a job that goes on may succeed afterwards."""
        self.will(f"job {job}", *states)
        state = str(self.service.post(f"/v1/jobs/{job}/{name}")["state"])
        goes_on = state in ("queued", "running")
        self.did(f"job {job}", "unfinished" if goes_on else state)
        self.will(f"job {job}", *(("succeeded",) if goes_on else ()))
        return state
