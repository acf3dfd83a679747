"""Generate the synchronous client from the asynchronous one: `python -m scripts.generate_sync_client`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import unasync

CLIENT = Path(__file__).parent.parent / "app" / "client"
WRITTEN, GENERATED = CLIENT / "_async", CLIENT / "_sync"

_WORDS = {
    "_async": "_sync",
    "async_sleep": "sleep",
    "aside": "here",
    "aclose": "close",
    "aiter_bytes": "iter_bytes",
    "aread": "read",
}
_HEAD = "# Generated from {name} in _async by scripts/generate_sync_client.py. Change that one.\n"
_DOCSTRING = '"""The client without an event loop, generated from the one in _async."""\n'


def generate(target: Path) -> None:
    """A package at `target`, which is replaced."""
    shutil.rmtree(target, ignore_errors=True)
    files = sorted(WRITTEN.glob("*.py"))
    of_ours = {name for file in files for name in re.findall(r"^class (Async\w+)", file.read_text(), re.MULTILINE)}
    words = {**_WORDS, **{name: name.removeprefix("Async") for name in of_ours}}
    rule = unasync.Rule(f"{WRITTEN}/", f"{target}/", additional_replacements=words)
    unasync.unasync_files([str(file) for file in files], [rule])
    for file in files:
        made = target / file.name
        made.write_text(_HEAD.format(name=file.name) + made.read_text())
    (target / "__init__.py").write_text(_DOCSTRING)

    # Shorter names take shorter lines, and another order; and generators without `async` may hand on what others give.
    def ruff(*arguments: str) -> None:
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--config", "pyproject.toml", str(target)]
        subprocess.run(command, check=True, cwd=CLIENT.parent.parent)

    ruff("check", "--select", "I,UP028", "--fix", "--unsafe-fixes")
    ruff("format")


if __name__ == "__main__":
    generate(GENERATED)
