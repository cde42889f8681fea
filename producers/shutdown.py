"""Ctrl-C and SIGTERM become a flag that a loop looks at, so that nothing is cut off in the middle."""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["StopFlag", "stop_on_signals"]

LONGEST_NAP_SECONDS = 0.1


class StopFlag:
    """Whether to stop.

    A plain attribute and not a `threading.Event`: setting one of those in a signal handler can wait for a lock that the
    interrupted code holds.
    """

    def __init__(self) -> None:
        self.is_set = False
        self.may_leave_at_once = False
        """While this is set a signal raises `SystemExit(0)` on the spot: nothing has begun that must be ended."""

    def sleep(self, seconds: float) -> None:
        """Sleep, but wake up soon after the flag is set."""
        end = time.monotonic() + seconds
        while not self.is_set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LONGEST_NAP_SECONDS))


@contextmanager
def stop_on_signals(notify: Callable[[], None] = lambda: None) -> Iterator[StopFlag]:
    """Yield a flag that the first Ctrl-C or SIGTERM sets. The second one raises `KeyboardInterrupt`.

    Only the main thread may enter this. The former handlers come back at the end.

    Args:
        notify: called when the flag is set, to tell somebody.
    """
    flag = StopFlag()

    def on_signal(number: int, frame: FrameType | None) -> None:
        if flag.is_set:
            raise KeyboardInterrupt
        flag.is_set = True
        notify()
        if flag.may_leave_at_once:
            raise SystemExit(0)

    former = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
