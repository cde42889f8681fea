"""Who reaches a port can hold connections to it, and stops nothing with that."""

import asyncio
import http.client
import resource
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from stream.config.settings import MetricsSettings
from stream.http import connections
from stream.http.connections import connections_at_most
from stream.http.probe_server import HttpServer

pytestmark = pytest.mark.slow

HALF_A_HEAD = b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX-Slow: "


def request(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


async def well(_: Request) -> Response:
    return PlainTextResponse("well")


async def large(_: Request) -> Response:
    return PlainTextResponse("x" * 50_000_000)


async def slow(_: Request) -> Response:
    await asyncio.sleep(60)
    return PlainTextResponse("at last")


@contextmanager
def serving(most: int, tell: Callable[[int], None] = lambda _: None) -> Iterator[HttpServer]:
    paths = {"/livez": well, "/other": well, "/large": large, "/slow": slow}
    app = Starlette(routes=[Route(path, answer) for path, answer in paths.items()])
    server = HttpServer(app, MetricsSettings(port=0), most_requests=most, tell_connections=tell)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def held(port: int, number: int, sent: bytes = b"") -> Iterator[list[socket.socket]]:
    clients: list[socket.socket] = []
    try:
        for _ in range(number):
            clients.append(socket.create_connection(("127.0.0.1", port), timeout=10))
            if sent:
                with suppress(OSError):  # ended already, to make room
                    clients[-1].sendall(sent)
        yield clients
    finally:
        for client in clients:
            client.close()


def status(port: int, path: str, client: str = "127.0.0.1") -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10, source_address=(client, 0))
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def is_ended(client: socket.socket) -> bool:
    client.settimeout(0.0)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize("sent", [b"", HALF_A_HEAD], ids=["idle", "half a head"])
def test_every_request_is_answered_however_many_connections_are_held(sent: bytes) -> None:
    with serving(most=20) as server, held(server.port, 200, sent) as clients:
        assert status(server.port, "/livez") == 200
        assert status(server.port, "/other") == 200
        until(lambda: sum(map(is_ended, clients)) >= 200 - 20)


def test_a_head_that_does_not_come_in_time_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.3)
    with serving(most=20) as server:
        with held(server.port, 1) as idle, held(server.port, 1, HALF_A_HEAD) as half:
            until(lambda: is_ended(idle[0]) and is_ended(half[0]))
        with held(server.port, 1, request("/livez") + HALF_A_HEAD) as second:
            assert second[0].recv(10_000).startswith(b"HTTP/1.1 200")
            until(lambda: is_ended(second[0]))


def test_a_head_that_comes_byte_by_byte_has_no_more_time_than_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.5)
    with serving(most=20) as server, held(server.port, 1, HALF_A_HEAD) as clients:
        began = time.monotonic()
        while not is_ended(clients[0]):
            assert time.monotonic() - began < 10
            with suppress(OSError):
                clients[0].send(b"x")
            time.sleep(0.05)


def test_an_answer_that_nobody_reads_ends_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "UNREAD_SECONDS", 0.3)
    with serving(most=1) as server, held(server.port, 1, request("/large")):
        until(lambda: status(server.port, "/other") == 200)  # the only place is free again


def test_probes_are_answered_while_all_requests_are_at_work() -> None:
    with serving(most=3) as server, held(server.port, 3, request("/slow")):
        until(lambda: status(server.port, "/other") == 503)
        assert status(server.port, "/livez") == 200


def test_one_address_does_not_get_all_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "ADDRESS_SHARE", 0.5)
    with serving(most=6) as server, held(server.port, 3, request("/slow")):
        until(lambda: status(server.port, "/other") == 503)
        assert status(server.port, "/livez") == 200
        assert status(server.port, "/other", "127.0.0.2") == 200


def test_how_many_connections_there_are_is_told() -> None:
    told = [0]
    with serving(most=20, tell=told.append) as server:
        with held(server.port, 7):
            until(lambda: told[-1] == 7)
        until(lambda: told[-1] == 0)


def test_a_request_that_is_being_answered_is_never_ended_to_make_room() -> None:
    with serving(most=5) as server, held(server.port, 1, request("/large")) as reader:
        assert reader[0].recv(100).startswith(b"HTTP/1.1 200")
        with held(server.port, 50):
            assert status(server.port, "/livez") == 200
            reader[0].settimeout(10)
            num_bytes = 0
            while num_bytes < 49_000_000:
                num_bytes += (got := len(reader[0].recv(1_000_000)))
                assert got


def test_connections_leave_descriptors_for_the_rest_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    def limits(soft: int) -> None:
        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, resource.RLIM_INFINITY))

    limits(1_024)
    assert connections_at_most(2_000) == 1_024 - 128 - 32
    assert connections_at_most(256) == 256
    limits(64)
    assert connections_at_most(256) == 16
    limits(resource.RLIM_INFINITY)
    assert connections_at_most(2_000) == 2_000
