"""Build hook: put the documentation into the wheel, as nabla/app/guide, where the service serves it."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DocumentationHook(BuildHookInterface[Any]):
    """Runs MkDocs for wheels. Editable installs serve what `scripts/docs build` built in the checkout."""

    _site: tempfile.TemporaryDirectory[str]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the site into a temporary directory and add it to the wheel."""
        self._site = tempfile.TemporaryDirectory(prefix="nabla-guide-")
        if version == "editable":
            return
        root = Path(self.root)
        for package in ("app", "engine"):
            link = root / "nabla" / package
            if not link.exists():  # an sdist has no symbolic links, and mkdocstrings reads the package `nabla`
                link.symlink_to(f"../{package}")
        command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", self._site.name]
        # Material's notice of its end of life in 2027 does not concern whoever builds a wheel.
        subprocess.run(command, cwd=root, check=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"})
        build_data["force_include"][self._site.name] = "nabla/app/guide"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the temporary directory."""
        self._site.cleanup()
