"""TypeScript checks the page's modules against each other and against the service's OpenAPI document."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.service import RunningService

ROOT = Path(__file__).parents[2]
NODE_TOOLS = ROOT / "node_modules" / ".bin"
STATIC = Path("app/dashboard/static")


@pytest.mark.skipif(not (NODE_TOOLS / "tsc").exists(), reason="TypeScript is not installed; run npm ci")
def test_page_passes_type_check(service: RunningService, tmp_path: Path) -> None:
    shutil.copytree(ROOT / STATIC, tmp_path / STATIC)
    shutil.copy(ROOT / "tsconfig.json", tmp_path)
    openapi = tmp_path / "openapi.json"
    openapi.write_text(json.dumps(service.get("/openapi.json")))
    types = tmp_path / STATIC / "lib" / "openapi.d.ts"
    run_tool(tmp_path, "openapi-typescript", str(openapi), "--output", str(types))
    run_tool(tmp_path, "tsc", "--project", str(tmp_path))


def run_tool(directory: Path, tool: str, *options: str) -> None:
    result = subprocess.run([NODE_TOOLS / tool, *options], cwd=directory, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
