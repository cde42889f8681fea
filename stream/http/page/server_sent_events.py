"""Server-sent events: one tick a second to everybody who looks, a bounded number of them, a clean end.

A viewer gets the newest tick when he is ready for one, so a slow one misses some and holds nothing up. All viewers
share one question to the worker.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

import msgspec
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from stream.http.page.snapshot import Tick

__all__ = ["MOST_VIEWERS", "LiveFeed"]

MOST_VIEWERS = 16
TICK_SECONDS = 1.0
RECONNECT_MS = 2_000


class LiveFeed:
    """Everybody who looks at the page.

    Args:
        read: returns the newest tick; it comes back in a few seconds at most, so that every viewer hears something.
    """

    def __init__(self, read: Callable[[], Awaitable[Tick]]) -> None:
        self._read = read
        self._encode = msgspec.json.Encoder().encode
        self._lock = asyncio.Lock()
        self._tick: Tick | None = None
        self._read_at = 0.0
        self._ending = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self.num_viewers = 0

    def response(self) -> StreamingResponse | None:
        """Return the answer to one viewer, or None when there are too many."""
        if self.num_viewers >= MOST_VIEWERS:
            return None
        self._loop = asyncio.get_running_loop()
        self.num_viewers += 1
        return _Stream(self._events(), self._left)

    def close(self) -> None:
        """End all streams; from any thread."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._ending.set)

    def _left(self) -> None:
        self.num_viewers -= 1

    async def _events(self) -> AsyncIterator[bytes]:
        yield b"retry: %d\n\n" % RECONNECT_MS
        newest_ms = 0
        while not self._ending.is_set():
            tick = await self._newest()
            if tick.snapshot is not None:
                points = tuple(point for point in tick.snapshot.points if point.time_ms > newest_ms)
                newest_ms = points[-1].time_ms if points else newest_ms
                tick = msgspec.structs.replace(tick, snapshot=msgspec.structs.replace(tick.snapshot, points=points))
            yield b"data: %b\n\n" % self._encode(tick)  # JSON escapes every line end
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), TICK_SECONDS)

    async def _newest(self) -> Tick:
        async with self._lock:  # who comes meanwhile gets the same tick
            now = asyncio.get_running_loop().time()
            if self._tick is None or now - self._read_at >= TICK_SECONDS / 2:
                self._tick = await self._read()
                self._read_at = asyncio.get_running_loop().time()
            return self._tick


class _Stream(StreamingResponse):
    """A stream of events that tells when its viewer has left, however that came about."""

    def __init__(self, events: AsyncIterator[bytes], left: Callable[[], None]) -> None:
        super().__init__(events, media_type="text/event-stream")
        self._left = left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._left()
