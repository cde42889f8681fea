"""A deadline around calls that have none: the client's commit, abort and flush may wait for ever."""

import queue
import threading
from collections.abc import Callable

__all__ = ["DeadlineThread"]


class DeadlineThread:
    """Runs calls one at a time on a daemon thread, so that a call that never returns cannot hold the process."""

    def __init__(self, name: str) -> None:
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def run(self, call: Callable[[], None], seconds: float) -> None:
        """Run the call and wait for its end.

        Raises:
            TimeoutError: it did not end in time. It may still be running: do not use its objects again.
            BaseException: whatever the call raised.
        """
        submitted = _Call(call)
        self._calls.put(submitted)
        if not submitted.done.wait(seconds):
            raise TimeoutError(f"no answer within {seconds:g} s")
        if submitted.error is not None:
            raise submitted.error

    def stop(self) -> None:
        """Let the thread end after the call it runs."""
        self._calls.put(None)

    def _work(self) -> None:
        while (submitted := self._calls.get()) is not None:
            submitted.run()


class _Call:
    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self.done = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._call()
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()
