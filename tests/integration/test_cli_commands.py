"""What the commands of `nabla` do with a service: for people, and for scripts."""

import csv
import json
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sklearn.datasets import load_digits, load_wine

from tests.support import scenarios
from tests.support.service import RunningService
from tests.support.terminal import ENVIRONMENT, NABLA, Terminal, nabla

CTRL_C = "\x03"


def write(path: Path, names: list[str], rows: Any) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([names, *rows])
    return path


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its kind as text, and its name of the test's own, as that of what comes of it."""
    data = load_wine()
    rows = [[*map(float, row), str(data.target_names[kind])] for row, kind in zip(data.data, data.target, strict=True)]
    names = [f"x{place}" for place in range(13)]
    return write(tmp_path_factory.mktemp("wine") / f"wine-{uuid4().hex}.csv", [*names, "kind"], rows)


@pytest.fixture(scope="module")
def trained(service: RunningService, wine: Path) -> dict[str, Any]:
    """What `train` says of wine, as JSON."""
    done = nabla("train", str(wine), "--target", "kind", "--json", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert "3 values are learned as classes" in done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def endless(service: RunningService) -> Iterator[str]:
    """A running job that would go on for ever."""
    job = scenarios.endless(service)["id"]
    scenarios.started(service, job)
    yield job
    service.http.post(f"/v1/jobs/{job}/cancel")


def said(service: RunningService, *arguments: str) -> str:
    done = nabla(*arguments, NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout


def read(service: RunningService, *arguments: str) -> Any:
    return json.loads(said(service, *arguments, "--json"))


def started(*arguments: str, **variables: str) -> subprocess.Popen[str]:
    """A command of a script that goes on beside the test."""
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([NABLA, *arguments], env={**ENVIRONMENT, **variables}, text=True, **streams)


def test_digits_in_three_lines(service: RunningService, tmp_path: Path) -> None:
    digits = load_digits()
    rows = [[*map(int, row), int(digit)] for row, digit in zip(digits.data, digits.target, strict=True)]
    file = str(write(tmp_path / "digits.csv", [*(f"pixel_{place}" for place in range(64)), "digit"], rows))
    summary = said(service, "train", file, "--label", "digit")
    accuracy = re.search(r"Accuracy on 359 held-out rows: (0\.\d+)\.", summary)
    assert accuracy, summary
    assert float(accuracy[1]) >= 0.97
    lines = [line.split()[1:] for line in summary.splitlines() if line.startswith("  nabla ")]
    assert [line[0] for line in lines] == ["predict", "evaluate", "history", "export"]
    found = list(csv.DictReader(said(service, *lines[0]).splitlines()))
    assert sum(one["label"] == str(row[-1]) for one, row in zip(found, rows, strict=True)) / len(rows) >= 0.97
    assert f"{accuracy[1]}." in said(service, *lines[1])
    assert "(cost)" in said(service, *lines[2])


def test_what_trained_tells(service: RunningService, wine: Path, trained: dict[str, Any], tmp_path: Path) -> None:
    assert trained["job"] == service.get(f"/v1/jobs/{trained['job']['id']}")
    assert trained["network"] == service.get(f"/v1/networks/{wine.stem}")
    assert trained["job"]["state"] == "succeeded"
    assert trained["evaluation"]["accuracy"] >= 0.9
    there = service.get("/v1/datasets?limit=1000")
    names = [one["name"] for one in there["data"]]
    assert {wine.stem, f"{wine.stem}-test", f"{wine.stem}-train"} <= set(names)
    predicted = read(service, "predict", wine.stem, str(wine))
    assert len(predicted) == 178
    assert set(predicted[0]) == {"output_1", "output_2", "output_3", "label"}
    out = tmp_path / "predicted.csv"
    view = read(service, "predict", wine.stem, str(wine), "--out", str(out), "--probabilities")
    assert (view["rows"], view["format"], view["probabilities"]) == (178, "csv", True)
    assert [row["label"] for row in csv.DictReader(out.read_text().splitlines())] == [row["label"] for row in predicted]
    for dataset in (str(wine), service.get(f"/v1/datasets/{wine.stem}")["id"]):
        assert read(service, "evaluate", wine.stem, dataset)["rows"] == 178
    assert service.get("/v1/datasets?limit=1000") == there  # what was only predicted or measured is gone
    model = tmp_path / "wine.onnx"
    assert read(service, "export", wine.stem, "-o", str(model))["version"]["version"] == 1
    made = read(service, "network", "create", "taken-in", "--file", str(model))
    assert made == service.get("/v1/networks/taken-in")


def test_json_is_that_of_the_service(service: RunningService, wine: Path, trained: dict[str, Any]) -> None:
    network, dataset, job = trained["network"]["id"], trained["job"]["dataset_id"], trained["job"]["id"]
    asked = {
        ("jobs", "--limit", "2"): "/v1/jobs?limit=2",
        ("jobs", "show", job): f"/v1/jobs/{job}",
        ("network", "list", "--limit", "1"): "/v1/networks?limit=1",
        ("network", "show", network): f"/v1/networks/{network}",
        ("dataset", "--limit", "1"): "/v1/datasets?limit=1",
        ("dataset", "profile", dataset): f"/v1/datasets/{dataset}/profile",
        ("history", job): f"/v1/jobs/{job}/history",
        ("watch", job): f"/v1/jobs/{job}",
    }
    for arguments, path in asked.items():
        assert read(service, *arguments) == service.get(path), arguments
        people = said(service, *arguments)
        assert people
        assert not people.startswith("{")
    assert [device["id"] for device in read(service, "devices")["data"]] == ["cpu"]
    assert "cpu-0" in said(service, "devices")


def test_a_network_of_given_layers_or_for_a_dataset(service: RunningService, trained: dict[str, Any]) -> None:
    layers = ("--inputs", "2", "--layers", "8:tanh,1:sigmoid", "--cost", "binary_cross_entropy", "--seed", "7")
    made = read(service, "network", "create", "by-hand", *layers)
    assert [(layer["units"], layer["activation"]) for layer in made["layers"]] == [(8, "tanh"), (1, "sigmoid")]
    assert (made["name"], made["cost"], made["seed"]) == ("by-hand", "binary_cross_entropy", 7)
    suits = read(service, "network", "create", "--for", trained["job"]["dataset_id"], "--hidden", "16")
    assert (suits["inputs"], [layer["units"] for layer in suits["layers"]]) == (13, [16, 3])
    assert read(service, "network", "delete", made["id"]) == made
    assert nabla("network", "show", made["id"], NABLA_URL=service.url).returncode == 1


def test_numbers_are_learned_as_numbers(service: RunningService, tmp_path: Path) -> None:
    rows = [[x / 50, 1 - x / 50, 3.0 * x] for x in range(200)]
    file = str(write(tmp_path / "line.csv", ["a", "b", "y"], rows))
    summary = said(service, "train", file, "--target", "y", "--seed", "3")
    found = re.search(r"R² on 40 held-out rows: (0\.\d+);", summary)
    assert found, summary
    assert float(found[1]) > 0.9
    coded = write(tmp_path / "coded.csv", ["zip", "y"], [[["A5", 123][x % 2], x % 2] for x in range(40)])
    said(service, "train", str(coded), "--target", "y", "--epochs", "3")
    other = str(write(tmp_path / "other.csv", ["zip", "more"], [[123, 1], [123, 2]]))
    assert len(read(service, "predict", "coded", other)) == 2  # a category, as it was there, whatever it looks like
    uploaded = read(service, "dataset", "upload", file, "--target", "y", "--features", "a", "--name", "one-input")
    assert (uploaded["name"], uploaded["inputs"]) == ("one-input", 1)


def test_what_goes_wrong_has_a_sentence_and_a_code(
    service: RunningService, wine: Path, trained: dict[str, Any], tmp_path: Path
) -> None:
    untrained, xor = scenarios.network(service)["id"], scenarios.job(service, epochs=1)
    service.finished(xor["id"])
    before = service.get("/v1/datasets"), service.get("/v1/networks")

    def refused(code: int, sentence: str, *arguments: str, url: str = service.url) -> None:
        done = nabla(*arguments, NABLA_URL=url)
        assert (done.returncode, done.stdout) == (code, ""), (arguments, done)
        assert re.search(sentence, done.stderr), done.stderr
        assert "Traceback" not in done.stderr

    refused(3, "no service at http://127.0.0.1:1. .*nabla serve", "jobs", url="http://127.0.0.1:1")
    refused(3, "begins with http://", "devices", url="somewhere")
    refused(3, "no way to a service at http://localhost:abc", "devices", url="http://localhost:abc")
    refused(2, "--target COLUMN", "train", str(wine))
    refused(2, "does not exist", "train", "nothing.csv", "--target", "y")
    refused(2, "Did you mean 'train'", "trian")
    refused(2, "whole numbers", "train", str(wine), "--target", "kind", "--hidden", "many")
    refused(1, "^nabla: --target: There is no column called", "train", str(wine), "--target", "none")
    refused(1, "^nabla: --learning-rate: ", "train", str(wine), "--label", "kind", "--learning-rate", "-1")
    refused(1, "^nabla: There is no job", "watch", "nobody")
    refused(1, "no column called 'x0'", "predict", wine.stem, str(write(tmp_path / "other.csv", ["a"], [[1], [2]])))
    for network in (untrained, xor["network_id"]):
        refused(1, "say with --target or --label", "evaluate", network, str(wine))
    holes = write(tmp_path / "holes.csv", ["a", "b"], [[1, "no"], ["", "yes"], [3, "no"], [4, "yes"]])
    refused(1, "^nabla: The column 'a' has no value in row 2", "train", str(holes), "--label", "b")
    odd = write(tmp_path / "odd.csv", ["x", "y\x1b]0;mine\x07"], [[1, "?"], [2, "7"], [3, "8"]])
    refused(1, "^nabla: ", "train", str(odd), "--target", "y\x1b]0;mine\x07")
    assert "\x1b" not in nabla("train", str(odd), "--target", "none", NABLA_URL=service.url).stderr
    assert (service.get("/v1/datasets"), service.get("/v1/networks")) == before


def test_a_job_that_does_not_succeed_fails_the_command(service: RunningService, endless: str) -> None:
    assert "paused" in said(service, "jobs", "pause", endless)
    assert read(service, "jobs", "resume", endless)["state"] in ("queued", "running")
    with started("watch", endless, NABLA_URL=service.url) as process:
        assert process.stderr is not None
        while "epoch 1 " not in process.stderr.readline():
            assert process.poll() is None
        assert "cancelled" in said(service, "jobs", "cancel", endless)
        assert process.wait() == 1
        assert f"The job {endless} is cancelled." in process.stderr.read()


def test_interrupted_where_nobody_can_be_asked(service: RunningService, endless: str) -> None:
    with started("watch", endless, "--json", NABLA_URL=service.url) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        while "epoch 1 " not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert f"{endless} goes on. See it with: nabla watch {endless}" in process.stderr.read()
        assert process.stdout.read() == ""
    assert service.get(f"/v1/jobs/{endless}")["state"] == "running"


def test_interrupted_at_a_terminal(service: RunningService, endless: str) -> None:
    """What is to be seen is drawn again and again, with a bar, a curve, and figures."""
    for answer, state in (("L\n", "running"), (CTRL_C, "running"), ("c\n", "cancelled")):
        with Terminal("watch", endless, NABLA_URL=service.url) as terminal:
            terminal.until(r"running .*━.* epochs +cost \S+ +[\d,]+ rows/s +ETA \d+:\d\d:\d\d")
            terminal.until("[▁▂▃▄▅▆▇█]{5}")
            terminal.press(CTRL_C)
            terminal.until(r"Cancel the job, or leave it running\? \[c/L\]")
            terminal.press(answer)
            terminal.until("goes on" if state == "running" else "is cancelled")
            assert terminal.ended() == 130
        assert service.get(f"/v1/jobs/{endless}")["state"] == state


def test_a_service_for_the_call(tmp_path: Path) -> None:
    """A job that is left running goes on with the next one; Ctrl-C is for the command, and not for the service."""
    file = str(write(tmp_path / "few.csv", ["x", "kind"], [[place, "ab"[place % 2]] for place in range(12)]))
    own = {"NABLA_DATA_DIR": str(tmp_path / "data")}
    with Terminal("train", file, "--label", "kind", "--epochs", "1000000000", "--local", **own) as terminal:
        terminal.until("running .*rows/s")
        terminal.press(CTRL_C)
        terminal.until("leave it running")
        terminal.press("\n")
        job = terminal.until(r"nabla watch (job_\w+) --local")[1]
        assert terminal.ended() == 130
    with started("watch", job, "--local", **own) as process:
        assert process.stderr is not None
        states: list[str] = []
        while states.count("running") < 2:  # as before, and now
            states += re.findall(rf"{job} is (\w+)", process.stderr.readline())
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "goes on when there is a service on this folder again" in process.stderr.read()
    left = json.loads(nabla("jobs", "cancel", job, "--local", "--json", **own).stdout)
    assert (left["id"], left["state"]) == (job, "cancelled")
    assert left["attempts"] >= 2


def test_a_killed_command_takes_its_service_along(tmp_path: Path) -> None:
    file = str(write(tmp_path / "few.csv", ["x", "kind"], [[place, "ab"[place % 2]] for place in range(12)]))
    command = ["train", file, "--label", "kind", "--epochs", "1000000000", "--local"]
    with started(*command, NABLA_DATA_DIR=str(tmp_path / "data")) as process:
        assert process.stderr is not None
        while "epoch 1 " not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
        process.stderr.read()  # the service writes there as well: this ends with the last of both


def test_completion() -> None:
    for words, expected in {"nabla tr": "train", "nabla network sh": "show", "nabla watch --lo": "--local"}.items():
        place = str(len(words.split()) - 1)
        done = nabla(_NABLA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=place)
        assert expected in done.stdout.split(), done
