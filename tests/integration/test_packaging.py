"""The wheel: one package, with everything that the service needs at run time."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.support.service import RunningService

ROOT = Path(__file__).parents[2]
SOURCES = ("app", "engine")


def build(source: Path, target: str, directory: Path) -> Path:
    """Build an sdist or a wheel with the backend of pyproject.toml."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", target, "--directory", str(directory)]
    result = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    (path,) = directory.iterdir()
    return path


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT / "packaging" / "client", "wheel", tmp_path_factory.mktemp("client-wheel"))


@pytest.fixture(scope="module")
def unpacked(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(directory)
    return directory


def test_wheel_has_one_package_and_a_command(unpacked: Path) -> None:
    packages = [path for path in unpacked.iterdir() if path.suffix != ".dist-info"]
    assert [path.name for path in packages] == ["nabla"]
    (entry_points,) = unpacked.glob("nabla_train-*.dist-info/entry_points.txt")
    assert "nabla = nabla.app.cli.main:cli" in entry_points.read_text().splitlines()


def test_wheel_has_every_module_kernel_and_page_of_the_dashboard(wheel: Path) -> None:
    guide = ROOT / "app" / "guide"  # built in a checkout; the wheel has its own
    files = [path for source in SOURCES for path in (ROOT / source).rglob("*") if path.is_file()]
    expected = {
        f"nabla/{path.relative_to(ROOT).as_posix()}"
        for path in files
        if "__pycache__" not in path.parts and guide not in path.parents
    }
    for suffix in (".py", ".cu", ".cuh", ".js", ".css", ".html", ".svg"):
        assert any(name.endswith(suffix) for name in expected), suffix
    assert expected - names(wheel) == set()


def test_wheel_has_the_documentation(wheel: Path) -> None:
    pages = {path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")}
    expected = {
        "nabla/app/guide/" + ("" if page.name == "index" else f"{page.as_posix()}/") + "index.html" for page in pages
    }
    assert expected - names(wheel) == set()
    assert not any(name.endswith(".map") for name in names(wheel))


def test_distributions_are_as_an_index_accepts_them(
    wheel: Path, sdist: Path, client: Path, subtests: pytest.Subtests
) -> None:
    for command in (
        ["-m", "twine", "check", "--strict", str(wheel), str(sdist), str(client)],
        ["-m", "check_wheel_contents", "--config", str(ROOT / "pyproject.toml"), str(wheel), str(client)],
    ):
        with subtests.test(command[1]):
            result = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
            assert result.returncode == 0, result.stdout + result.stderr


def test_wheel_of_an_sdist_has_the_same_files(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.glob("nabla_train-*")
    assert names(build(source, "wheel", tmp_path / "wheel")) == names(wheel)


# What the client may import besides the standard library: its dependencies, and theirs.
CLIENT_PACKAGES = {
    "nabla",
    *("httpx", "httpx_sse", "numpy", "pydantic"),
    *("annotated_types", "anyio", "certifi", "h11", "httpcore", "idna", "pydantic_core", "sniffio", "socks"),
    *("typing_extensions", "typing_inspection"),
}
CLIENT_PROGRAM = f"""
import sys
from importlib.abc import MetaPathFinder

class OnlyDependencies(MetaPathFinder):
    def find_spec(self, name, path, target=None):
        top = name.partition(".")[0]
        if top not in {CLIENT_PACKAGES} and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, OnlyDependencies())
import numpy as np
import nabla
from nabla import Client

with Client(sys.argv[1]) as client:
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
    dataset = client.upload_arrays(inputs=x, labels=["no", "yes", "yes", "no"])
    network = client.create_network(
        inputs=2,
        layers=[{{"units": 8, "activation": "tanh"}}, {{"units": 1, "activation": "sigmoid"}}],
        cost="binary_cross_entropy",
        seed=7,
    )
    job = client.create_job(network, dataset, epochs=500, batch_size=4, learning_rate=1.0, seed=7)
    epochs = [event.epoch for event in job.follow() if hasattr(event, "rows_per_second")]
    assert epochs == list(range(1, 501))
    print(nabla.__file__, network.predict(x.tolist()).labels, len(job.history()))
"""


def test_client_of_its_own_distribution_needs_nothing_of_the_service(
    service: RunningService, client: Path, tmp_path: Path
) -> None:
    unpacked = tmp_path / "unpacked"
    with zipfile.ZipFile(client) as archive:
        archive.extractall(unpacked)
    assert [path.name for path in unpacked.iterdir() if path.suffix != ".dist-info"] == ["nabla"]
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", CLIENT_PROGRAM, service.url]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{unpacked}/nabla/__init__.py ['no', 'yes', 'yes', 'no'] 500\n"


def test_project_with_its_own_app_package_uses_the_client(unpacked: Path, tmp_path: Path) -> None:
    for package in SOURCES:
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("own = True\n")
    program = (
        "import app, engine, nabla; from nabla import AsyncClient, Client; import nabla.engine.services.jobs\n"
        "assert app.own and engine.own; print(nabla.__file__)"
    )
    environment = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", program]
    result = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert Path(result.stdout.strip()).is_relative_to(unpacked)
