"""Python runs this file at its start where this folder is in PYTHONPATH: one source file is then read with changes."""

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
    for there, instead in _changes.items():
        assert source.count(there) == 1, there
        source = source.replace(there, instead)
    return compile(source, path, "exec", dont_inherit=True)


_loader: Any = importlib.machinery.SourceFileLoader
_loader.get_code = _get_changed_code
