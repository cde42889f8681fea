"""A child process that cannot outlive this one, not even when this one is killed with SIGKILL.

No signal handler runs on SIGKILL, so somebody else must notice. That is a tiny shell, the guard, in a session of its
own. It reads a pipe whose write end only this process holds: when this process is gone, however it went, the pipe
closes, and the guard ends the child (SIGTERM, then SIGKILL) with all of its process group.

No moment is left uncovered. The guard is there before the child. The child reports its own number, over its own copy of
the write end, before it becomes the command; so a death in between is noticed too. The number cannot come to mean
another process: we release the guard before the child is reaped, and until then the kernel keeps the number taken.
POSIX only.
"""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

__all__ = ["GuardedProcess"]

CHILD_SCRIPT = 'echo "$$" >&0; exec "$@" </dev/null'
"""Standard input is the write end of the pipe: a shell is sure to know descriptor 0 only to 9."""

GUARD_SCRIPT = """
trap '' HUP INT TERM
read -r child || exit 0
read -r released && exit 0
kill -s TERM -- "-$child" 2>/dev/null
tenths=0
while [ "$tenths" -lt "$1" ] && kill -s 0 -- "-$child" 2>/dev/null; do
    sleep 0.1 2>/dev/null || sleep 1
    tenths=$((tenths + 1))
done
kill -s KILL -- "-$child" 2>/dev/null
[ -z "$2" ] || rm -rf -- "$2"
"""

REAP_POLL_SECONDS = 0.05


class GuardedProcess:
    """A running command in a session of its own: Ctrl-C at the terminal reaches us, and we decide what to end when.

    Args:
        command: program and arguments.
        stdout: where its standard output goes, a descriptor or file; `subprocess.DEVNULL` discards.
        stderr: the same for standard error.
        env: its environment; None: ours.
        grace_seconds: how long it may take to end after SIGTERM before it is killed.
        scratch_dir: a folder of the command that the guard removes when this process dies. Otherwise it is ours.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        stdout: int | IO[bytes] = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.STDOUT,
        env: Mapping[str, str] | None = None,
        grace_seconds: float = 10.0,
        scratch_dir: Path | None = None,
    ) -> None:
        self._grace_seconds = grace_seconds
        read_end, self._write_end = os.pipe()
        try:
            self._guard = _start_guard(read_end, grace_seconds, scratch_dir)
            self._child = subprocess.Popen(
                ["/bin/sh", "-c", CHILD_SCRIPT, "guarded", *command],
                stdin=self._write_end,
                stdout=stdout,
                stderr=stderr,
                env=None if env is None else dict(env),
                start_new_session=True,
            )
        except BaseException:
            os.close(self._write_end)
            raise
        finally:
            os.close(read_end)
        self._ended = threading.Event()
        self._reaper = threading.Thread(target=self._reap, name=f"reaper-{self.pid}", daemon=True)
        self._reaper.start()

    @property
    def pid(self) -> int:
        """Process number of the command."""
        return self._child.pid

    @property
    def guard_pid(self) -> int:
        """Process number of the guard."""
        return self._guard.pid

    def poll(self) -> int | None:
        """Return the exit status (minus the signal number when a signal ended it), or None while it runs."""
        return self._child.returncode if self._ended.is_set() else None

    def wait(self, timeout_seconds: float | None = None) -> int | None:
        """Return the exit status once it has ended, or None when it has not in time. The guard is gone then, too."""
        self._ended.wait(timeout_seconds)
        return self.poll()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the command and its process group; nothing happens when it has ended."""
        if self.poll() is None:
            try:
                os.killpg(self.pid, number)
            except (ProcessLookupError, PermissionError):
                return  # ended just now; PermissionError is what macOS says of a zombie

    def stop(self) -> int:
        """End the command: SIGTERM, and SIGKILL after the grace. Return the exit status."""
        self.signal(signal.SIGTERM)
        return self._kill_after(self._grace_seconds)

    def kill(self) -> int:
        """End the command at once with SIGKILL and return the exit status."""
        return self._kill_after(0.0)

    def _kill_after(self, seconds: float) -> int:
        if self.wait(seconds) is None:
            self.signal(signal.SIGKILL)
        status = self.wait()
        assert status is not None
        self._reaper.join()
        return status

    def _reap(self) -> None:
        """Wait for the end of the command, release the guard, and only then let go of the process number."""
        _wait_without_reaping(self._child)
        os.write(self._write_end, b"released\n")
        os.close(self._write_end)
        self._guard.wait()
        self._child.wait()
        self._ended.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _start_guard(read_end: int, grace_seconds: float, scratch_dir: Path | None) -> "subprocess.Popen[bytes]":
    tenths, scratch = str(int(grace_seconds * 10)), "" if scratch_dir is None else str(scratch_dir.resolve())
    return subprocess.Popen(
        ["/bin/sh", "-c", GUARD_SCRIPT, "millstream-guard", tenths, scratch],
        stdin=read_end,
        stdout=subprocess.DEVNULL,  # it must not hold open the pipe that our own output goes to
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _wait_without_reaping(child: "subprocess.Popen[bytes]") -> None:
    if hasattr(os, "waitid"):
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        return
    while child.poll() is None:  # this system cannot: the number is free for the moment until the guard is released
        time.sleep(REAP_POLL_SECONDS)
