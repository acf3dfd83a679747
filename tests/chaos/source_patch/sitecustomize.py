"""Imports one source file with changes. Python runs this file at its start if this directory is in PYTHONPATH."""

import importlib.machinery
import json
import os
from pathlib import Path
from types import CodeType
from typing import Any

_file = os.environ["CHAOS_FILE"]
_changes = json.loads(os.environ["CHAOS_CHANGES"])
_get_code = importlib.machinery.SourceFileLoader.get_code


def _get_changed_code(self: importlib.machinery.SourceFileLoader, name: str) -> CodeType | None:
    path = self.get_filename(name)
    if path != _file:
        return _get_code(self, name)
    source = Path(path).read_text()
    for old, new in _changes.items():
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    return compile(source, path, "exec", dont_inherit=True)


_loader: Any = importlib.machinery.SourceFileLoader
_loader.get_code = _get_changed_code
