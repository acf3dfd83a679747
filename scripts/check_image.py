"""Starts the service in a container of buildah and measures how soon it is ready and answers: see scripts/image."""

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

MAX_READY_SECONDS, MAX_PREDICTION_SECONDS = 10.0, 3.0
NETWORK = {
    "name": "xor",
    "inputs": 2,
    "layers": [{"units": 3, "activation": "tanh"}, {"units": 1, "activation": "sigmoid"}],
    "cost": "binary_cross_entropy",
}
DATASET = {"name": "xor", "inputs": [[0, 0], [0, 1], [1, 0], [1, 1]], "labels": ["no", "yes", "yes", "no"]}
JOB = {"network_id": "xor", "dataset_id": "xor", "epochs": 10}


class Service:
    """The HTTP API of the service on a port of 127.0.0.1."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}"

    def send(self, path: str, body: Any = None) -> Any:
        """Return the JSON of a response."""
        content = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as response:
            return json.load(response)

    def wait_until_ready(self) -> None:
        """Wait until the service is ready to train, at most a minute."""
        for _ in range(1200):
            try:
                self.send("/health/ready")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.05)
        sys.exit("The service does not become ready.")


def main(container: str) -> None:
    """Print the times; exit with an error if one is too long."""
    image = json.loads(subprocess.check_output(["buildah", "inspect", container]))["Docker"]["config"]
    if "Healthcheck" not in image:
        sys.exit("The image has no health check.")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    service = Service(port)
    environment = ["--env", "NABLA_HOST=127.0.0.1", "--env", f"NABLA_PORT={port}"]
    command = ["buildah", "run", *environment, "--user", image["User"], container, "--", *image["Cmd"]]
    started = time.perf_counter()
    process = subprocess.Popen(command)
    try:
        service.wait_until_ready()
        ready = time.perf_counter() - started
        service.send("/v1/networks", NETWORK)
        started = time.perf_counter()
        service.send("/v1/networks/xor/predictions", {"inputs": [[0, 1]]})
        prediction = time.perf_counter() - started
        service.send("/v1/datasets", DATASET)
        started = time.perf_counter()
        job = service.send("/v1/jobs", JOB)
        while not (view := service.send(f"/v1/jobs/{job['id']}"))["epoch"]:
            if view["state"] == "failed":
                sys.exit(view["error"]["message"])
        first_epoch = time.perf_counter() - started
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
    print(f"ready after {ready:.1f} s; first prediction {prediction:.2f} s; first epoch {first_epoch:.2f} s")
    if ready > MAX_READY_SECONDS or prediction > MAX_PREDICTION_SECONDS:
        sys.exit("That is too slow.")


if __name__ == "__main__":
    assert Path("Dockerfile").exists()
    main(*sys.argv[1:])
