"""Commands that use a service: results for people and as JSON, errors, interrupts, local services."""

import csv
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sklearn.datasets import load_digits, load_wine

from tests.support import scenarios
from tests.support.service import RunningService
from tests.support.terminal import Terminal, run_nabla, start_nabla

CTRL_C = "\x03"


def write_csv(path: Path, header: list[str], rows: Any) -> Path:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def write_two_classes(directory: Path) -> str:
    rows = [[number, "ab"[number % 2]] for number in range(12)]
    return str(write_csv(directory / "few.csv", ["x", "kind"], rows))


@pytest.fixture(scope="module")
def wine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write wine with its class as text, to a file whose name, and so that of the network, is unique."""
    data = load_wine()
    rows = [[*map(float, row), str(data.target_names[kind])] for row, kind in zip(data.data, data.target, strict=True)]
    header = [*(f"x{number}" for number in range(13)), "kind"]
    return write_csv(tmp_path_factory.mktemp("wine") / f"wine-{uuid4().hex}.csv", header, rows)


@pytest.fixture(scope="module")
def trained(service: RunningService, wine: Path) -> dict[str, Any]:
    """Train on wine, and return the JSON of the command."""
    done = run_nabla("train", str(wine), "--target", "kind", "--json", NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert "The target 'kind' has 3 different texts, which are learned as classes." in done.stderr
    return dict(json.loads(done.stdout))


@pytest.fixture
def endless_job(service: RunningService) -> Iterator[str]:
    """Start a job that does not finish during a test."""
    job = scenarios.submit_endless_job(service)["id"]
    scenarios.wait_until_running(service, job)
    yield job
    service.http.post(f"/v1/jobs/{job}/cancel")


def run_text(service: RunningService, *arguments: str) -> str:
    done = run_nabla(*arguments, NABLA_URL=service.url)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout


def run_json(service: RunningService, *arguments: str) -> Any:
    return json.loads(run_text(service, *arguments, "--json"))


def test_train_suggests_commands_that_work(service: RunningService, tmp_path: Path) -> None:
    digits = load_digits()
    rows = [[*map(int, row), int(digit)] for row, digit in zip(digits.data, digits.target, strict=True)]
    header = [*(f"pixel_{number}" for number in range(64)), "digit"]
    file = str(write_csv(tmp_path / "digits.csv", header, rows))
    summary = run_text(service, "train", file, "--label", "digit")
    accuracy = re.search(r"Accuracy on 359 test rows: (0\.\d+)\.", summary)
    assert accuracy, summary
    assert float(accuracy[1]) >= 0.97
    commands = [line.split()[1:] for line in summary.splitlines() if line.startswith("  nabla ")]
    assert [command[0] for command in commands] == ["predict", "evaluate", "history", "export"]
    predictions = list(csv.DictReader(run_text(service, *commands[0]).splitlines()))
    correct = sum(row["label"] == str(values[-1]) for row, values in zip(predictions, rows, strict=True))
    assert correct / len(rows) >= 0.97
    assert f"{accuracy[1]}." in run_text(service, *commands[1])
    assert "(cost" in run_text(service, *commands[2])


def test_trained_network_predicts_evaluates_and_is_exported(
    service: RunningService, wine: Path, trained: dict[str, Any], tmp_path: Path
) -> None:
    assert trained["job"] == service.get(f"/v1/jobs/{trained['job']['id']}")
    assert trained["network"] == service.get(f"/v1/networks/{wine.stem}")
    assert trained["job"]["state"] == "succeeded"
    assert trained["evaluation"]["accuracy"] >= 0.9
    datasets = service.get("/v1/datasets?limit=1000")
    names = {dataset["name"] for dataset in datasets["data"]}
    assert {wine.stem, f"{wine.stem}-test", f"{wine.stem}-train"} <= names
    predictions = run_json(service, "predict", wine.stem, str(wine))
    assert len(predictions) == 178
    assert set(predictions[0]) == {"output_1", "output_2", "output_3", "label"}
    out = tmp_path / "predictions.csv"
    view = run_json(service, "predict", wine.stem, str(wine), "--out", str(out), "--probabilities")
    assert (view["rows"], view["format"], view["probabilities"]) == (178, "csv", True)
    labels = [row["label"] for row in csv.DictReader(out.read_text().splitlines())]
    assert labels == [row["label"] for row in predictions]
    for dataset in (str(wine), service.get(f"/v1/datasets/{wine.stem}")["id"]):
        evaluation = run_json(service, "evaluate", wine.stem, dataset)
        # 20 % were split off for the test, and 10 % of the others held out for validation.
        assert (evaluation["selection"], evaluation["rows"], evaluation["trained_rows"]) == ("unseen", 50, 0)
        evaluation = run_json(service, "evaluate", wine.stem, dataset, "--all-rows")
        assert (evaluation["rows"], evaluation["trained_rows"]) == (178, 128)
    assert run_json(service, "evaluate", wine.stem) == trained["evaluation"]
    assert service.get("/v1/datasets?limit=1000") == datasets  # no temporary dataset remains
    model = tmp_path / "wine.onnx"
    assert run_json(service, "export", wine.stem, "-o", str(model))["version"]["version"] == 1
    imported = run_json(service, "networks", "create", "imported", "--file", str(model))
    assert imported == service.get("/v1/networks/imported")


def test_json_is_that_of_the_http_api(service: RunningService, trained: dict[str, Any]) -> None:
    network, dataset, job = trained["network"]["id"], trained["job"]["dataset_id"], trained["job"]["id"]
    paths = {
        ("jobs", "--limit", "2"): "/v1/jobs?limit=2",
        ("jobs", "show", job): f"/v1/jobs/{job}",
        ("networks", "list", "--limit", "1"): "/v1/networks?limit=1",
        ("networks", "show", network): f"/v1/networks/{network}",
        ("datasets", "--limit", "1"): "/v1/datasets?limit=1",
        ("datasets", "profile", dataset): f"/v1/datasets/{dataset}/profile",
        ("history", job): f"/v1/jobs/{job}/history",
        ("watch", job): f"/v1/jobs/{job}",
    }
    for arguments, path in paths.items():
        assert run_json(service, *arguments) == service.get(path), arguments
        text = run_text(service, *arguments)
        assert text
        assert not text.startswith("{")
    assert [device["id"] for device in run_json(service, "devices")["data"]] == ["cpu"]
    assert "cpu-0" in run_text(service, "devices")


def test_networks_are_created_from_layers_or_for_a_dataset(service: RunningService, trained: dict[str, Any]) -> None:
    options = ("--inputs", "2", "--layers", "8:tanh,1:sigmoid", "--cost", "binary_cross_entropy", "--seed", "7")
    created = run_json(service, "networks", "create", "by-hand", *options)
    assert [(layer["units"], layer["activation"]) for layer in created["layers"]] == [(8, "tanh"), (1, "sigmoid")]
    assert (created["name"], created["cost"], created["seed"]) == ("by-hand", "binary_cross_entropy", 7)
    fitting = run_json(service, "networks", "create", "--dataset", trained["job"]["dataset_id"], "--hidden", "16")
    assert (fitting["inputs"], [layer["units"] for layer in fitting["layers"]]) == (13, [16, 3])
    assert run_json(service, "networks", "delete", created["id"], "--yes") == created
    assert run_nabla("networks", "show", created["id"], NABLA_URL=service.url).returncode == 1


def test_numbers_are_learned_as_numbers(service: RunningService, tmp_path: Path) -> None:
    rows = [[x / 50, 1 - x / 50, 3.0 * x] for x in range(200)]
    file = str(write_csv(tmp_path / "line.csv", ["a", "b", "y"], rows))
    summary = run_text(service, "train", file, "--target", "y", "--seed", "3")
    r2 = re.search(r"R² on 40 test rows: (0\.\d+);", summary)
    assert r2, summary
    assert float(r2[1]) > 0.9
    coded = write_csv(tmp_path / "coded.csv", ["zip", "y"], [[["A5", 123][x % 2], x % 2] for x in range(40)])
    run_text(service, "train", str(coded), "--target", "y", "--epochs", "3")
    # Predicted rows get the column types of the training data, category for zip, even if all values are numbers.
    numeric = str(write_csv(tmp_path / "numeric.csv", ["zip", "more"], [[123, 1], [123, 2]]))
    assert len(run_json(service, "predict", "coded", numeric)) == 2
    options = ("--target", "y", "--features", "a", "--name", "one-input")
    uploaded = run_json(service, "datasets", "upload", file, *options)
    assert (uploaded["name"], uploaded["inputs"]) == ("one-input", 1)


def test_deletion_asks_and_names_every_resource_of_a_name(service: RunningService) -> None:
    first, second = (scenarios.create_network(service, name="namesake")["id"] for _ in range(2))
    only = scenarios.create_dataset(service, name="only one")["id"]
    for arguments, words in (
        (("networks", "delete", "namesake", "--yes"), f"2 resources have the name 'namesake': {second}, {first}"),
        (("networks", "delete", first), "Confirm with --yes"),
        (("datasets", "delete", "only one"), "Confirm with --yes"),
    ):
        done = run_nabla(*arguments, NABLA_URL=service.url)
        assert (done.returncode, done.stdout) == (1, "")
        assert words in done.stderr
    assert run_json(service, "networks", "delete", first, "--yes")["id"] == first
    assert run_json(service, "networks", "delete", "namesake", "--yes")["id"] == second
    assert run_json(service, "datasets", "delete", "only one", "-y")["id"] == only


def test_errors_have_message_and_exit_code(
    service: RunningService, wine: Path, trained: dict[str, Any], tmp_path: Path
) -> None:
    odd_name = "y\x1b]0;mine\x07"
    untrained, xor = scenarios.create_network(service)["id"], scenarios.submit_job(service, epochs=1)
    service.wait_for_job(xor["id"])
    before = service.get("/v1/datasets"), service.get("/v1/networks")

    def check_error(code: int, pattern: str, *arguments: str, url: str = service.url) -> None:
        done = run_nabla(*arguments, NABLA_URL=url)
        assert (done.returncode, done.stdout) == (code, ""), (arguments, done)
        assert re.search(pattern, done.stderr), done.stderr
        assert "Traceback" not in done.stderr

    check_error(3, r"service at http://127\.0\.0\.1:1\. .*nabla serve", "jobs", url="http://127.0.0.1:1")
    check_error(3, r"somewhere.*http://", "devices", url="somewhere")
    check_error(3, "connect to a service at http://localhost:abc", "devices", url="http://localhost:abc")
    check_error(2, "--target COLUMN", "train", str(wine))
    check_error(2, "--target COLUMN", "train", str(wine), "--target", "kind", "--label", "x0")
    check_error(2, "COLUMN=TYPE", "train", str(wine), "--target", "kind", "--types", "number")
    check_error(2, "does not exist", "train", "nothing.csv", "--target", "y")
    check_error(2, "Did you mean 'train'", "trian")
    check_error(2, "'many'.*positive integers", "train", str(wine), "--target", "kind", "--hidden", "many")
    check_error(2, "exactly one of --dataset, --layers and --file", "networks", "create")
    check_error(2, "'8-tanh'", "networks", "create", "--inputs", "2", "--layers", "8-tanh")
    check_error(2, "requires --inputs", "networks", "create", "--layers", "8:tanh")
    check_error(2, "requires --out", "predict", wine.stem, str(wine), "--format", "npy")
    check_error(1, "^nabla: --target: .*column.*none", "train", str(wine), "--target", "none")
    check_error(1, "^nabla: --learning-rate: ", "train", str(wine), "--label", "kind", "--learning-rate", "-1")
    check_error(1, "^nabla: .*job.*nobody", "watch", "nobody")
    check_error(1, "column.*'x0'", "predict", wine.stem, str(write_csv(tmp_path / "other.csv", ["a"], [[1], [2]])))
    for network in (untrained, xor["network_id"]):
        check_error(1, "--target or --label", "evaluate", network, str(wine))
    holes = write_csv(tmp_path / "holes.csv", ["a", "b"], [[1, "no"], ["", "yes"], [3, "no"], [4, "yes"]])
    check_error(1, "^nabla: .*column 'a'.*row 2", "train", str(holes), "--label", "b", "--strict")
    odd = write_csv(tmp_path / "odd.csv", ["x", "y\x1b]0;mine\x07"], [[1, "word"], *([x, x / 7] for x in range(20))])
    check_error(1, "^nabla: .*holds numbers.*'word' in row 1", "train", str(odd), "--target", odd_name, "--strict")
    assert "\x1b" not in run_nabla("train", str(odd), "--target", "none", NABLA_URL=service.url).stderr
    assert (service.get("/v1/datasets"), service.get("/v1/networks")) == before


@pytest.mark.parametrize(
    ("command", "path", "accepted"),
    [("export", "network.pt", ".safetensors, .npz, .onnx"), ("predict", "predictions.json", ".csv, .parquet, .arrow")],
)
def test_suffix_without_a_format_is_rejected(
    service: RunningService, trained: dict[str, Any], wine: Path, tmp_path: Path, command: str, path: str, accepted: str
) -> None:
    arguments = [trained["network"]["id"], *([str(wine)] if command == "predict" else [])]
    out = tmp_path / path
    done = run_nabla(command, *arguments, "--out", str(out), NABLA_URL=service.url)
    assert done.returncode == 2
    message = " ".join(done.stderr.replace("│", " ").split())
    assert f"No format has the suffix {out.suffix}; accepted: {accepted}" in message
    assert not out.exists()


def test_watching_fails_with_the_job(service: RunningService, endless_job: str) -> None:
    assert "paused" in run_text(service, "jobs", "pause", endless_job)
    assert run_json(service, "jobs", "resume", endless_job)["state"] in ("queued", "running")
    with start_nabla("watch", endless_job, NABLA_URL=service.url) as process:
        assert process.stderr is not None
        while "epoch 1 " not in process.stderr.readline():
            assert process.poll() is None
        assert "cancelled" in run_text(service, "jobs", "cancel", endless_job)
        assert process.wait() == 1
        assert f"The job {endless_job} was cancelled." in process.stderr.read()


def test_interrupted_script_leaves_job_running(service: RunningService, endless_job: str) -> None:
    with start_nabla("watch", endless_job, "--json", NABLA_URL=service.url) as process:
        assert process.stderr is not None
        assert process.stdout is not None
        while "epoch 1 " not in process.stderr.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        stderr = process.stderr.read()
        assert f"{endless_job} continues to run. Follow it with: nabla watch {endless_job}" in stderr
        assert process.stdout.read() == ""
    assert service.get(f"/v1/jobs/{endless_job}")["state"] == "running"


def test_interrupt_at_terminal_asks_whether_to_cancel(service: RunningService, endless_job: str) -> None:
    """The live display has a progress bar, a sparkline, and figures."""
    for keys, state in (("L\n", "running"), (CTRL_C, "running"), ("c\n", "cancelled")):
        with Terminal("watch", endless_job, NABLA_URL=service.url) as terminal:
            terminal.wait_for(r"running .*━.* epochs +cost \S+ +[\d,]+ rows/s +ETA \d+:\d\d:\d\d")
            terminal.wait_for("[▁▂▃▄▅▆▇█]{5}")
            terminal.send_keys(CTRL_C)
            terminal.wait_for(r"Cancel the job, or leave it running\? \[c/L\]")
            terminal.send_keys(keys)
            terminal.wait_for("continues to run" if state == "running" else "is cancelled")
            assert terminal.wait_for_exit() == 130
        assert service.get(f"/v1/jobs/{endless_job}")["state"] == state


def test_interrupted_job_continues_with_next_local_service(tmp_path: Path) -> None:
    """Ctrl-C interrupts the command, and not its service."""
    file = write_two_classes(tmp_path)
    data_dir = {"NABLA_DATA_DIR": str(tmp_path / "data")}
    options = ("--label", "kind", "--epochs", "1000000000", "--local")
    with Terminal("train", file, *options, **data_dir) as terminal:
        terminal.wait_for("running .*rows/s")
        terminal.send_keys(CTRL_C)
        terminal.wait_for("leave it running")
        terminal.send_keys("\n")
        job = terminal.wait_for(r"nabla watch (job_\w+) --local")[1]
        assert terminal.wait_for_exit() == 130
    with start_nabla("watch", job, "--local", **data_dir) as process:
        assert process.stderr is not None
        states: list[str] = []
        while states.count("running") < 2:  # once with the service before, and once with this one
            states += re.findall(rf"{job} is (\w+)", process.stderr.readline())
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
        assert "continues when a service runs on this data directory again" in process.stderr.read()
    cancelled = json.loads(run_nabla("jobs", "cancel", job, "--local", "--json", **data_dir).stdout)
    assert (cancelled["id"], cancelled["state"]) == (job, "cancelled")
    assert cancelled["attempts"] >= 2


def test_local_service_ends_with_killed_command(tmp_path: Path) -> None:
    command = ["train", write_two_classes(tmp_path), "--label", "kind", "--epochs", "1000000000", "--local"]
    with start_nabla(*command, NABLA_DATA_DIR=str(tmp_path / "data")) as process:
        assert process.stderr is not None
        while "epoch 1 " not in process.stderr.readline():
            assert process.poll() is None
        process.kill()
        process.stderr.read()  # the service has it open too: this returns when both have ended


def test_completion_knows_commands_and_options() -> None:
    for words, expected in {"nabla tr": "train", "nabla networks sh": "show", "nabla watch --lo": "--local"}.items():
        position = str(len(words.split()) - 1)
        done = run_nabla(_NABLA_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=position)
        assert expected in done.stdout.split(), done
