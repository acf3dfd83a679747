"""The data directory is closed to other users, and nothing is acknowledged that is not in it at the next start."""

import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.support import scenarios
from tests.support.service import RunningService
from tests.support.terminal import run_nabla

NETWORK = {"inputs": 2, "layers": [{"units": 1}], "cost": "quadratic"}


@contextmanager
def permissive_umask() -> Iterator[None]:
    """Let new files be readable and writable for everyone by default."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def test_other_users_read_nothing(start_service: StartService) -> None:
    with permissive_umask():
        service = start_service()
        service.wait_for_job(scenarios.submit_job(service, epochs=1)["id"])
    files = [path for path in service.data_dir.rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in (service.data_dir, *service.data_dir.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_directories_of_earlier_versions_are_closed(start_service: StartService) -> None:
    service = start_service()
    scenarios.create_dataset(service)
    assert service.terminate() == 0
    for path in (service.data_dir, *service.data_dir.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    service.start()
    service.wait_until_ready()
    for path in service.data_dir.iterdir():
        if path.name != "lock":  # it has no content
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


def test_directory_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to another user")
    (tmp_path / "networks").mkdir()
    os.chown(tmp_path / "networks", 12345, 12345)
    refused = run_nabla("serve", "--port", "0", "--data-dir", str(tmp_path))
    assert (refused.returncode, "belongs to another user (uid 12345)" in refused.stderr) == (1, True)


@pytest.mark.parametrize("name", ["lock", "networks"])
def test_links_are_not_followed(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    if name == "lock":
        victim.write_text("content")
    else:
        victim.mkdir(mode=0o755)
    directory = tmp_path / "data"
    directory.mkdir()
    (directory / name).symlink_to(victim)
    refused = run_nabla("serve", "--port", "0", "--data-dir", str(directory))
    assert (refused.returncode, "Traceback" in refused.stderr) == (1, False), refused.stderr
    assert victim.read_text() == "content" if name == "lock" else stat.S_IMODE(victim.stat().st_mode) == 0o755


def assert_refuses(service: RunningService) -> None:
    """Check that nothing is acknowledged, and that the service says why it is not ready."""
    for path, body in (
        ("/v1/networks", NETWORK),
        ("/v1/datasets", {"inputs": scenarios.XOR_INPUTS, "labels": scenarios.XOR_LABELS}),
    ):
        response = service.http.post(path, json=body)
        assert (response.status_code, response.json()["type"]) == (503, "/problems/storage-failed"), response.text
    unready = service.http.get("/health/ready")
    assert unready.status_code == 503
    assert "was moved, removed, replaced or unmounted" in unready.json()["detail"]


def test_moved_directory_is_refused_until_it_is_back(start_service: StartService) -> None:
    service = start_service()
    kept = scenarios.create_network(service)["id"]
    moved = service.data_dir.with_name("moved")
    service.data_dir.rename(moved)
    assert_refuses(service)
    assert not service.data_dir.exists()
    moved.rename(service.data_dir)
    service.wait_until_ready()
    created = scenarios.create_network(service)["id"]
    assert service.terminate() == 0
    service.start()
    service.wait_until_ready()
    assert [network["id"] for network in service.get("/v1/networks")["data"]] == [created, kept]


@pytest.mark.parametrize("replacement", ["nothing", "an empty directory", "a copy"])
def test_removed_directory_is_refused(start_service: StartService, replacement: str) -> None:
    service = start_service()
    scenarios.create_network(service)
    moved = service.data_dir.with_name("moved")
    service.data_dir.rename(moved)
    if replacement == "an empty directory":
        service.data_dir.mkdir()
    elif replacement == "a copy":
        shutil.copytree(moved, service.data_dir)
    assert_refuses(service)
