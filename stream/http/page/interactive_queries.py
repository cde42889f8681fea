"""Questions to the state, from other threads: the worker's thread answers them between two batches."""

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

__all__ = ["NoAnswer", "Questions"]

State = TypeVar("State")
Answer = TypeVar("Answer")

MOST_WAITING = 16
ANSWERS_PER_ROUND = 4
"""Questions answered between two batches: bounds what lookers can take from the stream."""


class NoAnswer(Exception):
    """Nobody will answer: too many questions wait, or the worker has ended. The text says which."""


class Questions(Generic[State]):
    """A short queue of questions; who asks never touches the state."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: deque[tuple[Callable[[State], Any], Future[Any]]] = deque()
        self._is_closed = False

    def ask(self, question: Callable[[State], Answer]) -> Future[Answer]:
        """Return the answer to come; from any thread. Cancel it when it is not awaited any longer.

        Args:
            question: runs on the worker's thread with the state between two batches; it must change nothing.

        Raises:
            NoAnswer: too many questions wait, or the worker has ended.
        """
        future: Future[Answer] = Future()
        with self._lock:
            if self._is_closed:
                raise NoAnswer("the worker is stopping")
            self._waiting = deque(entry for entry in self._waiting if not entry[1].cancelled())
            if len(self._waiting) >= MOST_WAITING:
                raise NoAnswer(f"{MOST_WAITING} questions wait for the worker already: try again in a few seconds")
            self._waiting.append((question, future))
        return future

    def answer(self, state: State) -> None:
        """Answer the questions that have waited longest; only from the thread that owns the state.

        A question that fails fails for who asked, not for the worker.
        """
        for _ in range(ANSWERS_PER_ROUND):
            with self._lock:
                if not self._waiting:
                    return
                question, future = self._waiting.popleft()
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(question(state))
            except Exception as error:
                future.set_exception(error)

    def close(self) -> None:
        """Answer nobody any more; who waits is told so."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, deque()
        for _, future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(NoAnswer("the worker is stopping"))
