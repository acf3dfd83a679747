"""The image and the compose file, as far as they can be checked where no Docker engine runs."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
TOOLS = Path(sys.executable).parent


def run(*command: str) -> None:
    done = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_dockerfile_lint() -> None:
    run("hadolint", "Dockerfile")


def test_compose_file_against_the_specification() -> None:
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "docker-compose.yml")


def test_compose_services() -> None:
    compose = YAML(typ="safe").load(ROOT / "docker-compose.yml")
    services = compose["services"]
    for service in services.values():
        assert service["init"] is True
        assert service["volumes"] == ["data:/data"]
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert "data" in compose["volumes"]
    started_by_default = [name for name, service in services.items() if "profiles" not in service]
    assert started_by_default == ["nabla"]
    gpu = services["nabla-gpu"]
    (device,) = gpu["deploy"]["resources"]["reservations"]["devices"]
    assert (gpu["profiles"], device["driver"], device["capabilities"]) == (["gpu"], "nvidia", ["gpu"])
    assert (ROOT / "requirements" / f"{gpu['build']['args']['EXTRA']}.txt").exists()


def test_the_image_runs_as_nobody_in_particular_and_is_watched() -> None:
    *_, final = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    assert "\nUSER 10001\n" in final
    assert "\nHEALTHCHECK " in final
    assert "gcc" not in final
    assert "pip install" not in final


def test_what_the_build_says_in_python_runs() -> None:
    programs = re.findall(r'^RUN \S+/python -c "(.*)"$', (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert len(programs) == 1
    subprocess.run([sys.executable, "-c", programs[0]], cwd=ROOT, check=True)


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml"])
def test_lint_finds_what_is_wrong(name: str, tmp_path: Path) -> None:
    """The checks above can fail."""
    broken = tmp_path / name
    content = (ROOT / name).read_text()
    broken.write_text(content.replace("USER 10001", "USER root").replace("init: true", "init: [3]"))
    command = {
        "Dockerfile": ["hadolint", str(broken)],
        "docker-compose.yml": ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)],
    }[name]
    with pytest.raises(AssertionError):
        run(*command)
