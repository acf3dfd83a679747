"""The Dockerfile and the compose file, as far as they can be checked without a Docker engine."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[2]
TOOLS = Path(sys.executable).parent


def run(*command: str) -> None:
    result = subprocess.run(
        [str(TOOLS / command[0]), *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_dockerfile_lint() -> None:
    run("hadolint", "Dockerfile")


def test_compose_file_conforms_to_its_specification() -> None:
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


def test_image_runs_unprivileged_with_a_health_check_and_without_build_tools() -> None:
    *_, final = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    assert "\nUSER 10001\n" in final
    assert "\nHEALTHCHECK " in final
    assert "gcc" not in final
    assert "pip install" not in final


def test_copied_paths_are_in_the_build_context() -> None:
    """`.dockerignore` excludes everything and lists what the build needs."""
    context = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.*) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert {path.rstrip("/") for line in copied for path in line.split()} == context
    assert all((ROOT / path).exists() for path in context)


@pytest.mark.parametrize("name", ["Dockerfile", "docker-compose.yml"])
def test_linters_reject_mistakes(name: str, tmp_path: Path) -> None:
    broken = tmp_path / name
    content = (ROOT / name).read_text()
    broken.write_text(content.replace("USER 10001", "USER root").replace("init: true", "init: [3]"))
    command = {
        "Dockerfile": ["hadolint", str(broken)],
        "docker-compose.yml": ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", str(broken)],
    }[name]
    with pytest.raises(AssertionError):
        run(*command)
