"""A body becomes records, or a problem that names event and field; all or nothing."""

import gzip
from typing import Any

import pytest

from stream.config.settings import EventSettings
from stream.http.api.event_bodies import PostedEvents
from stream.http.api.problem_details import Problem
from tests.support.events import NOW_MS, event_bytes

POSTED = PostedEvents(EventSettings(max_value_bytes=500, max_id_bytes=20), 3, "events")
GOOD = event_bytes("ana", "a", "click")


def problem_of(body: bytes) -> Problem:
    with pytest.raises(Problem) as caught:
        POSTED.records(body, NOW_MS)
    return caught.value


def test_one_event_and_a_batch_become_records_keyed_by_user_as_they_were_written() -> None:
    other = b'{"user":"b\\u00e9n", "item":"b",\n "type":"view", "colour":"red"}'

    assert POSTED.records(GOOD, NOW_MS) == [(b"ana", GOOD, [])]
    assert POSTED.records(b" [" + GOOD + b" ,\n" + other + b"] ", NOW_MS) == [
        (b"ana", GOOD, []),
        ("bén".encode(), other, []),
    ]


def test_one_bad_event_refuses_all_and_each_bad_one_is_named_by_place_and_field() -> None:
    problem = problem_of(
        b"[" + GOOD + b',{"user":"ana","item":"a","type":"clicked"},{"user":"","item":"a","type":"view"}]'
    )

    assert problem.kind == "bad-event"
    assert problem.members["num_invalid"] == 2
    assert [(error["index"], error["code"]) for error in problem.members["errors"]] == [
        (1, "unknown_type"),
        (2, "bad_id"),
    ]
    assert problem.detail.startswith("event 1: $.type: expected a known event type")
    assert problem.members["errors"][1]["detail"].startswith("$.user: ")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        (b'{"user":"ana","type":"view"}', "missing_field", "$.item"),
        (b'{"user":"ana","item":5,"type":"view"}', "wrong_type", "$.item"),
        (event_bytes("u" * 21, "a"), "bad_id", "$.user"),
        (event_bytes("ana", "a", ts=NOW_MS + 3_600_001), "future_time", "$.ts"),
        (event_bytes("ana", "a", ts=NOW_MS // 1000), "bad_time", "$.ts"),
        (event_bytes("ana", "a", ts=NOW_MS * 1000), "bad_time", "$.ts"),
        (event_bytes("ana", "a", ts=0), "bad_time", "$.ts"),
        (event_bytes(" ", "a"), "bad_id", "$.user"),
        (event_bytes("ana", "a", context='{"device":"ios"}'), "wrong_type", "$.context"),
        (b'{"schema":{},"payload":' + GOOD + b"}", "missing_field", "$.user"),
        (b'{"specversion":"1.0","data":' + GOOD + b"}", "bad_cloud_event", "$"),
        (event_bytes("ana", "a", session="s" * 21), "bad_id", "$.session"),
        (event_bytes("ana", "a", context={"x": "y" * 500}), "too_large", "$"),
        (b"5", "wrong_type", "$"),
        (b"null", "wrong_type", "$"),
    ],
)
def test_the_rules_are_those_of_the_worker(body: bytes, code: str, field: str) -> None:
    (error,) = problem_of(body).members["errors"]

    assert (error["index"], error["code"], error["detail"].partition(":")[0]) == (0, code, field)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[", b"[1,]", b"\xff", b"{} {}", b'{"a":"\xff"}', b"user=ana", b"[" * 100_000]
)
def test_what_is_no_json_is_said_to_be_none(body: bytes) -> None:
    assert problem_of(body).kind == "not-json"


@pytest.mark.parametrize("count", [0, 4])
def test_a_batch_has_one_event_or_more_up_to_the_limit(count: int) -> None:
    problem = problem_of(b"[" + b",".join([GOOD] * count) + b"]")

    assert (problem.kind, problem.detail) == ("bad-batch", f"expected 1 to 3 events, got {count}")


def test_of_very_many_errors_the_first_hundred_are_told() -> None:
    posted: Any = PostedEvents(EventSettings(), 1_000, "events")

    with pytest.raises(Problem) as caught:
        posted.records(b"[" + b",".join([b"1"] * 300) + b"]", NOW_MS)

    assert caught.value.members["num_invalid"] == 300
    assert [error["index"] for error in caught.value.members["errors"]] == list(range(100))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (gzip.compress(GOOD, mtime=0), "compressed with gzip"),
        (b"\xef\xbb\xbf" + GOOD, "byte-order mark of UTF-8"),
        (GOOD.decode().encode("utf-16"), "byte-order mark of UTF-16"),
        (GOOD[:-1], "it is no JSON"),
    ],
)
def test_a_body_that_is_no_json_is_told_what_it_is(body: bytes, said: str) -> None:
    problem = problem_of(body)

    assert (problem.kind, said in problem.detail) == ("not-json", True)
