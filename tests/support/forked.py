"""`millstream` in processes that start in a moment: forked from one that has imported torch, and has done nothing else.

What is forked has no threads, no sockets and no random state of ours yet: it is a process like any other, with a
number, signals, output and an exit code of its own, but without the seconds that the imports take.
"""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from benchmarks.chaos.processes import CONTEXT, one_thread_each

_PR_SET_PDEATHSIG = 1

# All tests of one run fork from the same process: it loads what any of them needs, these and those of the chaos runs.
CONTEXT.set_forkserver_preload(
    [
        "stream.worker",
        "benchmarks.chaos.child",
        "millstream.main",
        "stream.durability.verification",
        "stream.durability.point_in_time",
    ]
)


class Forked:
    """One such process, with the methods of `subprocess.Popen` that the tests use.

    Args:
        arguments: of `millstream`.
        output: the file for what it prints.
        errors: the file for what it prints on standard error; None: `output`.
    """

    def __init__(self, arguments: list[str], output: Path, errors: Path | None = None) -> None:
        self._process = ForkServerProcess(target=_millstream, args=(arguments, str(output), str(errors or output)))
        output.touch()
        with one_thread_each():
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


def run_forked(arguments: list[str], timeout: float) -> "subprocess.CompletedProcess[str]":
    """Run `millstream` with these arguments to its end, as `subprocess.run` would."""
    with tempfile.TemporaryDirectory() as folder:
        output, errors = Path(folder, "stdout"), Path(folder, "stderr")
        process = Forked(arguments, output, errors)
        try:
            code = process.wait(timeout)
        finally:
            process.send_signal(signal.SIGKILL)
        return subprocess.CompletedProcess(arguments, code, output.read_text(), errors.read_text())


def _millstream(arguments: list[str], output: str, errors: str) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # none outlives the tests
    os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 1)
    os.dup2(1 if errors == output else os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
    sys.argv = ["millstream", *arguments]
    from millstream.main import main

    main()
