"""How many predictions a second, beside a FastAPI route that does nothing and beside MLServer.

    python -m benchmarks.predictions [--rounds 5] [--seconds 3] [--mlserver PYTHON]

One row of 784 float32 numbers, a network of 784-128-10; the server on one core, wrk with 16 connections on another. All
take turns; medians, and half the distance between quartiles. Then: the same while every slot trains on the server's
core, where there is one slot, as by default, and where there are two, one more than cores; and 10,000 rows as .npy
beside the engine called in process.

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

from nabla.app.server import listen
from nabla.engine.nn.architecture import Architecture, Layer
from nabla.engine.nn.network import Network
from tests.support import scenarios
from tests.support.service import RunningService

SERVER, LOAD = 0, 1
ROW = np.random.default_rng(1).random((1, 784), np.float32)
MANY = 10_000
LAYERS = [{"units": 128, "activation": "relu"}, {"units": 10, "activation": "softmax"}]
JSON, NPY, OCTETS = "application/json", "application/x-npy", "application/octet-stream"


@dataclass
class Contestant:
    """Requests of one kind, and what was measured: answers a second, and milliseconds that 99 of 100 take."""

    name: str
    url: str
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    rates: list[float] = field(default_factory=list)
    tails: list[float] = field(default_factory=list)

    def run(self, seconds: float, connections: int = 16) -> None:
        found = load(self, seconds, connections)
        self.rates.append(found[0])
        self.tails.append(found[1])

    @property
    def rate(self) -> float:
        return statistics.median(self.rates)


def load(contestant: Contestant, seconds: float, connections: int) -> tuple[float, float]:
    """wrk's answers a second, and the 99th percentile of its milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        body, script = Path(folder) / "body", Path(folder) / "post.lua"
        body.write_bytes(contestant.body)
        lines = [f'local file = io.open("{body}", "rb")', 'wrk.body = file:read("*a")', "file:close()"]
        lines.append(f'wrk.method = "{"POST" if contestant.body else "GET"}"')
        lines += [f'wrk.headers["{name}"] = "{value}"' for name, value in contestant.headers.items()]
        script.write_text("\n".join(lines))
        command = [
            "wrk",
            "-t1",
            f"-c{connections}",
            f"-d{seconds:g}s",
            "--latency",
            "--timeout",
            "60s",
            "-s",
            str(script),
        ]
        done = subprocess.run([*command, contestant.url], check=True, capture_output=True, text=True)
    if "Non-2xx" in done.stdout:
        raise RuntimeError(f"{contestant.name}: {done.stdout}")
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])  # type: ignore[index]  # wrk always says so
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()  # type: ignore[union-attr]  # as above
    return rate, float(number) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[unit]


@contextmanager
def on_core(core: int) -> Iterator[None]:
    """What is started meanwhile stays there."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def served(command: list[str], url: str, folder: Path) -> Iterator[None]:
    """A server on its core, until it answers and then until the block ends."""
    with on_core(SERVER):
        process = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        answers(url)
        yield
    finally:
        process.terminate()
        process.wait()


def answers(url: str) -> None:
    for _ in range(600):
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"there is no answer at {url}")


def free_port() -> int:
    with listen("127.0.0.1", 0) as socket:
        return int(socket.getsockname()[1])


def npy(rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> bytes:
    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def of_ours(service: RunningService) -> list[Contestant]:
    network = scenarios.network(service, inputs=784, layers=LAYERS, cost="categorical_cross_entropy")["id"]
    ours, model = f"{service.url}/v1/networks/{network}/predictions", f"{service.url}/v2/models/{network}/infer"
    tensor = {"name": "inputs", "shape": [1, 784], "datatype": "FP32"}
    in_json = json.dumps({"inputs": [{**tensor, "data": ROW[0].tolist()}]}).encode()
    content = ROW.tobytes()
    head = json.dumps(
        {
            "inputs": [{**tensor, "parameters": {"binary_data_size": len(content)}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    return [
        Contestant("JSON", ours, json.dumps({"inputs": ROW.tolist()}).encode(), {"Content-Type": JSON}),
        Contestant(".npy", ours, npy(ROW), {"Content-Type": NPY, "Accept": NPY}),
        Contestant("OIP JSON", model, in_json, {"Content-Type": JSON}),
        Contestant(
            "OIP binary",
            model,
            head + content,
            {"Content-Type": OCTETS, "Inference-Header-Content-Length": str(len(head))},
        ),
    ]


def rates(rounds: int, seconds: float, mlserver: str | None) -> Table:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        with on_core(SERVER):
            service = stack.enter_context(RunningService(folder / "data"))
        service.ready()
        contestants = of_ours(service)
        port = free_port()
        bare = Contestant("bare FastAPI route", f"http://127.0.0.1:{port}/")
        command = [sys.executable, "-m", "uvicorn", "benchmarks.bare:app", "--port", str(port), "--no-access-log"]
        stack.enter_context(served(command, bare.url, Path.cwd()))
        contestants.append(bare)
        if mlserver is not None:
            contestants.append(stack.enter_context(of_mlserver(mlserver, folder / "mlserver", contestants[2])))
        with on_core(LOAD):
            for contestant in contestants:
                contestant.run(1)  # warm
                contestant.rates.clear()
                contestant.tails.clear()
            for _ in range(rounds):
                for contestant in contestants:
                    contestant.run(seconds)
    table = Table("one row at a time", "answers/s", "p99 ms", "/ bare route", "/ MLServer")
    for contestant in contestants:
        others = [bare.rate, contestants[-1].rate if mlserver else float("nan")]
        ratios = [f"{contestant.rate / other:.2f}" for other in others]
        table.add_row(contestant.name, shown(contestant.rates), shown(contestant.tails), *ratios)
    return table


@contextmanager
def of_mlserver(python: str, folder: Path, like: Contestant) -> Iterator[Contestant]:
    port = free_port()
    script = Path(__file__).with_name("mlserver_model.py")
    subprocess.run([python, str(script), str(folder), str(port)], check=True, stderr=subprocess.DEVNULL)
    command = [str(Path(python).with_name("mlserver")), "start", str(folder)]
    url = f"http://127.0.0.1:{port}/v2/models/digits"
    with served(command, f"{url}/ready", folder):
        yield Contestant("MLServer, JSON", f"{url}/infer", like.body, like.headers)


def shown(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.4g}"
    first, _, third = statistics.quantiles(values, n=4)
    return f"{statistics.median(values):.4g} ± {(third - first) / 2:.2g}"


def while_training(rounds: int, seconds: float, slots: int) -> Table:
    """A job in each slot, on the core of the server, as all that it starts."""
    table = Table("p99 ms of one row", "idle", f"while {slots} of {slots} slots train", "ratio")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with on_core(SERVER):
            service = stack.enter_context(RunningService(Path(folder) / "data", cpu_slots=str(slots)))
        service.ready()
        contestants = of_ours(service)[:2]
        found: dict[str, tuple[list[float], list[float]]] = {each.name: ([], []) for each in contestants}
        data = scenarios.many_rows(service)["id"]
        layers = [{"units": 256, "activation": "relu"}, {"units": 1, "activation": "sigmoid"}]
        for _ in range(rounds):
            measure(contestants, found, 0, seconds)
            networks = [scenarios.network(service, layers=layers)["id"] for _ in range(slots)]
            jobs = [
                scenarios.endless(service, network_id=each, dataset_id=data, batch_size=64)["id"] for each in networks
            ]
            for job in jobs:
                service.trained(job, 1)
            measure(contestants, found, 1, seconds)
            for job in jobs:
                service.post(f"/v1/jobs/{job}/cancel")
    for name, (idle, training) in found.items():
        ratio = statistics.median(training) / statistics.median(idle)
        table.add_row(name, shown(idle), shown(training), f"{ratio:.2f}")
    return table


def measure(
    contestants: list[Contestant], found: dict[str, tuple[list[float], list[float]]], place: int, seconds: float
) -> None:
    with on_core(LOAD):
        for contestant in contestants:
            found[contestant.name][place].append(load(contestant, seconds, 16)[1])


def many_rows(rounds: int, seconds: float) -> Table:
    rows = np.random.default_rng(2).random((MANY, 784), np.float32)
    table = Table(f"{MANY} rows of float32", "rows/s over HTTP as .npy", "rows/s in process", "ratio")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        with on_core(SERVER):
            service = stack.enter_context(RunningService(Path(folder) / "data"))
        service.ready()
        one = of_ours(service)[1]
        contestant = Contestant("many", one.url, npy(rows), one.headers)
        inside = in_process(rows)
        over_http, directly = [], []
        for round_ in range(rounds + 1):
            with on_core(LOAD):
                rate, _ = load(contestant, seconds, 1)
            with on_core(SERVER):
                other = inside(seconds)
            if round_:  # the first warms
                over_http.append(MANY * rate)
                directly.append(other)
    ratio = statistics.median(over_http) / statistics.median(directly)
    table.add_row("", shown(over_http), shown(directly), f"{ratio:.2f}")
    return table


def in_process(rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Callable[[float], float]:
    """Rows a second of the engine alone."""
    layers = (Layer(128, "relu"), Layer(10, "softmax"))
    network = Network(Architecture(784, layers, "categorical_cross_entropy"))

    def run(seconds: float) -> float:
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            network.predict(rows)
            count += len(rows)
        return count / (time.perf_counter() - began)

    return run


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--mlserver", metavar="PYTHON")
    asked = parser.parse_args()
    console = Console(width=140)
    console.print(rates(asked.rounds, asked.seconds, asked.mlserver))
    for slots in (1, 2):
        console.print(while_training(asked.rounds, asked.seconds, slots))
    console.print(many_rows(asked.rounds, asked.seconds))


if __name__ == "__main__":
    main()
