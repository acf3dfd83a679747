"""The page's modules fit each other, and what the service answers."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.service import RunningService

ROOT = Path(__file__).parents[2]
TOOLS = ROOT / "node_modules" / ".bin"
PAGE = Path("app/dashboard/static")


@pytest.mark.skipif(not (TOOLS / "tsc").exists(), reason="TypeScript is not installed here: npm ci does it")
def test_types(service: RunningService, tmp_path: Path) -> None:
    shutil.copytree(ROOT / PAGE, tmp_path / PAGE)
    shutil.copy(ROOT / "tsconfig.json", tmp_path)
    schema = tmp_path / "openapi.json"
    schema.write_text(json.dumps(service.get("/openapi.json")))
    run(tmp_path, "openapi-typescript", str(schema), "--output", str(tmp_path / PAGE / "api.d.ts"))
    run(tmp_path, "tsc", "--project", str(tmp_path))


def run(folder: Path, tool: str, *options: str) -> None:
    done = subprocess.run([TOOLS / tool, *options], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
