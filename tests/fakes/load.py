"""Imports the fake CuPy next to an installed one, and configures processes to import it as `cupy`."""

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

FAKES_DIRECTORY = Path(__file__).parent


def load_fake_cupy() -> ModuleType:
    return import_module("tests.fakes.cupy")


def fake_cupy_environment(**variables: str) -> dict[str, str]:
    """Return the environment of a process whose `import cupy` imports the fake."""
    paths = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(FAKES_DIRECTORY), *paths]), **variables}
