"""A life of the service with everything in it, lived for those who want to know what its files were at each moment."""

import json
from pathlib import Path
from typing import Any

from tests.app import stories
from tests.app.stories import many_rows
from tests.chaos.disk import mark
from tests.running import RunningService


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
        """Create, hand in data, train with checkpoints, pause, resume, publish, cancel, delete."""
        network = stories.network(self.service)["id"]
        self.did(f"network {network}", True)
        dataset = many_rows(self.service)["id"]
        self.did(f"dataset {dataset}", True)
        uploaded = self.upload()
        both = {"network_id": network, "dataset_id": dataset}
        first = stories.job(self.service, **both, epochs=300, batch_size=4, checkpoints={"epochs": 100})["id"]
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
        second = stories.endless(self.service, **both)["id"]
        self.did(f"job {second}", "unfinished")
        self.service.trained(second, 10)
        self.control(second, "cancel", "cancelled")
        third = stories.job(self.service, **both, after=[first], epochs=1)["id"]
        self.did(f"job {third}", "unfinished")
        self.will(f"job {third}", "succeeded")
        self.will(f"versions {network}", 4)
        self.service.finished(third)
        self.did(f"versions {network}", 4)
        records = [("job", second), ("job", third), ("job", first), ("dataset", dataset), ("network", network)]
        for kind, id in [*records, ("dataset", uploaded)]:
            self.will(f"{kind} {id}", None)
            self.will(f"versions {id}", None)
            assert self.service.http.delete(f"/v1/{kind}s/{id}").status_code == 204
            self.did(f"{kind} {id}", None)
            self.did(f"versions {id}", None)

    def upload(self) -> str:
        """A dataset that comes in two files, and is read when it is closed."""
        id = str(self.service.post("/v1/datasets", {"upload": "rows", "label": "y"})["id"])
        self.did(f"dataset {id}", "receiving")
        self.did(f"pieces {id}", 0)
        for number in (1, 2):
            self.will(f"pieces {id}", number)
            answer = self.service.http.post(
                f"/v1/datasets/{id}/rows", content=b"x,y\n1,no\n2,yes\n", headers={"Content-Type": "text/csv"}
            )
            assert answer.status_code == 201, answer.text
            self.did(f"pieces {id}", number)
        self.will(f"dataset {id}", "reading", True)
        self.will(f"pieces {id}", None)
        assert self.service.post(f"/v1/datasets/{id}/close")["rows"] == 4
        self.did(f"dataset {id}", True)
        self.did(f"pieces {id}", None)
        return id

    def control(self, job: str, name: str, *states: str) -> str:
        """The state then. Only a job that goes on may succeed afterwards."""
        self.will(f"job {job}", *states)
        state = str(self.service.post(f"/v1/jobs/{job}/{name}")["state"])
        goes_on = state in ("queued", "running")
        self.did(f"job {job}", "unfinished" if goes_on else state)
        self.will(f"job {job}", *(("succeeded",) if goes_on else ()))
        return state
