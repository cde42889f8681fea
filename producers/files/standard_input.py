"""Standard input that can be left: a wait for the next line ends when the flag is set."""

import io
import os
import select
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO, TypeVar

from producers.shutdown import StopFlag

__all__ = ["Stopped", "stoppable", "until_stopped"]

LOOK_SECONDS = 0.1
"""How long a stop may go unnoticed."""
T = TypeVar("T")


class Stopped(Exception):
    """The flag was set while more was waited for."""


def stoppable(descriptor: int, flag: StopFlag) -> BinaryIO:
    """Return what comes from a descriptor, as a stream that raises `Stopped` once the flag is set.

    A signal handler that only sets a flag does not end a read: it would wait for a line that may never come. And the
    end of the stream would not do, as half a line would then pass for a whole one.
    """
    return io.BufferedReader(_Raw(descriptor, flag))


def until_stopped(values: Iterable[T]) -> Iterator[T]:
    """Yield values that are read from a stoppable stream, and end where it was stopped."""
    try:
        yield from values
    except Stopped:
        return


class _Raw(io.RawIOBase):
    def __init__(self, descriptor: int, flag: StopFlag) -> None:
        self._descriptor, self._flag = descriptor, flag

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not select.select([self._descriptor], [], [], LOOK_SECONDS)[0]:
            if self._flag.is_set:
                raise Stopped
        return os.readv(self._descriptor, [buffer])
