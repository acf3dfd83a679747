"""The `nabla` command as it is called: by scripts, and by people at a terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.service import PATIENCE

NABLA = str(Path(sys.executable).with_name("nabla"))
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("NABLA_", "COLUMNS", "LINES"))},
    "NABLA_GPUS": "none",
    "TERM": "xterm",
}
_ORDERS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Makes the terminal that stdin is the one that its Ctrl-C is for.
_AT_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def nabla(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """As a script calls it."""
    environment, command = {**ENVIRONMENT, **variables}, [NABLA, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, env=environment)


class Terminal:
    """As a person calls it."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-c", _AT_TERMINAL, NABLA, *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**ENVIRONMENT, **variables, "COLUMNS": "160"}
        )
        os.close(slave)
        self._written = ""
        self._found = 0

    def until(self, pattern: str) -> re.Match[str]:
        """Wait until something is to be seen. What has been found is not found again."""
        deadline = time.monotonic() + PATIENCE
        while (found := re.compile(pattern).search(self.seen, self._found)) is None:
            assert select.select([self._master], [], [], deadline - time.monotonic())[0], self.seen
            assert self._read(), self.seen
        self._found = found.end()
        return found

    @property
    def seen(self) -> str:
        """Without colours, and without where it stands."""
        return _ORDERS.sub("", self._written)

    def _read(self) -> bool:
        try:
            part = os.read(self._master, 2**16)
        except OSError:  # nobody writes any more
            return False
        self._written += part.decode(errors="replace")
        return bool(part)

    def press(self, text: str) -> None:
        os.write(self._master, text.encode())

    def ended(self) -> int:
        """The exit code."""
        while self._read():
            pass
        return self.process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
