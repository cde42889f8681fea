"""Bodies that never end take a bounded part of the memory, and it comes back."""

import socket
from contextlib import ExitStack
from typing import Any

import pytest

from stream.http.api import event_routes
from stream.http.api.event_routes import BytesInFlight
from stream.http.api.problem_details import Problem
from tests.support.servers import serving, settings_on, until

EVENT = {"user": "ana", "item": "a", "type": "click"}
HEAD = (
    b"POST /v1/events HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
)


def test_bytes_of_all_bodies_are_bounded_together_and_one_alone_is_let_through() -> None:
    told: list[int] = []
    in_flight = BytesInFlight(100, told.append)
    in_flight.take(150, 0)  # serve.max_body_bytes may be more than the bound

    with pytest.raises(Problem, match="100 bytes of bodies wait"):
        in_flight.take(1, 0)
    in_flight.take(10, 150)  # of the same body
    in_flight.give_back(160)

    in_flight.take(60, 0)
    with pytest.raises(Problem):
        in_flight.take(41, 0)
    in_flight.take(40, 0)
    assert in_flight.held == told[-1] == 100
    assert told[3] == 60


def test_unfinished_bodies_beyond_the_bound_are_refused_and_give_their_room_back(
    broker: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_routes, "MAX_BYTES_IN_FLIGHT", 100_000)
    with serving(settings_on(broker.bootstrap_servers)) as client:
        with ExitStack() as stack:
            for _ in range(3):
                slow = stack.enter_context(socket.create_connection(("127.0.0.1", client.port)))
                slow.sendall(HEAD + b"x" * 33_333)
            until(lambda: client.post(EVENT).status == 503)
            assert client.post(EVENT).problem() == "not-written"
        until(lambda: client.post(EVENT).status == 202)
