"""A way to the broker that can be cut, slowed down, blocked, and made to lose or repeat a request, or to lie about it.

It knows just enough of Kafka's protocol for that: which request a frame is, and where an answer names the broker's
address, which it replaces by its own, so that clients come back to it.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections import defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

PRODUCE, FETCH, METADATA, OFFSET_FETCH, FIND_COORDINATOR = 0, 1, 3, 9, 10
INIT_PRODUCER_ID, ADD_PARTITIONS, END_TXN, TXN_OFFSET_COMMIT = 22, 24, 26, 28
FLEXIBLE = {PRODUCE: 9, INIT_PRODUCER_ID: 2, END_TXN: 3}
"""Of a kind of request whose answer can be given a code: the first version whose answers have tags."""
HOST = "127.0.0.1"
DEADLINE_SECONDS = 60.0

What = Literal["cut_before", "lose_answer", "hold", "repeat", "half_open"]


@dataclass(eq=False)
class Fault:
    """What happens to one request, once.

    `cut_before`: it does not reach the broker, and the connection is reset. `lose_answer`: it does, the broker answers,
    and the connection is reset instead. `hold`: it waits for `release`, and then reaches the broker, even when whoever
    sent it is gone. `repeat`: the broker gets it on a connection of its own first, and then again. `half_open`: neither
    it nor anything after it on this connection reaches the broker, and the client is not told.
    """

    api_key: int
    what: What
    skip: int = 0
    """So many requests of this kind pass before."""
    came: threading.Event = field(default_factory=threading.Event)
    released: threading.Event = field(default_factory=threading.Event)
    answered: threading.Event = field(default_factory=threading.Event)
    """The broker has answered a request that was held."""

    def release(self) -> None:
        self.released.set()
        assert self.answered.wait(DEADLINE_SECONDS), "the broker did not answer what was held"


class Proxy:
    """Forwards connections to a broker on this machine until `close`.

    Args:
        broker_port: where it listens.
        tls: the server's side of TLS towards clients; None: none.
    """

    def __init__(self, broker_port: int, tls: ssl.SSLContext | None = None) -> None:
        self._broker_port = broker_port
        self._tls = tls
        self._faults: list[Fault] = []
        self._connections: set[_Connection] = set()
        self.delay_seconds = 0.0
        """How long every answer takes longer."""
        self.codes: dict[int, list[int]] = defaultdict(list)
        """Of a kind of request: error codes that its next answers have instead of their own."""
        self.is_blocked = False
        """Connections are accepted and stay open, and nothing goes through."""
        self._loop = asyncio.new_event_loop()
        self._socket = socket.create_server((HOST, 0), backlog=128)
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    @property
    def bootstrap_servers(self) -> str:
        return f"{HOST}:{self.port}"

    def inject(self, api_key: int, what: What, *, skip: int = 0) -> Fault:
        """Have one of the next requests fail."""
        fault = Fault(api_key, what, skip)
        self._faults.append(fault)
        return fault

    def calm(self) -> None:
        """Let everything through from here on, but for what is under way."""
        self.delay_seconds = 0.0
        self._faults.clear()
        self.codes.clear()

    def cut(self) -> None:
        """Reset all connections."""
        for connection in list(self._connections):
            self._soon(connection.reset)

    def close(self) -> None:
        self._soon(self._loop.stop)
        self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fault_of(self, api_key: int) -> Fault | None:
        """Return what this request meets."""
        for fault in self._faults:
            if fault.api_key == api_key:
                if not fault.skip:
                    self._faults.remove(fault)
                    return fault
                fault.skip -= 1
        return None

    def renamed(self, api_key: int, answer: bytes) -> bytes:
        """Return an answer with our port for the broker's; host and port stand side by side in every version."""
        if api_key not in (METADATA, FIND_COORDINATOR):
            return answer
        host = HOST.encode()
        return answer.replace(host + struct.pack(">i", self._broker_port), host + struct.pack(">i", self.port))

    def coded(self, api_key: int, version: int, answer: bytes) -> bytes:
        """Return an answer with the next error code of its kind, if there is one."""
        if not self.codes.get(api_key):
            return answer
        # Size and number, and in the versions that have them tags; throttle time, and then the code; or where a
        # record goes: of the first partition of the first topic.
        place = 8 + (version >= FLEXIBLE[api_key])
        if api_key != PRODUCE:
            place += 4
        elif version >= FLEXIBLE[PRODUCE]:
            place += 1 + answer[place + 1] + 1 + 4  # number of topics; length + 1 and name; number of partitions; which
        else:
            place += 4 + 2 + int.from_bytes(answer[place + 4 : place + 6]) + 4 + 4
        return answer[:place] + struct.pack(">h", self.codes[api_key].pop(0)) + answer[place + 2 :]

    async def repeat(self, frame: bytes) -> None:
        """Have the broker answer a request on a connection of its own."""
        reader, writer = await asyncio.open_connection(HOST, self._broker_port)
        writer.write(frame)
        await _frame(reader)
        writer.close()

    def _soon(self, call: Callable[[], Any]) -> None:
        self._loop.call_soon_threadsafe(call)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._accept, sock=self._socket, ssl=self._tls))
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        for connection in list(self._connections):
            connection.reset()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # the broker is away: so is the proxy
            upstream = await asyncio.open_connection(HOST, self._broker_port)
            connection = _Connection(self, (reader, writer), upstream)
            self._connections.add(connection)
            await connection.serve()
            self._connections.discard(connection)
        writer.close()


class _Connection:
    """One client's connection, and ours to the broker."""

    def __init__(self, proxy: Proxy, client: Any, broker: Any) -> None:
        self._proxy = proxy
        self._from_client, self._to_client = client
        self._from_broker, self._to_broker = broker
        self._asked: dict[int, tuple[int, int, Fault | None]] = {}
        self._is_half_open = False

    async def serve(self) -> None:
        """Forward until one side ends; a request that is held keeps the way to the broker open."""
        await asyncio.gather(_until_cut(self._requests()), _until_cut(self._answers()))

    def reset(self) -> None:
        """End both connections with a reset."""
        for writer in (self._to_client, self._to_broker):
            # One that has just ended by itself has no socket any more, and with TLS not even one to ask for it.
            with contextlib.suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def _requests(self) -> None:
        try:
            while True:
                frame = await _frame(self._from_client)
                api_key, version, number = struct.unpack(">hhi", frame[4:12])
                fault = self._proxy.fault_of(api_key)
                self._asked[number] = api_key, version, fault
                if fault is not None:
                    fault.came.set()
                if fault is not None and fault.what == "cut_before":
                    self.reset()
                    return
                if fault is not None and fault.what == "half_open":
                    self._is_half_open = True
                    self._to_broker.close()
                    while True:
                        await _frame(self._from_client)
                if fault is not None and fault.what == "repeat":
                    await self._proxy.repeat(frame)
                while self._proxy.is_blocked or (
                    fault is not None and fault.what == "hold" and not fault.released.is_set()
                ):
                    await asyncio.sleep(0.02)
                self._to_broker.write(frame)
                await self._to_broker.drain()
                if fault is not None and fault.what == "hold":
                    await asyncio.sleep(0)
                    while not fault.answered.is_set():
                        await asyncio.sleep(0.02)
        finally:
            self._to_broker.close()

    async def _answers(self) -> None:
        try:
            while True:
                frame = await _frame(self._from_broker)
                (number,) = struct.unpack(">i", frame[4:8])
                api_key, version, fault = self._asked.pop(number)
                if fault is not None:
                    fault.answered.set()
                    if fault.what == "lose_answer":
                        self.reset()
                        return
                await asyncio.sleep(self._proxy.delay_seconds)
                while self._proxy.is_blocked:
                    await asyncio.sleep(0.02)
                self._to_client.write(self._proxy.renamed(api_key, self._proxy.coded(api_key, version, frame)))
                await self._to_client.drain()
        finally:
            if not self._is_half_open:
                self._to_client.close()


async def _frame(reader: asyncio.StreamReader) -> bytes:
    size = await reader.readexactly(4)
    return size + await reader.readexactly(struct.unpack(">i", size)[0])


async def _until_cut(forwarding: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
        await forwarding
