"""Priorities and limits of child processes, and how they end."""

import json
import os
import select
import subprocess
import sys

import pytest

from nabla.engine.workers.os_process import describe_exit

PRIORITIES = """
import json, os, threading
from nabla.engine.workers.os_process import prioritize_as_background
ended = threading.Event()
thread = threading.Thread(target=ended.wait)
thread.start()
prioritize_as_background()
print(json.dumps([os.getpriority(os.PRIO_PROCESS, int(name)) for name in os.listdir("/proc/self/task")]))
ended.set()
"""
ALLOCATION = """
from nabla.engine.workers.os_process import limit_memory
limit_memory(64 * 2**20)
bytearray(32 * 2**20)
try:
    bytearray(128 * 2**20)
except MemoryError:
    print("limited")
"""
ORPHAN = """
import os, signal, subprocess, sys
child = '''
import os, signal, sys, time
from nabla.engine.workers.os_process import die_with_parent
die_with_parent(int(sys.argv[1]), signal.SIGKILL)
print(os.getpid(), flush=True)
time.sleep(60)
'''
process = subprocess.Popen([sys.executable, "-c", child, str(os.getpid())], stdout=subprocess.PIPE)
print(process.stdout.readline().decode(), flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def output_of(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True).stdout


def test_all_threads_get_the_lowest_priority() -> None:
    priorities = json.loads(output_of(PRIORITIES))
    assert len(priorities) >= 2
    assert set(priorities) == {19}


def test_memory_limit_comes_on_top_of_what_the_process_has() -> None:
    assert output_of(ALLOCATION) == "limited\n"


def test_child_dies_with_a_parent_that_is_killed() -> None:
    orphan = int(output_of(ORPHAN))
    try:
        descriptor = os.pidfd_open(orphan)
    except ProcessLookupError:
        return
    with os.fdopen(descriptor) as process:
        assert select.select([process], [], [], 10)[0]


@pytest.mark.parametrize(
    ("exit_code", "words"), [(-9, "by signal 9"), (3, "with exit code 3"), (0, "with exit code 0")]
)
def test_describe_exit(exit_code: int, words: str) -> None:
    assert describe_exit(exit_code) == words
