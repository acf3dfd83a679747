"""Lists the project files that one request enters: `python -m scripts.trip`.

A real service is started in this process on a free port and warmed up. Then `POST /v1/jobs` and a JSON prediction are
traced in every thread of the API process, several times: what only some of these equal requests enter belongs to
background threads. Workers are processes of their own and do not count.
"""

import http.client
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
_NETWORK = {
    "name": "xor",
    "inputs": 2,
    "layers": [{"units": 3, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
}
_DATASET = {"name": "xor", "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]], "labels": [0, 1, 1, 0]}
_JOB = {"network_id": "xor", "dataset_id": "xor", "epochs": 10, "batch_size": 4}
_ROWS = {"inputs": [[0, 1]]}
_WARM_UP_ROUNDS = 3
_TRACED_ROUNDS = 5
_STARTUP_TIMEOUT = 900.0


class FileTracer:
    """Profile hook that collects the code objects called while `recording` is set."""

    def __init__(self) -> None:
        self.recording = False
        self._codes: set[CodeType] = set()

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        """Note the function that is being called."""
        if self.recording and event == "call":
            self._codes.add(frame.f_code)

    def record(self, request: Callable[[], object]) -> set[str]:
        """Return the files under app/ and engine/ entered between sending a request and receiving its response."""
        self._codes = set()
        self.recording = True
        request()
        self.recording = False
        paths = {Path(code.co_filename).resolve() for code in self._codes}
        files = {path.relative_to(ROOT) for path in paths if path.is_relative_to(ROOT)}
        return {str(file) for file in files if file.parts[0] in ("app", "engine")}


class _Client:
    """Minimal HTTP client on one connection, so that connecting is not part of a trace."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_STARTUP_TIMEOUT)
        self._job_id = ""

    def request(self, method: str, path: str, body: Any = None) -> Any:
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = self._connection.getresponse()
        content = json.loads(response.read())
        if response.status >= 400 and response.status != 503:
            raise RuntimeError(f"{method} {path}: {response.status} {content}")
        return content

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _STARTUP_TIMEOUT
        while self.request("GET", "/health/ready").get("status") != "ready":
            if time.monotonic() > deadline:
                raise TimeoutError("no worker became ready")
            time.sleep(0.1)

    def predict(self) -> None:
        self.request("POST", "/v1/networks/xor/predictions", _ROWS)

    def submit_job(self) -> None:
        self._job_id = self.request("POST", "/v1/jobs", _JOB)["id"]

    def wait_for_job(self) -> None:
        while self.request("GET", f"/v1/jobs/{self._job_id}")["state"] not in ("succeeded", "failed"):
            time.sleep(0.05)


def trace_requests(client: _Client, tracer: FileTracer) -> dict[str, list[str]]:
    """Return the files that each of the two requests enters on a warm service."""
    client.wait_until_ready()
    client.request("POST", "/v1/networks", _NETWORK)
    client.request("POST", "/v1/datasets", _DATASET)
    jobs, predictions = [], []
    for number in range(_WARM_UP_ROUNDS + _TRACED_ROUNDS):
        job = tracer.record(client.submit_job)
        client.wait_for_job()
        client.predict()  # loads the version that the job has published
        prediction = tracer.record(client.predict)
        if number >= _WARM_UP_ROUNDS:
            jobs.append(job)
            predictions.append(prediction)
    return {
        "POST /v1/jobs": sorted(set.intersection(*jobs)),
        "POST /v1/networks/{network_id}/predictions": sorted(set.intersection(*predictions)),
    }


def main() -> int:
    """Serve, trace from a second thread, print both lists; return 0 if both requests succeeded."""
    from nabla.app.server import listen, serve
    from nabla.app.settings import Settings

    tracer, trips = FileTracer(), dict[str, list[str]]()
    listening = listen("127.0.0.1", 0)

    def drive() -> None:
        sys.setprofile(None)  # the client is not part of the service
        try:
            trips.update(trace_requests(_Client(listening.getsockname()[1]), tracer))
        finally:
            os.kill(os.getpid(), signal.SIGTERM)

    with tempfile.TemporaryDirectory() as data_dir:
        settings = Settings(data_dir=Path(data_dir), gpus="none", log_level="error")
        threading.setprofile(tracer)
        threading.Thread(target=drive, name="client", daemon=True).start()
        sys.setprofile(tracer)
        try:
            serve(settings, listening)
        finally:
            sys.setprofile(None)
            threading.setprofile(None)
    for request, files in trips.items():
        print(f"{request} enters {len(files)} project files:", *files, sep="\n  ")
    return 0 if trips else 1


if __name__ == "__main__":
    sys.exit(main())
