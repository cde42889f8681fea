"""Workers as processes that start in a fraction of a second: forked from one that has loaded torch already."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

from benchmarks.chaos.child import Sabotage, work
from benchmarks.chaos.plan import Fault
from stream.config.settings import Settings

__all__ = ["CONTEXT", "Life", "one_thread_each"]

CONTEXT: ForkServerContext = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["stream.worker", "benchmarks.chaos.child"])
END_SECONDS = 60.0
POLL_SECONDS = 0.01
THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@contextmanager
def one_thread_each() -> Iterator[None]:
    """Start the process that is forked from with one thread: threads are lost in a fork, and their locks stay taken."""
    former = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        multiprocessing.forkserver.ensure_running()  # type: ignore[attr-defined]
        yield
    finally:
        for name, value in former.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


class Life:
    """One worker process, from its start to its end.

    Args:
        settings: of the worker.
        fault: what happens to it; None: nothing.
        log: the file that it writes to.
        sabotage: see `benchmarks.chaos.child`.
    """

    def __init__(self, settings: Settings, fault: Fault | None, log: Path, sabotage: Sabotage | None = None) -> None:
        self.fault = fault
        self.has_fired = self.has_taken_over = self.was_asked_to_end = False
        self.started: dict[str, Any] | None = None
        """relearned_batches and recovery_seconds, once it works."""
        self._log = log
        self._messages, theirs = CONTEXT.Pipe()
        self._process = CONTEXT.Process(target=work, args=(settings, fault, log, theirs, sabotage), daemon=False)
        self._process.start()
        theirs.close()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def is_stopped(self) -> bool:
        """Whether it stands still, or did, by its own fault."""
        return self.has_fired and self.fault is not None and self.fault.action == "stop"

    def listen(self) -> None:
        """Take in what the worker has said."""
        with suppress(EOFError, OSError):
            while self._messages.poll():
                what, *facts = self._messages.recv()
                if what == "started":
                    self.started = facts[0]
                self.has_fired |= what == "fired"
                self.has_taken_over |= what == "taken_over"

    def is_alive(self) -> bool:
        """Return whether the process is there."""
        return self._process.is_alive()

    def exit_code(self) -> int | None:
        """Return what it ended with; minus the signal that killed it; None while it runs."""
        return self._process.exitcode

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if it is still there."""
        if self.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def ask_to_end(self) -> None:
        """Send SIGTERM, once."""
        if not self.was_asked_to_end:
            self.was_asked_to_end = True
            self.send(signal.SIGTERM)

    def wait(self, seconds: float = END_SECONDS) -> int | None:
        """Return the exit code, or None when it has not ended in time; what it said has been taken in."""
        deadline = time.monotonic() + seconds
        while self.is_alive() and time.monotonic() < deadline:
            self.listen()
            if self.is_stopped and not self.was_continued:
                break
            self._process.join(POLL_SECONDS)
        self.listen()
        return self.exit_code()

    was_continued = False

    def go_on(self) -> None:
        """Let it go on after it has stopped itself; asked for again and again, as it may be about to stop."""
        self.was_continued = True
        self.send(signal.SIGCONT)

    def last_words(self) -> str:
        """Return the end of its log, in one line."""
        text = self._log.read_text(encoding="utf-8", errors="replace") if self._log.exists() else ""
        return " | ".join(text.splitlines()[-6:])

    def end(self) -> None:
        """Kill it if it is still there."""
        self.send(signal.SIGKILL)
        self._process.join(END_SECONDS)
        self._messages.close()
