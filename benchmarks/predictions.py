"""Predictions per second, compared with a FastAPI route that does nothing and with MLServer.

    python -m benchmarks.predictions [--rounds 5] [--seconds 3] [--mlserver PYTHON]

One row of 784 float32 numbers, a network of 784-128-10; the server on one core, wrk with 16 connections on another. All
take turns; medians and half the interquartile range. Then the same while every slot trains on the server's core, with
one slot, as by default, and with two, one more than cores; and 10,000 rows as .npy, compared with the engine in
process.

PYTHON is that of a virtual environment with mlserver==1.7.1 and mlserver-sklearn==1.7.1.
"""

import argparse
import io
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.support.stats import median_and_spread, median_ratio
from nabla.app.server import listen
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from tests.support import scenarios
from tests.support.service import RunningService

SERVER_CORE, LOAD_CORE = 0, 1
CONNECTIONS = 16
ROW = np.random.default_rng(1).random((1, 784), np.float32)
BATCH_ROWS = 10_000
LAYERS = [{"units": 128, "activation": "relu"}, {"units": 10, "activation": "softmax"}]
JSON, NPY, OCTET_STREAM = "application/json", "application/x-npy", "application/octet-stream"


@dataclass
class Endpoint:
    """Requests of one kind, and their measurements: responses per second, and p99 in milliseconds."""

    name: str
    url: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    p99s: list[float] = field(default_factory=list)

    def measure(self, seconds: float) -> None:
        """Add a measurement."""
        rate, p99 = run_wrk(self, seconds, CONNECTIONS)
        self.rates.append(rate)
        self.p99s.append(p99)

    @property
    def rate(self) -> float:
        """Median of the rates."""
        return statistics.median(self.rates)


def run_wrk(endpoint: Endpoint, seconds: float, connections: int) -> tuple[float, float]:
    """Return responses per second, and the 99th percentile in milliseconds."""
    with tempfile.TemporaryDirectory() as directory:
        body, script = Path(directory) / "body", Path(directory) / "post.lua"
        body.write_bytes(endpoint.body)
        lines = [f'local file = io.open("{body}", "rb")', 'wrk.body = file:read("*a")', "file:close()"]
        lines.append(f'wrk.method = "{"POST" if endpoint.body else "GET"}"')
        lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in endpoint.headers.items()]
        script.write_text("\n".join(lines))
        options = ["-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "--timeout", "60s", "-s", str(script)]
        result = subprocess.run(["wrk", *options, endpoint.url], check=True, capture_output=True, text=True)
    if "Non-2xx" in result.stdout:
        raise RuntimeError(f"{endpoint.name}: {result.stdout}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", result.stdout)[1])  # type: ignore[index]  # wrk always prints it
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", result.stdout).groups()  # type: ignore[union-attr]  # as above
    return rate, float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Pin this process, and those that it starts in the block, to a core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def run_server(command: list[str], url: str, directory: Path) -> Iterator[None]:
    """Run a server on its core for the block, which begins when it answers."""
    with pinned_to(SERVER_CORE):
        process = subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until_ready(url)
        yield
    finally:
        process.terminate()
        process.wait()


def wait_until_ready(url: str) -> None:
    """Poll until the server answers with 200, for a minute."""
    for _ in range(600):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"no response from {url}")


def free_port() -> int:
    """Return a port that is free at the moment."""
    with listen("127.0.0.1", 0) as socket:
        return int(socket.getsockname()[1])


def encode_npy(rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> bytes:
    """Return rows as a .npy file."""
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def start_service(stack: ExitStack, **settings: str) -> RunningService:
    """Start a service on the server's core, which ends with the stack."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    with pinned_to(SERVER_CORE):
        service = stack.enter_context(RunningService(directory / "data", None, **settings))
    service.wait_until_ready()
    return service


def nabla_endpoints(service: RunningService) -> list[Endpoint]:
    """Create the network; return the ways to send it one row."""
    network = scenarios.create_network(service, inputs=784, layers=LAYERS, cost="categorical_cross_entropy")["id"]
    predictions = f"{service.url}/v1/networks/{network}/predictions"
    model = f"{service.url}/v2/models/{network}/infer"
    tensor = {"name": "inputs", "shape": [1, 784], "datatype": "FP32"}
    v2_json = json.dumps({"inputs": [{**tensor, "data": ROW[0].tolist()}]}).encode()
    content = ROW.tobytes()
    v2_header = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(content)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    v2_headers = {"Content-Type": OCTET_STREAM, "Inference-Header-Content-Length": str(len(v2_header))}
    return [
        Endpoint("JSON", predictions, json.dumps({"inputs": ROW.tolist()}).encode(), {"Content-Type": JSON}),
        Endpoint(".npy", predictions, encode_npy(ROW), {"Content-Type": NPY, "Accept": NPY}),
        Endpoint("OIP JSON", model, v2_json, {"Content-Type": JSON}),
        Endpoint("OIP binary", model, v2_header + content, v2_headers),
    ]


def compare_rates(rounds: int, seconds: float, mlserver: str | None) -> Table:
    """Compare one row at a time with the minimal application and MLServer."""
    with ExitStack() as stack:
        endpoints = nabla_endpoints(start_service(stack))
        port = free_port()
        bare = Endpoint("bare FastAPI route", f"http://127.0.0.1:{port}/")
        app = "benchmarks.support.minimal_app:app"
        command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--no-access-log"]
        stack.enter_context(run_server(command, bare.url, Path.cwd()))
        endpoints.append(bare)
        if mlserver is not None:
            endpoints.append(stack.enter_context(mlserver_endpoint(mlserver, endpoints[2])))
        with pinned_to(LOAD_CORE):
            for endpoint in endpoints:
                run_wrk(endpoint, 1, CONNECTIONS)  # warms up
            for _ in range(rounds):
                for endpoint in endpoints:
                    endpoint.measure(seconds)
    table = Table("one row at a time", "responses/s", "p99 ms", "/ bare route", "/ MLServer")
    for endpoint in endpoints:
        references = [bare.rate, endpoints[-1].rate if mlserver else float("nan")]
        ratios = [f"{endpoint.rate / reference:.2f}" for reference in references]
        table.add_row(endpoint.name, median_and_spread(endpoint.rates), median_and_spread(endpoint.p99s), *ratios)
    return table


@contextmanager
def mlserver_endpoint(python: str, template: Endpoint) -> Iterator[Endpoint]:
    """Run MLServer for the block; it gets the same requests as the template."""
    port = free_port()
    with tempfile.TemporaryDirectory() as directory:
        script = Path(__file__).parent / "support" / "mlserver_model.py"
        subprocess.run([python, str(script), directory, str(port)], check=True, stderr=subprocess.DEVNULL)
        command = [str(Path(python).with_name("mlserver")), "start", directory]
        url = f"http://127.0.0.1:{port}/v2/models/digits"
        with run_server(command, f"{url}/ready", Path(directory)):
            yield Endpoint("MLServer, JSON", f"{url}/infer", template.body, template.headers)


def compare_while_training(rounds: int, seconds: float, slots: int) -> Table:
    """Compare an idle service with one that trains in every slot, on the server's core."""
    table = Table("p99 ms of one row", "idle", f"while {slots} of {slots} slots train", "ratio")
    with ExitStack() as stack:
        service = start_service(stack, cpu_slots=str(slots))
        idle, training = (nabla_endpoints(service)[:2] for _ in range(2))
        dataset = scenarios.create_2000_row_dataset(service)["id"]
        layers = [{"units": 256, "activation": "relu"}, {"units": 1, "activation": "sigmoid"}]
        for _ in range(rounds):
            measure_all(idle, seconds)
            networks = [scenarios.create_network(service, layers=layers)["id"] for _ in range(slots)]
            jobs = [
                scenarios.submit_endless_job(service, network_id=network, dataset_id=dataset, batch_size=64)["id"]
                for network in networks
            ]
            for job in jobs:
                service.wait_for_epoch(job, 1)
            measure_all(training, seconds)
            for job in jobs:
                service.post(f"/v1/jobs/{job}/cancel")
    for at_rest, loaded in zip(idle, training, strict=True):
        cells = (median_and_spread(at_rest.p99s), median_and_spread(loaded.p99s))
        table.add_row(at_rest.name, *cells, f"{median_ratio(loaded.p99s, at_rest.p99s):.2f}")
    return table


def measure_all(endpoints: list[Endpoint], seconds: float) -> None:
    """Add a measurement to each endpoint."""
    with pinned_to(LOAD_CORE):
        for endpoint in endpoints:
            endpoint.measure(seconds)


def compare_batches(rounds: int, seconds: float) -> Table:
    """Compare many rows as .npy over HTTP with the engine in process."""
    rows = np.random.default_rng(2).random((BATCH_ROWS, 784), np.float32)
    table = Table(f"{BATCH_ROWS} rows of float32", "rows/s over HTTP as .npy", "rows/s in process", "ratio")
    with ExitStack() as stack:
        single = nabla_endpoints(start_service(stack))[1]
        batch = Endpoint("batch", single.url, encode_npy(rows), single.headers)
        predict = engine_predictor(rows)
        over_http, in_process = [], []
        for round_ in range(rounds + 1):
            with pinned_to(LOAD_CORE):
                rate, _ = run_wrk(batch, seconds, 1)
            with pinned_to(SERVER_CORE):
                engine_rate = predict(seconds)
            if round_:  # the first warms up
                over_http.append(BATCH_ROWS * rate)
                in_process.append(engine_rate)
    ratio = f"{median_ratio(over_http, in_process):.2f}"
    table.add_row("", median_and_spread(over_http), median_and_spread(in_process), ratio)
    return table


def engine_predictor(rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Callable[[float], float]:
    """Return a function that predicts for some seconds and returns rows per second."""
    layers = (Layer(128, "relu"), Layer(10, "softmax"))
    network = Network(Architecture(784, layers, "categorical_cross_entropy"))

    def predict(seconds: float) -> float:
        count, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            network.predict(rows)
            count += len(rows)
        return count / (time.perf_counter() - started)

    return predict


def main() -> None:
    """Run all comparisons."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mlserver", metavar="PYTHON")
    options = parser.parse_args()
    console = Console(width=140)
    console.print(compare_rates(options.rounds, options.seconds, options.mlserver))
    for slots in (1, 2):
        console.print(compare_while_training(options.rounds, options.seconds, slots))
    console.print(compare_batches(options.rounds, options.seconds))


if __name__ == "__main__":
    main()
