"""The server on a real broker: lists out, events in, and who is refused what."""

import gzip
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from stream.config.settings import EventSettings, Settings
from stream.ingest.decode import Decoder
from stream.log.kafka import EventProducer
from stream.wire.decisions import Decisions
from stream.wire.records import Record
from stream.wire.schema import Event
from tests.support.servers import JSON, Client, list_bytes, publish, records_in, serving, settings_on, until, with_serve

EVENT = {"user": "ana", "item": "a", "type": "click"}
LIST = list_bytes("ana", 7, "x", "y", "z")


@pytest.fixture(scope="module")
def settings(broker: Any) -> Settings:
    settings = settings_on(broker.bootstrap_servers, max_body_bytes=2_000)
    publish(settings, ("ana", LIST))
    return settings


@pytest.fixture(scope="module")
def client(settings: Settings) -> Iterator[Client]:
    with serving(settings) as client:
        yield client


def path_of(user: str) -> str:
    return f"/v1/users/{quote(user, safe='')}/recommendations"


# Lists


def test_a_list_is_answered_as_it_was_published(client: Client) -> None:
    answer = client.get(path_of("ana"))

    assert (answer.status, answer.body) == (200, LIST)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "private, no-cache"
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(("k", "items"), [("1", ["x"]), ("2", ["x", "y"]), ("1000", ["x", "y", "z"])])
def test_k_takes_the_first_items(client: Client, k: str, items: list[str]) -> None:
    answer = client.get(path_of("ana") + f"?k={k}")

    assert answer.status == 200
    assert [place["item"] for place in answer.json()["items"]] == items
    assert {**answer.json(), "items": None} == {**client.get(path_of("ana")).json(), "items": None}


@pytest.mark.parametrize("k", ["0", "1001", "-1", "1.0", "", "two", "%31%30_", "\u0661".encode().hex(), "1e2"])
def test_another_k_is_refused_by_name(client: Client, k: str) -> None:
    answer = client.get(path_of("ana") + f"?k={k}")

    assert (answer.status, answer.problem(), answer.json()["parameter"]) == (400, "bad-parameter", "k")


def test_who_has_the_newest_list_gets_304_until_there_is_a_newer_one(client: Client, settings: Settings) -> None:
    publish(settings, ("eve", list_bytes("eve", 1, "x")))
    until(lambda: client.get(path_of("eve")).status == 200)
    etag = client.get(path_of("eve")).headers["etag"]
    again = client.get(path_of("eve"), if_none_match=f'"other", W/{etag}')
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)

    publish(settings, ("eve", list_bytes("eve", 2, "y")))

    until(lambda: client.get(path_of("eve"), if_none_match=etag).status == 200)


def test_a_user_without_a_list_is_not_found(client: Client) -> None:
    answer = client.get(path_of("nobody"))

    assert (answer.status, answer.problem()) == (404, "no-list")


def test_an_erased_user_is_not_found_any_more(client: Client, settings: Settings) -> None:
    publish(settings, ("dan", list_bytes("dan", 1, "x")))
    until(lambda: client.get(path_of("dan")).status == 200)

    publish(settings, ("dan", None))

    until(lambda: client.get(path_of("dan")).status == 404)


ODD_IDS = [
    "a/b",
    "../../etc/passwd",
    "?k=1",
    "é ü",
    "%2F",
    "a+b",
    "\x00",
    "\n",
    "💡",
    " ",
    ".",
    "recommendations/stream",
]


def test_an_id_in_a_path_is_any_text_percent_encoded(client: Client, settings: Settings) -> None:
    lists = {user: list_bytes(user, number, "x") for number, user in enumerate(ODD_IDS, 1)}
    publish(settings, *lists.items())
    until(lambda: client.get(path_of(ODD_IDS[-1])).status == 200)

    for user, value in lists.items():
        until(lambda user=user: client.get(path_of(user)).status == 200)  # type: ignore[misc]
        assert client.get(path_of(user)).body == value, user


@pytest.mark.parametrize("encoded", ["%ff", "%ed%a0%80", "u" * 257, "%C3%A9" * 129])
def test_an_id_that_is_no_utf_8_or_too_long_is_refused(client: Client, encoded: str) -> None:
    answer = client.get(f"/v1/users/{encoded}/recommendations")

    assert (answer.status, answer.problem()) == (400, "bad-id")


@pytest.mark.parametrize(
    ("method", "path", "status", "kind"),
    [
        ("GET", "/", 404, "no-such-path"),
        ("GET", "/v1/users//recommendations", 404, "no-such-path"),
        ("GET", "/v1/users/ana/recommendations/", 404, "no-such-path"),
        ("DELETE", "/v1/users/ana/recommendations", 405, "bad-method"),
        ("GET", "/v1/events", 405, "bad-method"),
        ("BREW", "/nothing", 404, "no-such-path"),
    ],
)
def test_what_is_not_there_is_a_problem_too(client: Client, method: str, path: str, status: int, kind: str) -> None:
    answer = client.ask(method, path)

    assert (answer.status, answer.problem()) == (status, kind)
    assert (answer.headers.get("allow") is not None) == (status == 405)


def test_head_asks_for_the_headers_only(client: Client) -> None:
    for path in (path_of("ana"), path_of("ana") + "/stream"):
        answer = client.ask("HEAD", path)
        assert (answer.status, answer.body) == (200, b"")


# Following


def test_who_follows_gets_the_list_of_now_then_each_new_one_and_the_end_of_it(
    client: Client, settings: Settings
) -> None:
    first, second = list_bytes("fay", 1, "x", "y"), list_bytes("fay", 2, "z")
    publish(settings, ("fay", first))
    until(lambda: client.get(path_of("fay")).status == 200)
    connection = client.connection()
    connection.request("GET", path_of("fay") + "/stream?k=1")
    answer = connection.getresponse()
    assert answer.getheader("content-type") == "text/event-stream; charset=utf-8"
    events = Events(answer)

    assert events.next("list")["items"] == [{"item": "x", "score": 0.5}]
    publish(settings, ("fay", second))
    assert events.next("list")["epoch"] == 2
    last_id = events.last_id
    publish(settings, ("fay", None))
    assert events.next("erased") == {}
    connection.close()

    # Who comes again with what he has gets only what is newer.
    publish(settings, ("fay", second))
    until(lambda: client.get(path_of("fay")).status == 200)
    connection = client.connection()
    connection.request("GET", path_of("fay") + "/stream", headers={"last-event-id": last_id})
    events = Events(connection.getresponse())
    publish(settings, ("fay", list_bytes("fay", 3, "w")))
    assert events.next("list")["epoch"] == 3
    connection.close()


class Events:
    """Reads Server-Sent Events."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer
        self.last_id = ""
        self.num_heartbeats = 0

    def next(self, name: str) -> Any:
        """Return the data of the next event, which must have this name."""
        import json

        fields: dict[str, str] = {}
        while line := self._answer.readline():
            text = line.decode().rstrip("\n")
            if text.startswith(":"):
                self.num_heartbeats += 1
            elif text:
                key, _, value = text.partition(":")
                fields[key] = value.strip()
            elif "event" in fields:
                assert fields["event"] == name
                self.last_id = fields["id"]
                return json.loads(fields["data"])
            else:
                fields.clear()
        raise AssertionError("the stream has ended")


def test_a_quiet_stream_has_heartbeats_and_only_so_many_clients_follow(settings: Settings) -> None:
    with serving(with_serve(settings, heartbeat_seconds=0.1, max_stream_clients=1)) as client:
        connection = client.connection()
        connection.request("GET", path_of("quiet") + "/stream")
        answer = connection.getresponse()
        lines = [answer.readline() for _ in range(8)]
        assert lines.count(b": still here\n") >= 3

        refused = client.get(path_of("ana") + "/stream")
        assert (refused.status, refused.problem(), refused.headers["retry-after"]) == (503, "too-many-streams", "30")

        assert b"millstream_serve_stream_clients 1.0" in client.get("/metrics").body
        connection.close()
        answer.close()
        until(lambda: b"millstream_serve_stream_clients 0.0" in client.get("/metrics").body)


# Events


def test_events_are_in_the_topic_once_they_are_accepted_in_the_partitions_of_kafka_s_own_clients(
    client: Client, settings: Settings
) -> None:
    users = [f"user-{number}" for number in range(20)]
    with EventProducer(settings.kafka, settings.topics.events) as producer:
        for user in users:
            producer.send(user.encode(), b"by the client")

    answer = client.post([{**EVENT, "user": user, "colour": "red"} for user in users])

    assert answer.status == 202
    assert answer.json()["accepted"] == 20
    found = records_in(settings, settings.topics.events)
    places = {record.key: (record.partition, record.offset) for record in found if b"colour" in (record.value or b"")}
    assert [places[user.encode()] for user in users] == [
        (place["partition"], place["offset"]) for place in answer.json()["records"]
    ]
    usual = {record.key: record.partition for record in found if record.value == b"by the client"}
    assert {key: partition for key, (partition, _) in places.items()} == usual
    assert len(set(usual.values())) > 1


def test_a_bad_event_refuses_the_whole_request(client: Client, settings: Settings) -> None:
    before = len(records_in(settings, settings.topics.events))

    answer = client.post([EVENT, {**EVENT, "type": "clicked"}])

    assert (answer.status, answer.problem()) == (422, "bad-event")
    assert answer.json()["errors"][0]["index"] == 1
    assert len(records_in(settings, settings.topics.events)) == before


def test_a_body_of_another_type_is_refused(client: Client) -> None:
    for content_type in ({}, {"content-type": "text/plain"}, {"content-type": "application/jsonl"}):
        answer = client.ask("POST", "/v1/events", b"{}", content_type)
        assert (answer.status, answer.problem()) == (415, "bad-media-type")
    assert client.post(EVENT, **{"content-type": "Application/JSON; charset=utf-8"}).status == 202


def test_a_body_that_is_too_large_is_refused_also_when_it_does_not_say_so(client: Client) -> None:
    said = client.post(b" " * 2_001)
    unsaid = client.ask("POST", "/v1/events", iter([b" " * 1_000] * 3), JSON)  # type: ignore[arg-type]

    assert (said.status, said.problem()) == (413, "body-too-large")
    assert (unsaid.status, unsaid.problem()) == (413, "body-too-large")
    assert client.post(b" " * 1_900 + b'{"user":"ana","item":"a","type":"click"}').status == 202


CLOUD = {
    "ce-specversion": "1.0",
    "ce-id": "dup-1",
    "ce-source": "/shop",
    "ce-type": "t",
    "ce-time": "2025-11-22T09:30:00Z",
}
WRAPPED = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "t", "data": EVENT}


def newest_record(settings: Settings, answer: Any) -> Record:
    assert answer.status == 202, answer
    place = answer.json()["records"][-1]
    found = records_in(settings, settings.topics.events)
    return next(one for one in found if (one.partition, one.offset) == (place["partition"], place["offset"]))


def read_by_the_worker(written: Record) -> Event:
    decoded = Decoder(EventSettings()).decode([written], Decisions(decoded_at_ms=written.timestamp_ms))
    assert decoded.dead_letters == []
    return decoded.events[0]


def test_a_cloud_event_in_binary_mode_keeps_its_id_and_time_on_its_way_to_the_worker(
    client: Client, settings: Settings
) -> None:
    written = newest_record(settings, client.post(EVENT, **CLOUD | {"ce-source": "/shop/%E2%82%AC"}))

    assert dict(written.headers)["ce_time"] == b"2025-11-22T09:30:00Z"
    assert read_by_the_worker(written).id == "/shop/€ dup-1"


def test_structured_cloud_events_are_taken_one_by_one_and_in_batches(client: Client, settings: Settings) -> None:
    one = client.post(WRAPPED, **{"content-type": "application/cloudevents+json; charset=utf-8"})
    several = client.post([WRAPPED, WRAPPED | {"id": "8"}], **{"content-type": "application/cloudevents-batch+json"})

    assert read_by_the_worker(newest_record(settings, one)).id == "/shop 7"
    assert several.json()["accepted"] == 2
    assert read_by_the_worker(newest_record(settings, several)).id == "/shop 8"


@pytest.mark.parametrize(
    ("body", "headers", "problem", "said"),
    [
        (EVENT, {"ce-id": "dup-1"}, "bad-event", "ce-specversion: expected 1.0"),
        (EVENT, CLOUD | {"ce-time": "yesterday"}, "bad-event", "ce-time: expected a time in RFC 3339"),
        ([EVENT], CLOUD, "bad-batch", "one event in the envelope"),
        (WRAPPED, {}, "bad-event", "application/cloudevents+json"),
        (WRAPPED, {"content-type": "application/cloudevents-batch+json"}, "bad-batch", "an array of CloudEvents"),
        (EVENT, {"content-type": "application/cloudevents+json"}, "bad-event", "$.data"),
        (EVENT, {"content-encoding": "br"}, "bad-media-type", "Content-Encoding: gzip"),
        (EVENT, {"content-encoding": "gzip"}, "not-json", "expected gzip"),
        (gzip.compress(b"{}", mtime=0)[:-9], {"content-encoding": "gzip"}, "not-json", "cut off"),
        (
            gzip.compress(b" " * 2_001, mtime=0),
            {"content-encoding": "gzip"},
            "body-too-large",
            "at most 2000 bytes inflated",
        ),
        (gzip.compress(b"{}", mtime=0), {}, "not-json", "compressed with gzip"),
    ],
)
def test_an_envelope_that_cannot_be_read_is_refused_by_name(
    client: Client, body: Any, headers: dict[str, str], problem: str, said: str
) -> None:
    answer = client.post(body, **headers)

    assert (answer.problem(), said in answer.json()["detail"]) == (problem, True), answer


def test_a_gzip_body_is_inflated_also_when_it_has_several_members(client: Client, settings: Settings) -> None:
    text = json.dumps(EVENT | {"item": "zipped"}).encode()

    written = newest_record(
        settings, client.post(gzip.compress(text[:9]) + gzip.compress(text[9:]), **{"content-encoding": "gzip"})
    )

    assert written.value == text


def test_what_happened_is_counted_by_path_and_not_by_user(client: Client) -> None:
    client.get(path_of("zoe-1"))
    client.ask("BREW", "/coffee")

    text = client.get("/metrics").body.decode()

    route = '{method="GET",route="/v1/users/{id}/recommendations",status="404"}'
    assert f"millstream_serve_requests_total{route}" in text
    assert 'millstream_serve_requests_total{method="other",route="other",status="404"}' in text
    assert 'millstream_serve_events_total{outcome="acknowledged"}' in text
    assert "zoe-1" not in text
    assert "coffee" not in text


@pytest.mark.skipif(shutil.which("promtool") is None, reason="needs promtool: apt-get install prometheus")
def test_promtool_finds_nothing_to_complain_about(client: Client) -> None:
    exposition = client.get("/metrics").body

    checked = subprocess.run(["promtool", "check", "metrics"], input=exposition, capture_output=True, check=False)

    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")


# Who may ask


def test_a_token_is_needed_where_there_is_a_file_of_them_and_a_changed_file_counts(
    settings: Settings, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("secret\n")
    with serving(with_serve(settings, tokens_file=tokens)) as client:
        for wrong in ({}, {"authorization": "Basic secret"}):
            answer = client.ask("POST", "/v1/events", b"{}", JSON | wrong)
            assert (answer.status, answer.problem()) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Bearer realm="millstream"'
        wrong_token = client.get(path_of("ana"), authorization="Bearer Secret")
        assert wrong_token.headers["www-authenticate"] == 'Bearer realm="millstream", error="invalid_token"'
        assert client.get(path_of("ana") + "/stream").status == 401
        assert client.get(path_of("ana"), authorization="bearer secret").status == 200
        assert client.post(EVENT, authorization="Bearer secret").status == 202
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/docs", "/openapi.json"):
            assert client.get(path).status == 200, path

        tokens.write_text("another-secret\n")

        until(lambda: client.get(path_of("ana"), authorization="Bearer secret").status == 401)
        assert client.get(path_of("ana"), authorization="Bearer another-secret").status == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8080", "127.0.0.1.evil.example"])
def test_without_tokens_a_port_of_this_machine_answers_to_no_other_name(client: Client, host: str) -> None:
    refused = [client.get(path_of("ana"), host=host), client.get(f"{path_of('ana')}/stream", host=host)]
    refused.append(client.post(EVENT, host=host))

    assert [(answer.status, answer.problem()) for answer in refused] == [(421, "wrong-host")] * 3
    assert client.get("/readyz", host=host).status == 200
    assert client.get(path_of("ana"), host=f"localhost:{client.port}").status == 200


def test_who_asks_too_often_is_told_when_to_come_again(settings: Settings, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("one\ntwo\n")
    limits = {"requests_per_second": 0.01, "request_burst": 3, "tokens_file": tokens}
    with serving(with_serve(settings, **limits)) as client:
        answers = [client.get(path_of("ana"), authorization="Bearer one") for _ in range(4)]
        assert [answer.status for answer in answers] == [200, 200, 200, 429]
        assert answers[3].problem() == "too-many-requests"
        assert 90 <= int(answers[3].headers["retry-after"]) <= 100
        assert client.get(path_of("ana"), authorization="Bearer two").status == 200
        guesses = [client.get(path_of("ana"), authorization=f"Bearer guess-{n}").status for n in range(4)]
        assert guesses == [401, 401, 401, 429]
        assert client.get("/readyz").status == 200


def test_pages_of_other_origins_may_ask_only_where_a_setting_says_so(client: Client, settings: Settings) -> None:
    asked = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    asked |= {"access-control-request-headers": "authorization,content-type"}
    assert "access-control-allow-origin" not in client.get(path_of("ana"), origin="https://shop.example").headers
    assert client.ask("OPTIONS", "/v1/events", headers=asked).status == 405

    with serving(with_serve(settings, cors_origins=("https://shop.example",))) as open_client:
        preflight = open_client.ask("OPTIONS", "/v1/events", headers=asked)
        assert (preflight.status, preflight.headers["access-control-allow-origin"]) == (200, "https://shop.example")
        answer = open_client.get(path_of("ana"), origin="https://shop.example")
        assert answer.headers["access-control-allow-origin"] == "https://shop.example"
        other = open_client.get(path_of("ana"), origin="https://evil.example")
        assert "access-control-allow-origin" not in other.headers


def test_an_address_from_a_header_counts_only_behind_a_trusted_proxy(settings: Settings) -> None:
    def statuses(client: Client) -> list[int]:
        return [client.get(path_of("ana"), x_forwarded_for=f"192.0.2.{n}").status for n in range(3)]

    limits = {"requests_per_second": 0.01, "request_burst": 2}
    with serving(with_serve(settings, **limits)) as client:
        assert statuses(client) == [200, 200, 429]
    with serving(with_serve(settings, **limits, trusted_proxies=("127.0.0.1",))) as client:
        assert statuses(client) == [200, 200, 200]
