"""Worker processes that start in a moment: forked from one that has imported torch, and has done nothing else.

What is forked has no threads, no sockets and no random state of ours yet: it is a worker like any other, with a process
number, signals and an exit code of its own, but without the seconds that the imports take.
"""

import ctypes
import multiprocessing
import os
import signal
import subprocess
import sys
from multiprocessing.context import ForkServerProcess
from pathlib import Path

_PR_SET_PDEATHSIG = 1

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["stream.worker", "millstream.main"])


class Forked:
    """One such process, with the methods of `subprocess.Popen` that the tests use."""

    def __init__(self, arguments: list[str], log: Path) -> None:
        self._process = ForkServerProcess(target=_millstream, args=(arguments, str(log)))
        log.touch()
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("millstream", timeout or 0.0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.exitcode is None:
            os.kill(self.pid, number)


def _millstream(arguments: list[str], log: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # none outlives the tests
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.argv = ["millstream", *arguments]
    from millstream.main import main

    main()
