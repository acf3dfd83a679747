"""A process that gave way is behind all others with all of its threads."""

import json
import subprocess
import sys

PROGRAM = """
import json, os, threading
from engine.jobs.priority import give_way
ended = threading.Event()
thread = threading.Thread(target=ended.wait)
thread.start()
give_way()
print(json.dumps([os.getpriority(os.PRIO_PROCESS, int(name)) for name in os.listdir("/proc/self/task")]))
ended.set()
"""


def test_every_thread_gives_way() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], check=True, capture_output=True)
    priorities = json.loads(done.stdout)
    assert len(priorities) >= 2
    assert set(priorities) == {19}
