"""The process of one worker: `millstream run` in little, that does something to itself at one instant."""

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import stream.worker
from benchmarks.chaos.plan import Action, Fault
from producers.shutdown import stop_on_signals
from stream.config.settings import Settings
from stream.errors import MillstreamError
from stream.logs import configure_logs
from stream.pipeline import Clocks
from stream.worker import Worker

__all__ = ["ABANDONED", "LEFT_AT_ONCE", "Sabotage", "set_clock", "work"]

ABANDONED = 99
"""Exit code of a worker whose run is gone."""
LEFT_AT_ONCE = 130
"""Exit code after a second signal."""
Sabotage = Callable[[], None]
"""Breaks the worker's code in its own process before it starts: so that a judge can be seen to find it."""


class _Mouth:
    """Tells the run what happens here; several threads do."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def say(self, what: str, *facts: Any) -> None:
        with self._lock:
            self._connection.send((what, *facts))

    def end_with_listener(self) -> None:
        """Leave this process when nobody listens any more; nothing is ever sent to it."""
        try:
            self._connection.recv()
        except (EOFError, OSError):
            os._exit(ABANDONED)


class _FaultyWatch:
    """Lets instants pass until the one that is meant."""

    def __init__(self, fault: Fault | None, mouth: _Mouth) -> None:
        self._fault, self._mouth = fault, mouth
        self._num_met = 0

    def __call__(self, instant: str) -> None:
        if instant == "taken_over":
            self._mouth.say("taken_over")
        if self._fault is None or instant != self._fault.instant:
            return
        self._num_met += 1
        if self._num_met == self._fault.occurrence:
            self._mouth.say("fired")
            _do(self._fault.action)


def _do(action: Action) -> None:
    if action == "kill":
        signal.raise_signal(signal.SIGKILL)
    elif action == "stop":
        signal.raise_signal(signal.SIGSTOP)
    else:
        os.kill(os.getpid(), signal.SIGTERM)  # to the process and not this thread, as a supervisor would


class _Listener(logging.Handler):
    def __init__(self, mouth: _Mouth) -> None:
        super().__init__(logging.INFO)
        self._mouth = mouth

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == "worker_started":
            fields = getattr(record, "fields", {})
            self._mouth.say("started", {name: fields[name] for name in ("relearned_batches", "recovery_seconds")})


def set_clock(ahead_seconds: float) -> None:
    """Have the workers of this process take the time from a clock that is another one."""
    ahead_ms = int(ahead_seconds * 1000)
    stream.worker.Clocks = partial(Clocks, wall_ms=lambda: time.time_ns() // 1_000_000 + ahead_ms)  # type: ignore[attr-defined]


def work(settings: Settings, fault: Fault | None, log: Path, connection: Connection, sabotage: Sabotage | None) -> None:
    """Work until SIGTERM, then end the process with the code that `millstream run` would return."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    configure_logs(settings.log)
    mouth = _Mouth(connection)
    logging.getLogger("millstream").addHandler(_Listener(mouth))
    threading.Thread(target=mouth.end_with_listener, daemon=True).start()
    if sabotage is not None:
        sabotage()
    try:
        with stop_on_signals() as flag:
            flag.may_leave_at_once = True
            worker = Worker(settings, watch=_FaultyWatch(fault, mouth))
            flag.may_leave_at_once = False
            worker.run(lambda: flag.is_set)
    except MillstreamError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(LEFT_AT_ONCE)
