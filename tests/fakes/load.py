"""The stand-in as a module of a name of its own, so that the installed CuPy stays beside it; and as an environment."""

import os
from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parent


def standin() -> ModuleType:
    return import_module("tests.fakes.cupy")


def environment(**settings: str) -> dict[str, str]:
    """For a process whose `import cupy` is to find the stand-in."""
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(FOLDER), *others]), **settings}
