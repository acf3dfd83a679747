"""The `nabla` command as scripts run it, and as users run it at a terminal."""

import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.service import TIMEOUT_SECONDS

NABLA = str(Path(sys.executable).with_name("nabla"))
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith(("NABLA_", "COLUMNS", "LINES"))},
    "NABLA_GPUS": "none",
    "TERM": "xterm",
}
_ESCAPE_SEQUENCE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
# Makes stdin the controlling terminal, so that its Ctrl-C interrupts the command.
_RUN_AT_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def run_nabla(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, with environment variables, as a script does."""
    environment, command = {**ENVIRONMENT, **variables}, [NABLA, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False, env=environment
    )


@contextmanager
def start_nabla(*arguments: str, **variables: str) -> Iterator[subprocess.Popen[str]]:
    """Start the command without a terminal, and kill it at the end of the block if it still runs."""
    with subprocess.Popen(
        [NABLA, *arguments],
        env={**ENVIRONMENT, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


class Terminal:
    """The command in a pseudo-terminal."""

    def __init__(self, *arguments: str, **variables: str) -> None:
        self._master, slave = pty.openpty()
        command = [sys.executable, "-c", _RUN_AT_TERMINAL, NABLA, *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env={**ENVIRONMENT, **variables, "COLUMNS": "160"}
        )
        os.close(slave)
        self._output = ""
        self._matched = 0

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until the output after the previous match matches."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while (match := re.compile(pattern).search(self.text, self._matched)) is None:
            assert select.select([self._master], [], [], deadline - time.monotonic())[0], self.text
            assert self._read(), self.text
        self._matched = match.end()
        return match

    @property
    def text(self) -> str:
        """All output, without escape sequences."""
        return _ESCAPE_SEQUENCE.sub("", self._output)

    def _read(self) -> bool:
        try:
            data = os.read(self._master, 2**16)
        except OSError:  # no process has the terminal open any more
            return False
        self._output += data.decode(errors="replace")
        return bool(data)

    def send_keys(self, text: str) -> None:
        """Type a text at the terminal."""
        os.write(self._master, text.encode())

    def wait_for_exit(self) -> int:
        """Wait for the end of the command, and return its exit code."""
        while self._read():
            pass
        return self.process.wait(TIMEOUT_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)
