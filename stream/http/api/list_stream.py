"""Following one user over HTTP: Server-Sent Events, the list of now first, then each new one."""

import asyncio
from collections.abc import Callable
from typing import Any

from starlette.types import Receive, Scope, Send

from stream.http.api.materialized_lists import ListView
from stream.http.api.problem_details import Problem

__all__ = ["ListStream", "StreamClients"]

SEND_SECONDS = 30.0
"""A client that takes nothing for this long is let go."""
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # a proxy such as nginx passes each event on at once
]


class StreamClients:
    """Who follows now: so many at most, and all are let go at the end.

    Args:
        max_clients: most at a time.
    """

    def __init__(self, max_clients: int) -> None:
        self._max_clients = max_clients
        self._wake: set[Callable[[], None]] = set()
        self.is_closed = False

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._wake)

    def enter(self, wake: Callable[[], None]) -> None:
        """Count a client that can be woken from any thread.

        Raises:
            Problem: there are too many.
        """
        if self.is_closed:
            raise Problem("stopping", "ask another replica, or again in a moment", {"retry-after": "1"})
        if len(self._wake) >= self._max_clients:
            expected = f"at most {self._max_clients} clients (serve.max_stream_clients)"
            raise Problem("too-many-streams", f"expected {expected}: come again later", {"retry-after": "30"})
        self._wake.add(wake)

    def leave(self, wake: Callable[[], None]) -> None:
        """The client is gone."""
        self._wake.discard(wake)

    def close(self) -> None:
        """Let everybody go."""
        self.is_closed = True
        for wake in list(self._wake):
            wake()


class ListStream:
    """One client that follows one user (an ASGI application). What it has not taken yet is replaced by what is newer.

    Args:
        view: where the lists are.
        clients: to be counted among.
        user: whom it follows.
        shape: what to send of a list's value.
        version: the id of a value; what a client has (`Last-Event-ID`) is not sent again.
        last_id: what the client has.
        heartbeat_seconds: after so much silence a comment is sent, so that proxies and clients see that we live.
    """

    # More than six parameters: it is what one request says, and what it is answered from.
    def __init__(
        self,
        view: ListView,
        clients: StreamClients,
        user: str,
        *,
        shape: Callable[[bytes], bytes],
        version: Callable[[bytes], str],
        last_id: str | None,
        heartbeat_seconds: float,
    ) -> None:
        self._view, self._clients, self._user = view, clients, user
        self._shape, self._version = shape, version
        self._shown: str | None = last_id
        self._heartbeat_seconds = heartbeat_seconds
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        clients.enter(self._wake)

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._changed.set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client leaves or the server stops."""
        gone = asyncio.ensure_future(_until_gone(receive))
        self._view.watch(self._user, self._wake)
        try:
            await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            await self._send(send, b"retry: 2000\n\n")
            while not gone.done() and not self._clients.is_closed:
                self._changed.clear()  # before looking: what changes from here on wakes us again
                await self._send(send, self._news())
                await self._sleep(gone)
            await send({"type": "http.response.body", "body": b""})
        except (TimeoutError, OSError):
            pass  # it takes nothing any more: returning without an end closes the connection
        finally:
            gone.cancel()
            self._view.unwatch(self._user, self._wake)
            self._clients.leave(self._wake)

    def _news(self) -> bytes:
        value = self._view.get(self._user)
        version = None if value is None else self._version(value)
        if version == self._shown:
            return b": still here\n\n"
        self._shown = version
        if value is None or version is None:
            return b"event: erased\nid:\ndata: {}\n\n"
        data = self._shape(value).replace(b"\r", b" ").replace(b"\n", b" ")  # a line break would end the field
        return b"event: list\nid: " + version.encode() + b"\ndata: " + data + b"\n\n"

    async def _sleep(self, gone: "asyncio.Future[None]") -> None:
        changed: asyncio.Future[Any] = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait([changed, gone], timeout=self._heartbeat_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            changed.cancel()

    async def _send(self, send: Send, body: bytes) -> None:
        await asyncio.wait_for(send({"type": "http.response.body", "body": body, "more_body": True}), SEND_SECONDS)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
