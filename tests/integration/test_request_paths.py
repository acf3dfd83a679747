"""How many project files a request enters: a newcomer who follows one reads that many."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MAX_FILES = {"POST /v1/jobs": 30, "POST /v1/networks/{network_id}/predictions": 14}


def test_requests_enter_few_project_files() -> None:
    traced = subprocess.run(
        [sys.executable, "-m", "scripts.trip"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    counts = {name: int(count) for name, count in re.findall(r"^(\S+ \S+) enters (\d+) project files:$", traced, re.M)}
    assert counts.keys() == MAX_FILES.keys(), traced
    assert all(counts[name] <= MAX_FILES[name] for name in MAX_FILES), traced
