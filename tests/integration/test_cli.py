"""`nabla demo`, `nabla serve`, the help, and what is drawn in terminals."""

import json
import re
import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from pathlib import Path

import httpx

from nabla.app.cli.progress import cost_chart, sparkline
from nabla.app.schemas.jobs import EpochView
from tests.support.service import RunningService
from tests.support.terminal import run_nabla, start_nabla


def test_demo_recognizes_digits_and_leaves_no_process(tmp_path: Path) -> None:
    marker = f"TMPDIR={tmp_path}"
    done = run_nabla("demo", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    accuracy = re.search(r"Test accuracy: (0\.\d+)", done.stdout)
    assert accuracy, done.stdout
    assert float(accuracy[1]) >= 0.97
    assert "epoch 55 of 60: cost" in done.stderr
    assert "(cost" in done.stdout
    assert re.search(r"predicted +\d", done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert _processes_with_variable(marker) == []


def _processes_with_variable(variable: str) -> list[str]:
    """Return the ids of the processes that have a variable in their environment."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if variable in environment:
            processes.append(process.name)
    return processes


def _serve(data_dir: Path) -> AbstractContextManager[subprocess.Popen[str]]:
    return start_nabla("serve", "--port", "0", "--data-dir", str(data_dir))


def test_serve_prints_address_and_exits_with_zero(tmp_path: Path) -> None:
    with _serve(tmp_path / "d") as process:
        assert process.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url
        assert httpx.get(f"{url[0]}/health/live", timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_serve_names_invalid_setting(tmp_path: Path) -> None:
    done = run_nabla("serve", NABLA_CPU_SLOTS="none", NABLA_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nabla: NABLA_CPU_SLOTS: ")
    assert len(done.stderr.splitlines()) == 1


def test_serve_reports_address_in_use(tmp_path: Path) -> None:
    with _serve(tmp_path / "a") as first:
        assert first.stdout is not None
        port = re.search(r":(\d+) ", first.stdout.readline())
        assert port
        done = run_nabla("serve", "--port", port[1], "--data-dir", str(tmp_path / "b"))
        assert done.returncode == 1
        assert "cannot listen on 127.0.0.1" in done.stderr
        first.terminate()


def test_only_the_service_needs_linux(service: RunningService, tmp_path: Path) -> None:
    missing = "sched_getaffinity", "fdatasync", "posix_fadvise", "O_TMPFILE"
    (tmp_path / "sitecustomize.py").write_text(
        "import os, sys, sysconfig\n"
        "sysconfig.get_config_vars()  # cached: its file is named after the platform\n"
        "sys.platform = 'freebsd14'\n"
        f"for name in {missing}: delattr(os, name)\n"
    )
    served = run_nabla("serve", "--data-dir", str(tmp_path / "data"), PYTHONPATH=str(tmp_path))
    assert (served.returncode, served.stdout) == (1, "")
    assert served.stderr.startswith("nabla: the service needs Linux")
    assert not (tmp_path / "data").exists()
    listed = run_nabla("devices", "--url", service.url, "--json", PYTHONPATH=str(tmp_path))
    assert (listed.returncode, listed.stderr) == (0, "")
    assert json.loads(listed.stdout)["data"][0]["id"] == "cpu"


def test_help_lists_commands_and_exit_codes() -> None:
    done = run_nabla("--help")
    assert done.returncode == 0
    for name in (
        "serve",
        "demo",
        "train",
        "watch",
        "jobs",
        "history",
        "predict",
        "evaluate",
        "export",
        "networks",
        "datasets",
        "devices",
    ):
        assert f" {name} " in done.stdout
    assert "Exit codes" in done.stdout


def test_serve_imports_nothing_of_other_commands() -> None:
    heavy = ("httpx", "rich", "nabla.app.client")
    code = (
        "import sys, nabla.app.cli.main, nabla.app.cli.serve, nabla.app.server;"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_sparkline_is_at_most_as_wide_as_asked() -> None:
    assert sparkline([4, 3, 2, 1], 4) == "█▅▃▁"
    assert sparkline([float("nan")], 4) == ""
    assert len(sparkline(range(1, 1001), 30)) == 30


def _epochs(costs: list[tuple[float, float | None]]) -> list[EpochView]:
    metrics = dict.fromkeys(EpochView.model_fields)
    return [
        EpochView.model_validate(
            {**metrics, "epoch": number, "cost": cost, "validation_cost": validation_cost, "seconds": 0.0}
        )
        for number, (cost, validation_cost) in enumerate(costs, 1)
    ]


def test_cost_chart_has_axes_with_their_ends() -> None:
    lines = cost_chart(_epochs([(4.0, None), (3.0, None), (2.0, None), (1.0, None)])).plain.splitlines()
    assert lines[0] == "(cost)"
    assert lines[1] == "4 │" + 15 * "█" + 45 * " "
    assert lines[12] == "1 │" + 45 * "█" + 15 * "▁"
    assert lines[14].split() == ["1", "4", "(epoch)"]
    assert len(lines) == 15
    assert cost_chart(_epochs([(1.0, None)])).plain.splitlines()[14].split() == ["1", "(epoch)"]


def test_cost_chart_marks_validation_costs_and_large_spans() -> None:
    lines = cost_chart(_epochs([(100.0, 1.0), (10.0, 100.0), (1.0, None)])).plain.splitlines()
    assert lines[0] == "(cost, logarithmic)"
    assert lines[1] == "100 │" + 20 * "█" + 20 * "×" + 20 * " "
    assert lines[12] == "  1 │" + 20 * "×" + 20 * "█" + 20 * "▁"
    assert lines[15].split() == ["█", "cost", "×", "validation", "cost"]
    long = cost_chart(_epochs([(1 / number, 1.0) for number in range(1, 1000)])).plain.splitlines()
    assert max(map(len, long)) < 80
