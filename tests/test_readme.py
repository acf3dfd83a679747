"""The README, the lock files and the code say the same."""

import re
import tomllib
from pathlib import Path

import pytest

from nabla.app.settings import Settings

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# The peers are not locked.
LOCKS = ["run", "demo", "test", "cuda12", "cuda13"]


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[\[<>=; ]", requirement)[0] for requirement in requirements} - {"nabla"}


def rows_under(heading: str) -> dict[str, list[str]]:
    """The first table under a heading: first cell → the others."""
    section = README.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0].strip("`"): row[1:] for row in rows[2:]}


def test_every_setting_is_in_the_table_with_its_default() -> None:
    table = rows_under("Configuration")
    assert set(table) == {f"NABLA_{name.upper()}" for name in Settings.model_fields}
    for name, field in Settings.model_fields.items():
        default, meaning = table[f"NABLA_{name.upper()}"]
        assert default.strip("`") == ("" if field.default is None else str(field.default))
        assert meaning


def test_every_dependency_is_in_the_table() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = names(PROJECT["dependencies"]).union(*(names(extra) for extra in extras.values()))
    assert set(rows_under("Dependencies")) == wanted


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_hold_every_dependency_with_hashes_and_no_address(lock: str) -> None:
    content = (ROOT / "requirements" / f"{lock}.txt").read_text()
    extra = [] if lock == "run" else PROJECT["optional-dependencies"][lock]
    for name in names([*PROJECT["dependencies"], *extra]):
        assert re.search(rf"^{re.escape(name)}(\[.*\])?==", content, re.MULTILINE), name
    assert "://" not in content
    assert "--index" not in content
    assert content.count("--hash=sha256:") >= content.count("==")


def test_architecture_names_every_package_file() -> None:
    section = README.split("\n## Architecture\n")[1].split("\n## ")[0]
    for package in ("app", "engine"):
        for file in sorted((ROOT / package).rglob("*.py")):
            if file.name != "__init__.py":
                assert re.search(rf"\b{file.stem}\b", section), file
