"""A client that goes on through crashes of the service, and remembers everything that it was told."""

import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.scenarios import RUNS, Run
from tests.support.service import PATIENCE

_XOR = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]], "labels": ["no", "yes", "yes", "no"]}
_BATCHES = "/v1/batch-predictions"
_ROWS = b"x,y\n1,no\n2,yes\n"
UNFINISHED = ("queued", "running", "paused")


@dataclass
class OwnJob:
    """What its owner knows of a job. `state`: one that can only change at the owner's request; None if it may run."""

    id: str
    network: str
    run: Run
    state: str | None = None
    priority: int = 0
    epoch: int = 0
    saved: int = 0


@dataclass
class Facts:
    """What one client was told."""

    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    jobs: dict[str, OwnJob] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    batches: dict[str, str | None] = field(default_factory=dict)
    """How batch predictions have ended; None of those that may not have."""


class ChaosClient(threading.Thread):
    """Creates, uploads, submits, pauses, resumes, changes, cancels, deletes and reads, until told to end; then it lets
    its jobs end. What it finds wrong is in `failure`."""

    def __init__(self, url: str, seed: int, dataset: str, answered: threading.Semaphore) -> None:
        """`answered`: released at each answer."""
        super().__init__(name=f"client-{seed}")
        self.facts = Facts()
        self.failure: BaseException | None = None
        self.ending = threading.Event()
        self._url = url
        self._random = random.Random(seed)
        self._dataset = dataset
        self._answered = answered

    def run(self) -> None:
        try:
            self._submit(RUNS[0])  # which needs no training to predict
            self._predict_dataset()
            while not self.ending.is_set():
                self._act()
            self._let_jobs_end()
            self._let_batches_end()
            self.check_all()
        except BaseException as problem:
            self.failure = problem
            raise

    def ask(self, method: str, path: str, content_type: str | None = None, **body: Any) -> httpx.Response:
        """Until there is an answer. What creates something is sent with one key however often."""
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        if content_type is not None:
            headers["Content-Type"] = content_type
        while True:
            try:
                answer = httpx.request(method, self._url + path, headers=headers, timeout=PATIENCE, **body)
            except httpx.TransportError:
                continue
            assert answer.status_code < 500, answer.text
            self._answered.release()
            if answer.status_code != 409 or "being carried out" not in answer.text:
                return answer

    def _act(self) -> None:
        acts = [self._submit_any, self._control, self._control, self._control, self._check_one]
        acts += [self._create_and_delete, self._upload, self._name_and_tag, self._clone, self._predict_dataset]
        self._random.choice(acts)()

    def _submit_any(self) -> None:
        if sum(job.id not in self.facts.ended for job in self.facts.jobs.values()) < 3:
            self._submit(self._random.choice(RUNS))

    def _submit(self, run: Run) -> None:
        network = self.ask("POST", "/v1/networks", json=run.network).json()
        self.facts.created[f"/v1/networks/{network['id']}"] = network
        body = {"network_id": network["id"], "dataset_id": self._dataset, **run.job}
        job = self.ask("POST", "/v1/jobs", json=body).json()
        self.facts.jobs[job["id"]] = OwnJob(job["id"], network["id"], run)

    def _create_and_delete(self) -> None:
        made = self.ask("POST", "/v1/datasets", json=_XOR).json()
        self._keep_or_delete(made)

    def _network(self) -> str | None:
        """The path of one that it has made."""
        made = [path for path in self.facts.created if path.startswith("/v1/networks/")]
        return self._random.choice(made) if made else None

    def _name_and_tag(self) -> None:
        path = self._network()
        if path is not None:
            tag, name = (f"{kind}-{self._random.randrange(3)}" for kind in ("tag", "name"))
            assert self.ask("PUT", f"{path}/tags/{tag}", json={"version": 0}).is_success
            now = self.ask("PATCH", path, json={"name": name}).json()
            assert (now["name"], now["tags"]) == (name, {**self.facts.created[path]["tags"], tag: 0})
            self.facts.created[path] = now

    def _clone(self) -> None:
        """It starts as the other one did."""
        path = self._network()
        if path is not None:
            clone = self.ask("POST", f"{path}/clones", json={"version": 0}).json()
            self.facts.created[f"/v1/networks/{clone['id']}"] = clone

    def _predict_dataset(self) -> None:
        """It goes on meanwhile. Where two do, the newer one is cancelled."""
        unfinished = [batch for batch, state in self.facts.batches.items() if state is None]
        if len(unfinished) >= 2:
            if self.ask("POST", f"{_BATCHES}/{unfinished[-1]}/cancel").status_code == 200:
                self.facts.batches[unfinished[-1]] = "cancelled"
            return
        path = self._network()
        assert path is not None
        answer = self.ask("POST", f"{path}/batch-predictions", json={"dataset_id": self._dataset})
        if answer.status_code != 409 or "has not been trained" not in answer.text:
            assert answer.status_code == 202, answer.text
            self.facts.batches[answer.json()["id"]] = None

    def _upload(self) -> None:
        """A dataset that comes in two files, and is read when it is closed."""
        path = f"/v1/datasets/{self.ask('POST', '/v1/datasets', json={'upload': 'rows', 'label': 'y'}).json()['id']}"
        for number in (1, 2):
            answer = self.ask("POST", f"{path}/rows", "text/csv", content=_ROWS)
            assert answer.status_code == 201, answer.text
            assert len(answer.json()["chunks"]) == number
        self.ask("POST", f"{path}/close")
        while (made := self.ask("GET", path).json())["state"] == "reading":
            time.sleep(0.05)  # a crash fell into the reading, and no event tells when it is done
        assert (made["state"], made["rows"], made["classes"]) == ("ready", 4, ["no", "yes"])
        self._keep_or_delete(made)

    def _keep_or_delete(self, made: dict[str, Any]) -> None:
        path = f"/v1/datasets/{made['id']}"
        self.facts.created[path] = made
        if self._random.random() < 0.5:
            assert self.ask("DELETE", path).status_code in (204, 404)
            del self.facts.created[path]
            self.facts.deleted.add(path)

    def _control(self) -> None:
        own = [job for job in self.facts.jobs.values() if job.id not in self.facts.ended]
        if not own:
            return
        job = self._random.choice(own)
        act = self._random.choice(["pause", "resume", "resume", "priority", "cancel", "delete"])
        if act == "cancel" and self._random.random() < 0.7:
            return
        match act:
            case "pause" | "resume":
                self._pause_or_resume(job, act)
            case "priority":
                priority = self._random.randint(-5, 5)
                if self.ask("PATCH", f"/v1/jobs/{job.id}", json={"priority": priority}).status_code == 200:
                    job.priority = priority
            case "cancel":
                if self.ask("POST", f"/v1/jobs/{job.id}/cancel").status_code == 200:
                    self.facts.ended[job.id] = "cancelled"
            case "delete":
                assert self.ask("DELETE", f"/v1/jobs/{job.id}").status_code in (204, 409)
                if self.ask("GET", f"/v1/jobs/{job.id}").status_code == 404:
                    self._forget(job)
        self._check_one()

    def _pause_or_resume(self, job: OwnJob, act: str) -> None:
        """When the answer was lost, it was done if it does not fit any more; the state tells."""
        answer = self.ask("POST", f"/v1/jobs/{job.id}/{act}")
        if answer.status_code == 200:
            state = answer.json()["state"]
            assert act != "resume" or state != "paused"
        else:
            assert answer.status_code == 409, answer.text
            state = self.ask("GET", f"/v1/jobs/{job.id}").json()["state"]
        job.state = "paused" if state == "paused" else None

    def _forget(self, job: OwnJob) -> None:
        del self.facts.jobs[job.id]
        self.facts.deleted.add(f"/v1/jobs/{job.id}")

    def _check_one(self) -> None:
        if self.facts.jobs:
            self._check_job(self._random.choice([*self.facts.jobs.values()]))
        if self.facts.batches:
            self._check_batch(self._random.choice([*self.facts.batches]))
        if self.facts.created:
            self._check_created(self._random.choice([*self.facts.created]))
        if self.facts.deleted:
            self._check_deleted(self._random.choice([*self.facts.deleted]))

    def check_all(self) -> None:
        """Everything that this client was ever told still holds."""
        for job in [*self.facts.jobs.values()]:
            self._check_job(job)
        for batch in self.facts.batches:
            self._check_batch(batch)
        for path in self.facts.created:
            self._check_created(path)
        for path in self.facts.deleted:
            self._check_deleted(path)

    def _check_job(self, job: OwnJob) -> None:
        answer = self.ask("GET", f"/v1/jobs/{job.id}")
        assert answer.status_code == 200, f"{job.id} is lost: {answer.text}"
        now = answer.json()
        assert now["priority"] == job.priority
        assert now["network_id"] == job.network
        if job.id in self.facts.ended:
            assert now["state"] == self.facts.ended[job.id]
        elif now["state"] not in UNFINISHED:
            assert job.state != "paused", f"{job.id} was paused and is {now['state']}"
            self.facts.ended[job.id] = now["state"]
        elif job.state == "paused":
            assert now["state"] == "paused"
        else:
            assert now["state"] != "paused", f"{job.id} was resumed and is paused"
        every = job.run.job["checkpoints"]["epochs"]
        assert now["epoch"] >= job.saved, f"{job.id} fell back from {job.epoch} to {now['epoch']}"
        job.epoch = max(job.epoch, now["epoch"])
        # All that is redone after a crash is what came after the last checkpoint but one.
        job.saved = max(job.saved, (job.epoch - 1) // every * every)

    def _check_created(self, path: str) -> None:
        found = self.ask("GET", path)
        assert found.status_code == 200, f"{path} is lost"
        expected, now = dict(self.facts.created[path]), found.json()
        expected.pop("version", None)  # jobs publish
        now.pop("version", None)
        assert now == expected

    def _check_batch(self, batch: str) -> None:
        answer = self.ask("GET", f"{_BATCHES}/{batch}")
        assert answer.status_code == 200, f"{batch} is lost: {answer.text}"
        state = answer.json()["state"]
        assert self.facts.batches[batch] in (None, state), f"{batch} was {self.facts.batches[batch]} and is {state}"
        if state in UNFINISHED:
            return
        assert state in ("succeeded", "cancelled"), answer.text
        self.facts.batches[batch] = state
        file = self.ask("GET", f"{_BATCHES}/{batch}/file")
        if state == "succeeded":
            assert len(file.text.splitlines()) == answer.json()["rows"] + 1
        else:
            assert file.status_code == 409

    def _check_deleted(self, path: str) -> None:
        assert self.ask("GET", path).status_code == 404, f"{path} is back"

    def _let_jobs_end(self) -> None:
        for job in self.facts.jobs.values():
            if job.id not in self.facts.ended and job.state == "paused":
                self._pause_or_resume(job, "resume")
        for job in self.facts.jobs.values():
            while job.id not in self.facts.ended:
                self._follow(job.id)
                self._check_job(job)

    def _let_batches_end(self) -> None:
        for batch in self.facts.batches:
            while self.facts.batches[batch] is None:
                self._check_batch(batch)
                time.sleep(0.05)  # no event tells when it has ended

    def _follow(self, job_id: str) -> None:
        """Wait for its end, or for the end of the stream."""
        try:
            with httpx.stream("GET", f"{self._url}/v1/jobs/{job_id}/events", timeout=PATIENCE) as stream:
                for _ in stream.iter_raw():
                    pass
        except httpx.TransportError:
            pass
