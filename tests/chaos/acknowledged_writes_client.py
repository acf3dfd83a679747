"""A client that repeats requests through crashes of the service, and remembers everything that was acknowledged."""

import random
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.chaos.scenarios import RUNS, Run
from tests.support.service import TIMEOUT_SECONDS

_XOR = {"inputs": [[0, 0], [0, 1], [1, 0], [1, 1]], "labels": ["no", "yes", "yes", "no"]}
_BATCHES = "/v1/batch-predictions"
_ROWS = b"x,y\n1,no\n2,yes\n"
UNFINISHED = ("queued", "running", "paused")


@dataclass
class OwnJob:
    """What the client knows of a job. `state`: a state that only the client can change; None if the job may run."""

    id: str
    network: str
    run: Run
    state: str | None = None
    priority: int = 0
    epoch: int = 0
    saved: int = 0


@dataclass
class Facts:
    """What was acknowledged to one client."""

    created: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: set[str] = field(default_factory=set)
    jobs: dict[str, OwnJob] = field(default_factory=dict)
    ended: dict[str, str] = field(default_factory=dict)
    batches: dict[str, str | None] = field(default_factory=dict)
    """How batch predictions have ended; None for those that may not have."""


class ChaosClient(threading.Thread):
    """Sends random requests and checks the answers until `ending` is set; then it waits for its jobs to end.

    Attributes:
        facts: What was acknowledged.
        failure: The first wrong answer.
        ending: Set to end the client.
    """

    def __init__(self, url: str, seed: int, dataset: str, answered: threading.Semaphore) -> None:
        """Create a client. `answered`: released at each answer."""
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
            self._submit(RUNS[0])  # it predicts without training
            self._predict_dataset()
            while not self.ending.is_set():
                self._act()
            self._wait_for_jobs()
            self._wait_for_batch_predictions()
            self.check_all()
        except BaseException as problem:
            self.failure = problem
            raise

    def ask(self, method: str, path: str, content_type: str | None = None, **body: Any) -> httpx.Response:
        """Repeat a request until there is an answer; a POST always with the same Idempotency-Key."""
        headers = {"Idempotency-Key": uuid.uuid4().hex} if method == "POST" else {}
        if content_type is not None:
            headers["Content-Type"] = content_type
        while True:
            try:
                answer = httpx.request(method, self._url + path, headers=headers, timeout=TIMEOUT_SECONDS, **body)
            except httpx.TransportError:
                continue
            assert answer.status_code < 500, answer.text
            self._answered.release()
            if answer.status_code != 409 or "being carried out" not in answer.text:
                return answer

    def _act(self) -> None:
        actions = [self._submit_any, self._control, self._control, self._control, self._check_one]
        actions += [self._create_and_delete, self._upload, self._name_and_tag, self._clone, self._predict_dataset]
        self._random.choice(actions)()

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
        self._keep_or_delete(self.ask("POST", "/v1/datasets", json=_XOR).json())

    def _network(self) -> str | None:
        """Return the path of a network that it has created."""
        paths = [path for path in self.facts.created if path.startswith("/v1/networks/")]
        return self._random.choice(paths) if paths else None

    def _name_and_tag(self) -> None:
        path = self._network()
        if path is not None:
            tag, name = (f"{kind}-{self._random.randrange(3)}" for kind in ("tag", "name"))
            assert self.ask("PUT", f"{path}/tags/{tag}", json={"version": 0}).is_success
            now = self.ask("PATCH", path, json={"name": name}).json()
            assert (now["name"], now["tags"]) == (name, {**self.facts.created[path]["tags"], tag: 0})
            self.facts.created[path] = now

    def _clone(self) -> None:
        """Clone the initial version of a network."""
        path = self._network()
        if path is not None:
            clone = self.ask("POST", f"{path}/clones", json={"version": 0}).json()
            self.facts.created[f"/v1/networks/{clone['id']}"] = clone

    def _predict_dataset(self) -> None:
        """Start a batch prediction; if two run already, cancel the newer one."""
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
        """Create a dataset from two files."""
        path = f"/v1/datasets/{self.ask('POST', '/v1/datasets', json={'upload': 'rows', 'label': 'y'}).json()['id']}"
        for number in (1, 2):
            answer = self.ask("POST", f"{path}/rows", "text/csv", content=_ROWS)
            assert answer.status_code == 201, answer.text
            assert len(answer.json()["chunks"]) == number
        self.ask("POST", f"{path}/close")
        while (dataset := self.ask("GET", path).json())["state"] == "reading":
            time.sleep(0.05)  # after a crash it is read again, and no event tells when that is done
        assert (dataset["state"], dataset["rows"], dataset["classes"]) == ("ready", 4, ["no", "yes"])
        self._keep_or_delete(dataset)

    def _keep_or_delete(self, dataset: dict[str, Any]) -> None:
        path = f"/v1/datasets/{dataset['id']}"
        self.facts.created[path] = dataset
        if self._random.random() < 0.5:
            assert self.ask("DELETE", path).status_code in (204, 404)
            del self.facts.created[path]
            self.facts.deleted.add(path)

    def _control(self) -> None:
        own = [job for job in self.facts.jobs.values() if job.id not in self.facts.ended]
        if not own:
            return
        job = self._random.choice(own)
        action = self._random.choice(["pause", "resume", "resume", "priority", "cancel", "delete"])
        if action == "cancel" and self._random.random() < 0.7:
            return
        match action:
            case "pause" | "resume":
                self._pause_or_resume(job, action)
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

    def _pause_or_resume(self, job: OwnJob, action: str) -> None:
        """Pause or resume a job. A conflict may mean that it was done, and the answer lost; the state tells."""
        answer = self.ask("POST", f"/v1/jobs/{job.id}/{action}")
        if answer.status_code == 200:
            state = answer.json()["state"]
            assert action != "resume" or state != "paused"
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
        """Check that everything acknowledged still holds."""
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
        # After a crash it continues from the last checkpoint but one at the earliest.
        job.saved = max(job.saved, (job.epoch - 1) // every * every)

    def _check_created(self, path: str) -> None:
        answer = self.ask("GET", path)
        assert answer.status_code == 200, f"{path} is lost"
        expected, now = dict(self.facts.created[path]), answer.json()
        # Jobs publish versions, and other networks take and lose the same name.
        for name in ("version", "shadows"):
            expected.pop(name, None)
            now.pop(name, None)
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

    def _wait_for_jobs(self) -> None:
        for job in self.facts.jobs.values():
            if job.id not in self.facts.ended and job.state == "paused":
                self._pause_or_resume(job, "resume")
        for job in self.facts.jobs.values():
            while job.id not in self.facts.ended:
                self._follow(job.id)
                self._check_job(job)

    def _wait_for_batch_predictions(self) -> None:
        for batch in self.facts.batches:
            while self.facts.batches[batch] is None:
                self._check_batch(batch)
                time.sleep(0.05)  # no event tells when it has ended

    def _follow(self, job_id: str) -> None:
        """Wait for the end of a job, or of the stream."""
        try:
            with httpx.stream("GET", f"{self._url}/v1/jobs/{job_id}/events", timeout=TIMEOUT_SECONDS) as stream:
                for _ in stream.iter_raw():
                    pass
        except httpx.TransportError:
            pass
