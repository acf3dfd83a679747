"""Generate the synchronous client from the asynchronous one: `python -m scripts.generate_sync_client`."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import unasync

CLIENT = Path(__file__).parent.parent / "app" / "client"
SOURCE, TARGET = CLIENT / "_async", CLIENT / "_sync"

# Besides the names that unasync knows, and those of the classes in SOURCE, which lose their `Async`.
_REPLACEMENTS = {
    "_async": "_sync",
    "async_sleep": "sleep",
    "to_thread": "run_inline",
    "iterate_in_thread": "iterate_inline",
    "aclose": "close",
    "aclosing": "closing",
    "aiter_bytes": "iter_bytes",
    "aiter_sse": "iter_sse",
    "aread": "read",
}
_HEADER = "# Generated from _async/{name} by scripts/generate_sync_client.py. Do not edit.\n"
_PACKAGE_DOCSTRING = '"""The synchronous client, generated from the asynchronous one in `_async`."""\n'


def generate(target: Path) -> None:
    """Generate the synchronous package.

    Args:
        target: The directory of the package, which is replaced.
    """
    shutil.rmtree(target, ignore_errors=True)
    sources = sorted(SOURCE.glob("*.py"))
    classes = {name for file in sources for name in re.findall(r"^class (Async\w+)", file.read_text(), re.MULTILINE)}
    class_names = {name: name.removeprefix("Async") for name in classes}
    rule = unasync.Rule(f"{SOURCE}/", f"{target}/", additional_replacements={**_REPLACEMENTS, **class_names})
    unasync.unasync_files([str(file) for file in sources], [rule])
    for source in sources:
        generated = target / source.name
        generated.write_text(_HEADER.format(name=source.name) + _convert_docstrings(generated.read_text(), class_names))
    (target / "__init__.py").write_text(_PACKAGE_DOCSTRING)

    # Shorter names fit on fewer lines and sort differently, and UP028: a synchronous generator can use `yield from`.
    def ruff(*arguments: str) -> None:
        command = [sys.executable, "-m", "ruff", *arguments, "--quiet", "--config", "pyproject.toml", str(target)]
        subprocess.run(command, check=True, cwd=CLIENT.parent.parent)

    ruff("check", "--select", "I,UP028", "--fix", "--unsafe-fixes")
    ruff("format")


def _convert_docstrings(code: str, class_names: dict[str, str]) -> str:
    """Convert class names and examples in docstrings, which unasync does not change."""
    for name, replacement in class_names.items():
        code = re.sub(rf"\b{name}\b", replacement, code)
    return re.sub(r"\b(?:await|async(?= (?:with|for|def)\b)) ", "", code)


if __name__ == "__main__":
    generate(TARGET)
