"""A task process loads what its tasks need before its memory is limited, and nothing else."""

import json
import subprocess
import sys

import pytest

from nabla.engine.workers.task_main import load_role

# Loads a role; then, of what its tasks import when they run, lists what is not loaded, and what heavy libraries are.
PROGRAM = """
import ast, inspect, json, sys, textwrap
from nabla.engine.workers.task_main import load_role
role = load_role(sys.argv[1])
imported = set()
for task in role.tasks:
    for node in ast.walk(ast.parse(textwrap.dedent(inspect.getsource(task.run)))):
        if isinstance(node, ast.ImportFrom):
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
modules = {name for name in imported if name in sys.modules or not name.rpartition(".")[0] in sys.modules}
print(json.dumps([sorted(name for name in modules if name not in sys.modules), sorted(sys.modules)]))
"""
HEAVY = {"ingest": "onnx", "profile": "safetensors", "model-io": "onnx", "arrow": "onnx", "predict": "pyarrow"}


@pytest.mark.parametrize("role", HEAVY)
def test_role_loads_what_its_tasks_import_and_no_more(role: str) -> None:
    process = subprocess.run([sys.executable, "-c", PROGRAM, role], check=True, capture_output=True, text=True)
    missing, loaded = json.loads(process.stdout)
    assert not missing
    assert HEAVY[role] not in loaded


def test_each_task_has_one_role() -> None:
    tasks = [task for role in HEAVY for task in load_role(role).tasks]
    assert len(tasks) == len(set(tasks)) == 9
