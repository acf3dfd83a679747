"""The documentation agrees with the code, and the locks with pyproject.toml."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from nabla.engine.storage.data_dir import DataDir

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The extras in each lock. The peers are not locked.
LOCKS = {
    "base": [],
    "tables": ["tables"],
    "all": ["onnx", "tables"],
    "cuda12": ["onnx", "tables", "cuda12"],
    "cuda13": ["onnx", "tables", "cuda13"],
    "test": ["onnx", "tables", "docs", "test"],
}
SCRIPTS = {path.name for path in (ROOT / "scripts").iterdir() if path.is_file() and path.suffix != ".py"}


def test_readme_is_one_page_with_two_commands() -> None:
    assert len(README.encode()) <= 8192
    assert re.findall(r"^```sh\n(.*?)^```$", README, re.MULTILINE | re.DOTALL) == ["scripts/demo\n", "scripts/test\n"]


def test_links_of_readme_lead_to_files() -> None:
    links = re.findall(r"\]\(([^)#]+)", README) + re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(links) > 20
    for link in links:
        assert (ROOT / link).is_file(), link


def test_generated_reference_is_current() -> None:
    subprocess.run([sys.executable, "-m", "scripts.generate_reference", "--check"], cwd=ROOT, check=True)


def test_every_part_of_the_data_directory_is_documented(tmp_path: Path) -> None:
    directory = DataDir(tmp_path)
    page = (DOCS / "reference" / "data-directory.md").read_text()
    names = {path.name for path in (*tmp_path.iterdir(), directory.journal)}
    directory.close()
    assert len(names) >= 7
    for name in names:
        assert f"`{name}" in page, name


@pytest.mark.parametrize("page", sorted(path.relative_to(ROOT).as_posix() for path in DOCS.rglob("*.md")))
def test_documented_commands_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for name in re.findall(r"scripts/([a-z_]+)(?![a-z_./{])", text):
        assert name in SCRIPTS, name
    modules = re.findall(r"python -m ((?:benchmarks|scripts)\.[a-z_]+)", text)
    modules += [f"benchmarks.{name}" for name in re.findall(r"scripts/bench ([a-z_]+)", text)]
    for module in modules:
        assert (ROOT / f"{module.replace('.', '/')}.py").is_file(), module


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", requirement)[0] for requirement in requirements} - {PROJECT["name"]}


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_every_dependency_with_hashes_and_no_address(lock: str) -> None:
    content = (ROOT / "requirements" / f"{lock}.txt").read_text()
    extras = [name for extra in LOCKS[lock] for name in PROJECT["optional-dependencies"][extra]]
    check_lock(content, names([*PROJECT["dependencies"], *extras]))


def test_lock_of_the_build_holds_backend_and_documentation_tools() -> None:
    backend = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    content = (ROOT / "requirements" / "build.txt").read_text()
    check_lock(content, names([*backend, *PROJECT["optional-dependencies"]["docs"]]))


def check_lock(content: str, expected: set[str]) -> None:
    for name in expected:
        assert re.search(rf"^{re.escape(name)}(\[.*\])?==", content, re.MULTILINE), name
    assert "://" not in content
    assert "--index" not in content
    assert content.count("--hash=sha256:") >= content.count("==")
