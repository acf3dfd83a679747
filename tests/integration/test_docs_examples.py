"""The examples of README and of the documentation run as they stand, one page after the other in one directory."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.support.terminal import ENVIRONMENT

ROOT = Path(__file__).parents[2]
# In the order of a reader: later pages use what earlier ones created.
PAGES = (
    "README.md",
    "docs/tutorials/curl.md",
    "docs/how-to/upload-data.md",
    "docs/tutorials/python.md",
    "docs/how-to/train.md",
    "docs/how-to/checkpoints.md",
    "docs/how-to/versions.md",
    "docs/how-to/predict.md",
    "docs/how-to/batch-predictions.md",
    "docs/how-to/import-export.md",
    "docs/how-to/open-inference-protocol.md",
)
_BLOCK = re.compile(r"^( *)```(bash|python)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_ADDRESS = "localhost:8000"
# An HTTP error ends the block, and its problem is printed.
_PREAMBLE = 'curl() { command curl --fail-with-body "$@"; }\n'
_SCIKIT_LEARN = """
import numpy as np
from sklearn.datasets import load_iris
from sklearn.neural_network import MLPClassifier
mlp = MLPClassifier((5,), max_iter=1, tol=1.0).fit(*load_iris(return_X_y=True))
"""
_PYTORCH = """
import safetensors.torch, torch
sequential = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
"""
_BIN = str(Path(sys.executable).parent)

needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")


def blocks(page: str) -> list[tuple[str, str]]:
    """Return language and code of the blocks that are run: all but those that start a service."""
    found = _BLOCK.findall((ROOT / page).read_text())
    return [(language, textwrap.dedent(code)) for _, language, code in found if "nabla serve" not in code]


def run(page: str, language: str, code: str, directory: Path, address: str) -> None:
    environment = {**ENVIRONMENT, "PATH": f"{_BIN}:{os.environ['PATH']}"}
    code = code.replace(_ADDRESS, address)
    command = ["bash", "-euc", _PREAMBLE + code] if language == "bash" else [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"{page}:\n{code}\n{result.stdout}\n{result.stderr}"


def assumptions(language: str, code: str) -> str | None:
    """Return what a Python block assumes to be defined: a model of another framework; None without that framework."""
    if language == "python" and "mlp." in code:
        return _SCIKIT_LEARN
    if language == "python" and "sequential." in code:
        return _PYTORCH if importlib.util.find_spec("torch") else None
    return ""


@needs_curl
@pytest.mark.timeout(600)
def test_examples_run_in_the_order_of_the_pages(start_service: StartService, tmp_path: Path) -> None:
    service = start_service()
    service.wait_until_ready()
    for page in PAGES:
        examples = blocks(page)
        assert examples, page
        for language, code in examples:
            assumed = assumptions(language, code)
            if assumed is not None:
                run(page, language, assumed + code, tmp_path, service.url.removeprefix("http://"))


@pytest.mark.timeout(600)
def test_first_network_tutorial_runs(tmp_path: Path) -> None:
    for language, code in blocks("docs/tutorials/first-network.md"):
        run("first-network.md", language, code, tmp_path, _ADDRESS)
    assert len((tmp_path / "predicted.csv").read_text().splitlines()) == 1798
    assert (tmp_path / "digits.onnx").stat().st_size > 0
