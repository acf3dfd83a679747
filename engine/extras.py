"""Optional dependencies, and the error that names the extra with a missing one."""

from collections.abc import Iterator
from contextlib import contextmanager

from nabla.engine.errors import InvalidInput

_EXTRAS = {"onnx": "onnx", "pyarrow": "tables"}
"""Packages that may be missing, and the extra of the distribution that installs each."""


def is_optional(package: str | None) -> bool:
    """Return whether the service works without a package, except for what the package is for."""
    return package in _EXTRAS


@contextmanager
def requires_extra(field: str, subject: str) -> Iterator[None]:
    """Turn the error of an import of an optional package into one that names the extra to install.

    Args:
        field: Field to name in the error.
        subject: Plural noun for what needs the package, at the beginning of the sentence.

    Raises:
        InvalidInput: The package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = error.name
        if package not in _EXTRAS:
            raise
        raise InvalidInput(
            field,
            f"{subject} need {package}, which is not installed where the service runs: "
            f"pip install 'nabla-train[{_EXTRAS[package]}]'.",
        ) from error
