"""A small state with a leaf of every kind, the moment that it belongs to, and a child process that may be killed."""

import os
import warnings
from collections.abc import Callable

import numpy as np

from online_models import State
from stream.wire.position import Moment

__all__ = ["exit_status", "fork", "moment_at", "state_at"]


def state_at(epoch: int) -> State:
    return {
        "weights": np.arange(12, dtype=np.float32).reshape(3, 4) + epoch,
        "empty": np.zeros((0, 4), np.float32),
        "ids": ["ana", "", "bén"],
        "inner": {"seen": np.array([1, 2, epoch], np.int64), "is_new": True, "rate": 0.5, "steps": epoch},
        "name": "möbius",
        "random": b"\x00\xff",
    }


def moment_at(epoch: int) -> Moment:
    return Moment(
        app="millstream-0",
        topic="events",
        epoch=epoch,
        chain="0123456789abcdef",
        positions={0: 10 * epoch, 1: 2**40},
        origin=0,
        settings_since=0,
        config_hash="fedcba9876543210",
        settings={"model": {"k": 10, "scorer": "sequence"}, "evidence": {"owned": ["like"], "view": 0.3}},
        environment={"torch": "2.13.0", "device": "cpu"},
        totals={"events": 100 * epoch},
    )


def fork(work: Callable[[], int]) -> int:
    """Run `work` in a copy of this process, whose exit code it returns; return the child's process id."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of threads; the child uses none
        pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        code = work()
    finally:
        os._exit(code)


def exit_status(pid: int) -> int:
    """Return the exit code of a child; if a signal ended it, the signal's number below 0."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
