"""The page over a real port: what it serves, to whom, and what it says when it cannot."""

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest

from stream.http.page import page as page_module
from stream.http.page import server_sent_events
from tests.support.worked import Worked

DEADLINE_SECONDS = 60.0
PATHS = ("/", "/page/page.css", "/page/page.js", "/page/icon.svg", "/page/events", "/page/user?id=u1")
LOCAL = {"metrics": {"port": 0}}


@pytest.fixture(autouse=True)
def _no_topic_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.http.page.item_titles.Titles.of", lambda self, items: {})


def request(
    port: int, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        body = b"" if answer.getheader("content-type", "").startswith("text/event-stream") else answer.read()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, body


@contextmanager
def stream_of(port: int) -> Iterator[Any]:
    """Lend a stream of server-sent events whose next one `next_tick` returns."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)) as connection:
        connection.request("GET", "/page/events")
        yield connection.getresponse()


def next_tick(stream: Any) -> dict[str, Any] | None:
    """Return the next event, or None when the stream has ended."""
    while line := stream.readline():
        if line.startswith(b"data: "):
            return dict(json.loads(line[6:]))
    return None


def next_full_tick(stream: Any) -> dict[str, Any]:
    """Return the next event that has figures: a machine under load may have none in time."""
    while (tick := next_tick(stream)) is not None:
        if tick["snapshot"] is not None:
            return tick
    raise AssertionError("the stream has ended")


def test_everything_is_served_from_here_and_says_that_nothing_else_may_run() -> None:
    with Worked(**LOCAL).served() as port:
        for path in PATHS:
            status, headers, body = request(port, path)
            assert status == 200, path
            policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
            assert policy["default-src"] == "'none'"
            assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
            assert headers["x-content-type-options"] == "nosniff"
            assert not [name for name in headers if name.startswith("access-control-")]
            assert b"http://" not in body.replace(b"http://www.w3.org/2000/svg", b""), path
            assert b"https://" not in body, path


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_only_get_is_answered(method: str) -> None:
    with Worked(**LOCAL).served() as port:
        for path in PATHS:
            status, headers, _ = request(port, path, method)
            assert status == 405, path
            assert "GET" in headers["allow"]


def test_a_request_that_names_another_host_is_refused() -> None:
    with Worked(**LOCAL).served() as port:
        for path in PATHS:
            assert request(port, path, headers={"host": "evil.example"})[0] == 421, path
        assert request(port, "/livez", headers={"host": "evil.example"})[0] == 200


@pytest.mark.slow
def test_a_user_is_looked_up_and_an_id_of_any_text_is_only_an_id() -> None:
    worked = Worked(**LOCAL)
    worked.send(24)
    with worked.served() as port:
        until(lambda: json.loads(request(port, "/page/user?id=u1")[2])["is_known"], 0.5)

        status, headers, body = request(port, "/page/user?id=u1")
        assert (status, headers["content-type"]) == (200, "application/json")
        assert len(json.loads(body)["places"]) == 3
        time.sleep(1)  # lookups are rationed
        unknown = json.loads(request(port, "/page/user?id=%3Cscript%3E%2F..%2F%F0%9F%98%80%00")[2])
        assert (unknown["user"], unknown["is_known"]) == ("<script>/../😀\0", False)


@pytest.mark.parametrize("query", ["", "?id=", "?id=" + "x" * 257, "?other=u1"])
def test_what_is_no_user_id_is_refused_with_what_was_expected(query: str) -> None:
    with Worked(**LOCAL).served() as port:
        status, _, body = request(port, f"/page/user{query}")

    assert (status, json.loads(body)) == (400, {"error": "id: expected a user id of 1 to 256 bytes"})


def test_too_many_lookups_are_turned_away_for_a_moment() -> None:
    worked = Worked(**LOCAL)  # its clock stands still
    with worked.served() as port:
        answers = [request(port, "/page/user?id=u1") for _ in range(11)]

    assert [status for status, _, _ in answers] == [200] * 10 + [429]
    assert answers[-1][1]["retry-after"] == "1"


def test_a_busy_worker_is_a_503_in_time_that_says_what_it_is_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "LOOKUP_SECONDS", 0.2)
    monkeypatch.setattr(page_module, "SNAPSHOT_SECONDS", 0.2)
    worked = Worked(**LOCAL)
    worked.health.stopping()
    worked.health.starting("re-learning epoch 7 of 9")
    monkeypatch.setattr(worked, "round", lambda: None)  # nobody answers
    with worked.served() as port:
        status, headers, body = request(port, "/page/user?id=u1")
        with stream_of(port) as stream:
            tick = next_tick(stream)

    assert (status, headers["retry-after"]) == (503, "2")
    assert "re-learning epoch 7 of 9" in json.loads(body)["error"]
    assert tick is not None
    assert (tick["is_ready"], tick["phase"], tick["snapshot"]) == (False, "re-learning epoch 7 of 9", None)


@pytest.mark.slow
def test_the_stream_tells_more_as_events_come_and_sends_each_point_once() -> None:
    worked = Worked(**LOCAL)
    with worked.served() as port, stream_of(port) as stream:
        first = next_full_tick(stream)
        worked.send(16)
        times: list[int] = []
        deadline = time.monotonic() + DEADLINE_SECONDS
        tick = first
        while tick["snapshot"]["num_events"] < 16 or len(times) < 3:
            assert time.monotonic() < deadline
            times += [point[0] for point in tick["snapshot"]["points"]]
            worked.clock.advance(1.0)
            tick = next_full_tick(stream)

    assert first["snapshot"]["num_events"] == 0
    assert tick["snapshot"]["epochs"][0]["epoch"] == 2
    assert tick["has_users"]
    assert times == sorted(set(times))


def test_viewers_are_bounded_and_one_who_leaves_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_sent_events, "MOST_VIEWERS", 2)
    with Worked(**LOCAL).served() as port:
        with stream_of(port) as one, stream_of(port) as two:
            assert next_tick(one) is not None
            assert next_tick(two) is not None
            assert request(port, "/page/events")[0] == 503
            assert request(port, "/")[0] == 200
        until(lambda: request(port, "/page/events")[0] == 200, 0.1)


def test_at_the_end_every_stream_ends_and_the_port_closes_at_once() -> None:
    worked = Worked(**LOCAL)
    with worked.served() as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_SECONDS)
        connection.request("GET", "/page/events")
        stream = connection.getresponse()
        assert next_tick(stream) is not None
        began = time.monotonic()

    while next_tick(stream) is not None:
        pass  # what was on its way
    assert time.monotonic() - began < 10
    connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(("host", "page", "shows"), [
    ("127.0.0.1", "auto", True), ("0.0.0.0", "auto", False), ("0.0.0.0", "full", True), ("127.0.0.1", "numbers", False),
])  # fmt: skip
def test_users_are_shown_where_only_this_machine_can_look_or_where_it_is_asked_for(
    host: str, page: str, shows: bool
) -> None:
    worked = Worked(metrics={"port": 0, "host": host, "page": page})
    worked.send(16)
    with worked.served() as port:
        with stream_of(port) as stream:
            until(lambda: next_full_tick(stream)["snapshot"]["num_events"] == 16, 0.0)
            tick = next_full_tick(stream)
        status, _, body = request(port, "/page/user?id=u1")

    assert tick["has_users"] is shows
    assert bool(tick["snapshot"]["newest_users"]) is shows
    assert status == (200 if shows else 403)
    assert shows or "metrics.page=full" in json.loads(body)["error"]


def until(holds: Any, pause_seconds: float) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(pause_seconds)
