"""The `nabla` command, as a user calls it."""

import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx

from tests.support.terminal import ENVIRONMENT, NABLA, nabla


def test_demo_reads_digits_and_leaves_nothing_running(tmp_path: Path) -> None:
    marker = f"TMPDIR={tmp_path}"
    done = nabla("demo", TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    accuracy = re.search(r"Test accuracy: (0\.\d+)", done.stdout)
    assert accuracy, done.stdout
    assert float(accuracy[1]) >= 0.97
    assert "60/60" in done.stdout
    assert "(cost)" in done.stdout
    assert re.search(r"says \d", done.stdout)
    assert list(tmp_path.iterdir()) == []
    assert processes_with(marker) == []


def processes_with(marker: str) -> list[str]:
    """Processes that have a variable of ours in their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if marker in environment:
            found.append(process.name)
    return found


def serving(folder: Path) -> subprocess.Popen[str]:
    """On a free port."""
    command = [NABLA, "serve", "--port", "0", "--data-dir", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT)


def test_serve_says_where_and_ends_with_zero(tmp_path: Path) -> None:
    with serving(tmp_path / "d") as process:
        assert process.stdout is not None
        url = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert url
        assert httpx.get(f"{url[0]}/health/live", timeout=30).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_settings_that_make_no_sense_are_named(tmp_path: Path) -> None:
    done = nabla("serve", NABLA_CPU_SLOTS="none", NABLA_DATA_DIR=str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("nabla: NABLA_CPU_SLOTS: ")
    assert len(done.stderr.splitlines()) == 1


def test_an_address_in_use_is_said(tmp_path: Path) -> None:
    with serving(tmp_path / "a") as first:
        assert first.stdout is not None
        port = re.search(r":(\d+) ", first.stdout.readline())
        assert port
        done = nabla("serve", "--port", port[1], "--data-dir", str(tmp_path / "b"))
        assert done.returncode == 1
        assert "cannot listen on 127.0.0.1" in done.stderr
        first.terminate()


def test_help_names_the_commands() -> None:
    done = nabla("--help")
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
        "network",
        "dataset",
    ):
        assert f" {name} " in done.stdout
    assert "Exit codes" in done.stdout


def test_serving_waits_for_no_other_command() -> None:
    heavy = ("httpx", "rich", "nabla.app.client")
    code = f"import sys, app.cli, app.command.serving; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
