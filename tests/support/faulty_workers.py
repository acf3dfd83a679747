"""A service whose training workers end as soon as they have started."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# Python runs it in every process that has its directory on PYTHONPATH.
_SITECUSTOMIZE = """
import pathlib, sys
if "nabla.engine.workers.training_main" in sys.orig_argv and pathlib.Path(__file__).with_name("broken").exists():
    sys.exit(1)
"""


@contextmanager
def broken_workers(directory: Path) -> Iterator[dict[str, str]]:
    """Yield environment variables with which workers fail until the block ends."""
    marker = directory / "broken"
    marker.touch()
    (directory / "sitecustomize.py").write_text(_SITECUSTOMIZE)
    yield {"PYTHONPATH": str(directory)}
    marker.unlink()
