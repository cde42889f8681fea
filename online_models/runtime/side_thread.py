"""A second thread, which takes pieces of work that do not depend on each other off the first."""

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Generic, TypeVar

import torch

__all__ = ["Lane", "Task"]

_Result_co = TypeVar("_Result_co", covariant=True)


class Task(Generic[_Result_co]):
    """A piece of work that is done once, by whoever comes to it first.

    It touches nothing that other work begun or the caller of ``Lane.begin`` touches before its result, but what
    ``after`` touches, which is done first.
    """

    def __init__(self, work: Callable[[], _Result_co], after: "Task[object] | None" = None) -> None:
        self._work: Callable[[], _Result_co] | None = work
        self._after = after
        self._lock = Lock()
        self._results: list[_Result_co] = []
        self._error: BaseException | None = None

    def result(self) -> _Result_co:
        """Return what the work returns or raise what it raises: done here where nobody has begun it yet."""
        with self._lock:
            self._do()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def take(self) -> None:
        """Do the work, unless somebody has begun it."""
        if self._lock.acquire(blocking=False):
            try:
                self._do()
            finally:
                self._lock.release()

    def leave(self) -> None:
        """See to it that the work is not done, or is over."""
        with self._lock:
            self._work = None

    def _do(self) -> None:
        work, self._work = self._work, None
        if work is None:
            return
        try:
            if self._after is not None:
                self._after.result()
            self._results.append(work())
        except BaseException as error:
            self._error = error


class Lane:
    """Does tasks in the order given, while who gave them does something else and then what is left.

    Args:
        is_apart: there is a thread of its own; else all is left to who asks for the results.
    """

    def __init__(self, is_apart: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "online-models-lane") if is_apart else None
        self._tasks: Sequence[Task[object]] = ()
        self._round: Future[None] | None = None

    def begin(self, tasks: Sequence[Task[object]]) -> None:
        """Have ``tasks`` done; the ones before are finished."""
        self._tasks = tasks
        if self._pool:
            self._round = self._pool.submit(_take_all, torch.get_num_threads(), tasks)

    def finish(self) -> None:
        """Wait until nothing is being done any more; what was not begun is never done."""
        for task in reversed(self._tasks):  # the last first, so that the next one is not begun meanwhile
            task.leave()
        if self._round:
            self._round.result()
        self._tasks, self._round = (), None


def _take_all(num_threads: int, tasks: Sequence[Task[object]]) -> None:
    """Do what is left of ``tasks`` with as many torch threads as who gave them has: last bits of sums depend on it.

    Each thread has a number of its own, which reaches MKL with the first call that asks for it and not before.
    """
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
    for task in tasks:
        task.take()
