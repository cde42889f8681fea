"""Who is connected to a port: how many at a time, and for how long without asking anything.

Whoever reaches a port can open connections to it, and that must cost the process nothing but these: no descriptor that
the rest of it needs, no answer of a probe. uvicorn has a deadline only for the pause between two requests, and counts
idle connections as requests; so the limits are here, below it.
"""

import asyncio
import logging
import os
import resource
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from stream.logs import log_event

__all__ = ["Bounded", "Crowd", "GuardedProtocol", "Listener", "connections_at_most", "raise_descriptor_limit"]

HEAD_SECONDS = 10.0
"""Longest wait for the whole head of a request, from the connection or from the answer before it."""
UNREAD_SECONDS = 30.0
"""Longest wait for a client that does not read its answer."""
PROBES = frozenset({"/livez", "/readyz", "/healthz"})
ADDRESS_SHARE = 7 / 8
"""Of the requests at a time: what one address gets at most, so that others always find room."""
PROBE_CONNECTIONS = 32
"""Connections beyond the limit of requests, so that a probe finds room when all others are at work."""
RESERVED_DESCRIPTORS = 128
"""For brokers, checkpoints, logs and modules: never given to connections."""
FEWEST_CONNECTIONS = 16
MOST_DESCRIPTORS = 65_536
SAY_AGAIN_SECONDS = 60.0


def raise_descriptor_limit() -> int:
    """Raise the soft limit of open files to the hard one, as far as that is of use, and return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return soft


def connections_at_most(wanted: int) -> int:
    """Return how many of the wanted connections the limit of open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return min(wanted, max(FEWEST_CONNECTIONS, soft - RESERVED_DESCRIPTORS - PROBE_CONNECTIONS))


class Connection(socket.socket):
    """One that was accepted; its crowd knows of it until it is closed."""

    crowd: "Crowd"
    address: str
    is_busy: bool = False
    """A request of it is being answered."""

    def close(self) -> None:
        """Close it, and make room for another."""
        self.crowd.leave(self)
        super().close()


class Crowd:
    """The connections of one port.

    When there are as many as may be, an idle one makes room: the one that has been idle for longest, of the address
    that holds most. So who only holds connections loses his own, whatever their number.

    Args:
        most: connections at a time; `PROBE_CONNECTIONS` more while all of them are being answered.
        section: where the port's settings are, for the log.
        tell: is told how many there are, after each change.
    """

    def __init__(self, most: int, section: str, tell: Callable[[int], None]) -> None:
        self._most, self._section, self._tell = most, section, tell
        self._open: dict[int, Connection] = {}  # by descriptor, the longest idle first
        self._leaving: dict[int, Connection] = {}
        self._said_at = -SAY_AGAIN_SECONDS

    def __len__(self) -> int:
        return len(self._open)

    def room(self) -> int:
        """Return how many more may be accepted now; 0 while those who were told to leave have not left."""
        return self._most + PROBE_CONNECTIONS - len(self._open) - len(self._leaving)

    def is_leaving(self) -> bool:
        """Return whether somebody was told to leave and has not yet."""
        return bool(self._leaving)

    def enter(self, connection: Connection) -> None:
        """Take one in; for one too many, another one has to leave."""
        connection.crowd = self
        if len(self._open) >= self._most:
            self._say_it_is_full()
            self._end_an_idle_one()
        self._open[connection.fileno()] = connection
        self._tell(len(self._open) + len(self._leaving))

    def leave(self, connection: Connection) -> None:
        """Forget one."""
        for known in (self._open, self._leaving):
            if known.get(connection.fileno()) is connection:
                del known[connection.fileno()]
        self._tell(len(self._open) + len(self._leaving))

    def at(self, descriptor: int) -> Connection | None:
        """Return the connection with this descriptor."""
        return self._open.get(descriptor)

    def became_idle(self, connection: Connection) -> None:
        """Put one behind those that have been idle for longer."""
        connection.is_busy = False
        if self._open.pop(connection.fileno(), None) is not None:
            self._open[connection.fileno()] = connection

    def _end_an_idle_one(self) -> None:
        idle = [connection for connection in self._open.values() if not connection.is_busy]
        if not idle:
            return
        largest = Counter(connection.address for connection in idle).most_common(1)[0][0]
        ended = next(connection for connection in idle if connection.address == largest)
        self._leaving[ended.fileno()] = self._open.pop(ended.fileno())
        with suppress(OSError):  # its client has left by itself
            ended.shutdown(socket.SHUT_RDWR)  # whoever reads from it closes it, with or without TLS

    def _say_it_is_full(self) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_AGAIN_SECONDS:
            self._said_at = now
            hint = "the longest idle ones of who holds most are ended; let only those reach this port that should"
            log_event(logging.WARNING, "connections_full", section=self._section, most=self._most, hint=hint)


class Listener(socket.socket):
    """A listening socket that accepts no more connections than its crowd has room for."""

    crowd: Crowd

    def accept(self) -> tuple[socket.socket, Any]:
        """Accept one.

        Raises:
            BlockingIOError: none waits, or there is no room for it yet: asyncio asks again in its next round, when
                who was told to leave has left.
        """
        has_room = self.crowd.room() > 0
        if not has_room and self.crowd.is_leaving():
            raise BlockingIOError
        descriptor, address = self._accept()  # type: ignore[attr-defined]  # what socket.socket.accept is made of
        if not has_room:  # all are being answered, probes too
            os.close(descriptor)
            raise BlockingIOError
        connection = Connection(self.family, self.type, self.proto, fileno=descriptor)
        connection.address = str(address[0]) if isinstance(address, tuple) else ""
        self.crowd.enter(connection)
        return connection, address


class GuardedProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, which ends a connection that sends no head, or does not read its answer, in time.

    Args:
        crowd: of the port.
        more: of uvicorn.
    """

    def __init__(self, crowd: Crowd, **more: Any) -> None:
        super().__init__(**more)
        self._crowd = crowd
        self._connection: Connection | None = None
        self._for_head: asyncio.TimerHandle | None = None
        self._for_reading: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a head."""
        super().connection_made(transport)  # type: ignore[arg-type]
        self._connection = self._crowd.at(transport.get_extra_info("socket").fileno())
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        for timer in (self._for_head, self._for_reading):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        """Take in what came: perhaps a whole head."""
        super().handle_events()
        self._look()

    def on_response_complete(self) -> None:
        """Wait for the next head."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """Wait for the client to read; a client that never does would hold its answer for ever."""
        super().pause_writing()
        if self._for_reading is None:
            self._for_reading = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)
        self._look()

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        if self._for_reading is not None:
            self._for_reading.cancel()
            self._for_reading = None
        self._look()

    def _look(self) -> None:
        is_asking = self.cycle is not None and not self.cycle.response_complete
        is_busy = is_asking or self._for_reading is not None
        if is_busy and self._for_head is not None:
            self._for_head.cancel()
            self._for_head = None
        elif not is_busy and self._for_head is None:
            # Aborted and not closed: closing waits for what the client has not read.
            self._for_head = self.loop.call_later(HEAD_SECONDS, self.transport.abort)
        if self._connection is None or self._connection.is_busy == is_busy:
            return
        if is_busy:
            self._connection.is_busy = True
        else:
            self._crowd.became_idle(self._connection)


class Bounded:
    """Refuses requests beyond a number, and a share of it for one address, with 503, but never a probe (ASGI).

    Args:
        app: what answers.
        most: requests at a time.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app, self._most = app, most
        self._most_of_one = max(1, int(most * ADDRESS_SHARE))
        self._running = Counter[str]()  # by address

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        client = scope.get("client")
        address = client[0] if client else ""
        if self._running.total() >= self._most or self._running[address] >= self._most_of_one:
            refused = PlainTextResponse("too many requests at a time\n", 503, {"retry-after": "1"})
            await refused(scope, receive, send)
            return
        self._running[address] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._running[address] -= 1
            if not self._running[address]:
                del self._running[address]
