"""Whatever comes to a door is an event, a dead letter or a refusal; all doors agree, and the sums are right."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from producers.event_encoding import BadEvent, encode_event
from producers.files.event_file import EventFile, ReadOptions
from stream.config.settings import EventSettings
from stream.errors import ConfigError
from stream.http.api.event_bodies import PostedEvents
from stream.http.api.event_envelopes import PLAIN, Envelope
from stream.http.api.problem_details import Problem
from stream.ingest.decode import Decoded, Decoder
from stream.wire.decisions import Decisions
from stream.wire.records import Headers
from stream.wire.schema import Event
from tests.support.events import NOW_MS, record
from tests.support.lives import fast_settings
from tests.support.past_streams import NUM_PARTITIONS, Stream

LIMITS = EventSettings(max_value_bytes=2_000, max_id_bytes=16)
DECODER = Decoder(LIMITS)
POSTED = PostedEvents(LIMITS, 100, "events")

ids = st.sampled_from(["ana", "ben", "", " ", "\t", "é€💡", "x" * 17, "\x1b[2J\u202e", "007", "NULL", "1.0"]) | st.text(
    max_size=6
)
times = st.sampled_from(
    [NOW_MS, NOW_MS // 1000, NOW_MS * 1000, 0, -1, NOW_MS + 10**9, 10**30, 1.5, 1.7e12, "now", True, None]
)
types = st.sampled_from(["view", "click", "purchase", "addtocart", "com.example.click", 5, None])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=4,
)
contexts = anything | st.just('{"device":"ios"}')
fields = st.fixed_dictionaries(
    {},
    optional={
        "user": ids | anything,
        "item": ids | anything,
        "type": types,
        "ts": times,
        "id": ids | st.none(),
        "value": anything,
        "session": ids,
        "context": contexts,
        "specversion": st.just("1.0"),
        "data": anything,
    },
)
good = st.builds(
    lambda user, item, event_id, value: {"user": user, "item": item, "type": "click", "id": event_id, "value": value},
    *(st.sampled_from(["a", "b", "c"]), st.sampled_from(["x", "y"]), st.sampled_from(["1", "2", None])),
    value=st.sampled_from([None, 1.0]),
)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


WRAPPINGS: tuple[Callable[[bytes], bytes], ...] = (
    lambda value: value,
    lambda value: b"\xef\xbb\xbf" + value,
    lambda value: b"\x00\x00\x00\x00\x2a" + value,
    lambda value: b'{"schema":{},"payload":' + value + b"}",
    lambda value: b'{"before":null,"after":' + value + b',"op":"c"}',
    lambda value: value[: len(value) // 2],
    lambda value: value + b"\n" + value,
    lambda value: value.decode("utf-8", "replace").encode("utf-16"),
)
values = st.binary(max_size=60) | st.builds(
    lambda made, wrap: wrap(as_json(made)), fields | good | anything, st.sampled_from(WRAPPINGS)
)
attributes = st.sampled_from(["1.0", "2.0", "", "e-1", "/shop", "2023-11-14T22:13:19Z", "yesterday", "\u00e9"])
cloud_headers = st.dictionaries(
    st.sampled_from(["ce_id", "ce_source", "ce_specversion", "ce_type", "ce_time"]),
    attributes.map(str.encode),
    max_size=5,
).map(lambda found: list(found.items()))
headers: st.SearchStrategy[Headers] = (
    st.just([]) | cloud_headers | st.just([("content-type", b"application/cloudevents+json")])
)


def decoded(value: bytes, head: Headers) -> Decoded:
    return DECODER.decode([record(value, headers=head)], Decisions(decoded_at_ms=NOW_MS))


@settings(max_examples=400, deadline=None)
@given(values, headers)
@example(as_json({"user": "ana", "item": "a", "type": "click"}), [])
def test_what_is_posted_is_taken_where_the_worker_reads_an_event_and_refused_where_it_would_not(
    value: bytes, head: Headers
) -> None:
    read = decoded(value, head)
    assert len(read.events) + len(read.dead_letters) == 1
    assert all(letter.message.isprintable() for letter in read.dead_letters)

    try:
        written = POSTED.records(value, NOW_MS, Envelope(False, head) if head else PLAIN)
    except Problem as problem:
        is_explained = bool(problem.detail) and (bool(read.dead_letters) or problem.kind == "bad-batch")
        written = []
    else:
        is_explained = True
        is_batch = not head and value.lstrip(b" \t\r\n").startswith(b"[")
        assert is_batch or [one.value for one in written] == [value]
    assert is_explained
    for one in written:
        assert decoded(one.value, one.headers).dead_letters == []


@settings(max_examples=300, deadline=None)
@given(fields)
def test_what_a_sender_lets_out_the_worker_reads_as_it_was(made: dict[str, Any]) -> None:
    known = {name: value for name, value in made.items() if name in Event.__struct_fields__}
    event = Event(**{"user": "ana", "item": "a", "type": "click"} | known)
    try:
        value = encode_event(event, LIMITS, now_ms=NOW_MS)
    except BadEvent:
        return

    assert len(decoded(value, []).events) == 1


@pytest.mark.parametrize(
    "options",
    [
        ReadOptions(format="jsonl", skip_bad=True),
        ReadOptions(format="jsonl", skip_bad=True, default_type="view", types={"addtocart": "cart", "*": ""}),
        ReadOptions(format="csv", skip_bad=True, names=("user", "item", "type", "ts", "id")),
        ReadOptions(format="tsv", skip_bad=True, names=("user", "item", "type", "ts"), relative_time=True),
        ReadOptions(format="csv", skip_bad=True, default_type="view"),
    ],
    ids=lambda options: f"{options.format}-{bool(options.names)}-{options.default_type}",
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        values | st.builds(lambda *c: ",".join(map(str, c)).encode("utf-8", "replace"), ids, ids, types, times),
        max_size=4,
    )
)
def test_of_a_file_every_row_is_an_event_a_skipped_one_or_one_that_was_left_out(
    options: ReadOptions, lines: list[bytes]
) -> None:
    try:
        file = EventFile(io.BytesIO(b"\n".join(lines)), options, limits=LIMITS, clock=lambda: NOW_MS / 1000)
        events = list(file)
    except ConfigError:
        return

    assert file.num_read == file.num_events + file.num_bad + file.num_left_out
    assert file.num_events == len(events)
    for event in events:
        [read] = decoded(encode_event(event, LIMITS, now_ms=NOW_MS), []).events
        assert read == event


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.tuples(good.map(as_json) | values, headers, st.integers(0, NUM_PARTITIONS - 1)), min_size=1, max_size=40
    )
)
def test_a_stream_of_whatever_comes_adds_up_and_is_verified_equal(
    sent: list[tuple[bytes, Headers, int]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        stream = Stream(Path(folder) / "checkpoints", fast_settings(batching={"max_events": 8}))
        stream.start()
        sent += sent[-1:] * (-len(sent) % stream.settings.batching.max_events)  # the clock stands: batches close full
        for value, head, partition in sent:
            stream.log.produce(value, key=b"k", partition=partition, timestamp_ms=NOW_MS, headers=head)
        stream.work()
        stream.checkpoint()

        report = stream.verify()

        counts = [entry.counts for entry in stream.journal()]
        total = {name: sum(each.get(name, 0) for each in counts) for name in ("events", "dead_letters", "duplicates")}
        assert total["events"] + total["dead_letters"] == len(sent) == report.num_records
        assert len(stream.log.published("events.dlq")) == total["dead_letters"]
        assert sum(each["learned"] for each in counts) <= total["events"] - total["duplicates"]
