"""A second thread, which takes pieces of work that do not depend on each other off the first."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

import torch

__all__ = ["Lane", "Task"]

_Result = TypeVar("_Result")


class Task(Generic[_Result]):
    """A piece of work that is done by whoever comes to it first."""

    def __init__(self, work: Callable[[], _Result], pool: ThreadPoolExecutor | None) -> None:
        self._work = work
        self._future: Future[_Result] | None = (
            pool.submit(_with_threads, torch.get_num_threads(), work) if pool else None
        )

    def result(self) -> _Result:
        """Return what the work returns or raise what it raises, once: done here where nobody has begun it yet."""
        if self._future is None or self._future.cancel():
            return self._work()
        return self._future.result()

    def leave(self) -> None:
        """See to it that the work is not done, or is over."""
        if self._future is not None and not self._future.cancel():
            self._future.exception()


def _with_threads(num_threads: int, work: Callable[[], _Result]) -> _Result:
    """Do ``work`` with as many torch threads as who gave it has, since the last bits of a sum depend on them.

    Each thread has a number of its own, which reaches MKL with the first call that asks for it and not before.
    """
    if torch.get_num_threads() != num_threads:
        torch.set_num_threads(num_threads)
    return work()


class Lane:
    """Begins work in the order given, while who gave it does something else and then what is left.

    Args:
        is_apart: there is a thread of its own; else all is left to who asks for the results.
    """

    def __init__(self, is_apart: bool) -> None:
        self._pool = ThreadPoolExecutor(1, "online-models-lane") if is_apart else None
        self._tasks: list[Task[object]] = []

    def begin(self, work: Callable[[], _Result]) -> Task[_Result]:
        """Have ``work`` done, which touches nothing that other work begun or its caller touches before the result."""
        task = Task(work, self._pool)
        self._tasks.append(task)  # type: ignore[arg-type]
        return task

    def finish(self) -> None:
        """Wait until nothing is being done any more; what was not begun is never done."""
        for task in reversed(self._tasks):  # the last first, so that the next one is not begun meanwhile
            task.leave()
        self._tasks.clear()
