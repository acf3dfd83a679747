"""Hooks of the documentation's build (mkdocs.yml)."""

import shutil
from pathlib import Path
from typing import Any


def on_post_build(config: Any) -> None:
    """Remove what browsers never load: source maps, and the search's stemmers of other languages."""
    assets = Path(config.site_dir) / "assets"
    for source_map in assets.rglob("*.map"):
        source_map.unlink()
    shutil.rmtree(assets / "javascripts" / "lunr", ignore_errors=True)
