"""Promises of the commands and the Python API, kept against the embedded broker: what is sent is there, once, in order.

Commands run in this process, except where a signal or a terminal is the point.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner, Result

from millstream.local.embedded_broker import EmbeddedBroker
from millstream.main import app
from producers import Event, EventSender, ListSubscription, list_subscription
from producers.event_encoding import decode_event
from stream.config.settings import KafkaSettings, Settings, TopicSettings
from stream.errors import ConfigError, MillstreamError, RefusedToStart
from stream.log.kafka import EventProducer, TopicReader, ensure_topics, newest_record
from stream.wire.records import Record
from stream.wire.schema import RankedItem, Recommendation

DEADLINE_SECONDS = 20.0
NAMES = ("events", "items", "recommendations", "dead_letters", "journal")

needs_kcat = pytest.mark.skipif(shutil.which("kcat") is None, reason="needs kcat (Debian package kcat)")


@pytest.fixture
def settings(broker: Any, request: pytest.FixtureRequest) -> Settings:
    """Settings with topics of the test's own, which exist."""
    test = "".join(letter if letter.isalnum() else "-" for letter in request.node.name)[:100]
    topics = {name: f"{test}.{name}" for name in NAMES}
    made = Settings(
        kafka=KafkaSettings(bootstrap_servers=broker.bootstrap_servers),
        topics=TopicSettings(**topics, partitions=3),
    )
    ensure_topics(made)
    return made


def arguments(settings: Settings, *words: str) -> list[str]:
    flags = [f"--set=topics.{name}={getattr(settings.topics, name)}" for name in NAMES]
    return [*words, f"--bootstrap-servers={settings.kafka.bootstrap_servers}", *flags]


def millstream(settings: Settings, *words: str) -> Result:
    return CliRunner().invoke(app, arguments(settings, *words))


def records_of(settings: Settings, topic: str) -> list[Record]:
    with TopicReader(settings.kafka, topic) as reader:
        records = list[Record]()
        while not reader.caught_up():
            records.extend(reader.poll(0.1))
    return records


def events_of(settings: Settings) -> list[Event]:
    return [decode_event(record.value or b"") for record in records_of(settings, settings.topics.events)]


def recommendation(user: str, epoch: int, *items: str) -> Recommendation:
    ranked = [RankedItem(item=item, score=0.5) for item in items]
    return Recommendation(
        user=user, generated_at=1_700_000_000_123, event_ts=1_000, epoch=epoch, model="sequence-1", items=ranked
    )


@pytest.fixture
def lists(settings: Settings) -> Settings:
    """Settings whose topic of recommendations holds two lists of ana, one of ben, and rubbish."""
    with EventProducer(settings.kafka, settings.topics.recommendations) as producer:
        for published in (recommendation("ana", 1, "22423"), recommendation("ana", 2, "85123A", "no-such-item")):
            producer.send(b"ana", msgspec.json.encode(published))
        producer.send(b"ben", msgspec.json.encode(recommendation("ben", 1, "22423")))
        producer.send(b"cid", b"rubbish")
        producer.flush()
    return settings


def ended_within(process: "subprocess.Popen[bytes]", seconds: float) -> int:
    """Return the exit status of a process, which is killed when it has none in time."""
    try:
        return process.wait(seconds)
    finally:
        process.kill()


# Sending


def test_the_python_api_sends_events_under_the_key_of_their_user(settings: Settings) -> None:
    with EventSender(settings.kafka, settings.topics.events) as sender:
        sender.send(Event(user="ana", item="film-1", type="click", ts=1_291_191_960_000))
        sender.send(Event(user="zoë", item="film-2", type="like"))
        sender.flush()
        assert (sender.num_sent, sender.num_delivered) == (2, 2)

    records = {record.key: record for record in records_of(settings, settings.topics.events)}
    assert records.keys() == {b"ana", "zoë".encode()}
    assert records[b"ana"].value == b'{"user":"ana","item":"film-1","type":"click","ts":1291191960000}'
    # Replayed under its own time the record would be older than the topic's retention, and deleted.
    assert abs(records[b"ana"].timestamp_ms / 1000 - time.time()) < 60


def test_a_bad_event_is_refused_and_the_next_one_is_sent(settings: Settings) -> None:
    with EventSender(settings.kafka, settings.topics.events) as sender:
        with pytest.raises(ConfigError):
            sender.send(Event(user="", item="film-1", type="click"))
        sender.send(Event(user="ana", item="film-1", type="click"))

    assert [event.user for event in events_of(settings)] == ["ana"]


def test_produce_sends_every_event_of_a_file_once_with_each_users_events_in_order(settings: Settings) -> None:
    result = millstream(settings, "produce", "otto-mini")

    assert result.exit_code == 0, result.output
    assert "sent 862 events" in result.stdout
    events = events_of(settings)
    assert len(events) == 862
    for user in {event.user for event in events}:
        times = [event.ts or 0 for event in events if event.user == user]
        assert times == sorted(times)


def test_produce_stops_at_the_limit_and_keeps_the_pace(settings: Settings) -> None:
    start = time.monotonic()
    result = millstream(settings, "produce", "otto-mini", "--limit", "41", "--rate", "80")

    assert "sent 41 events" in result.stdout
    assert time.monotonic() - start >= 0.5  # the last one is due after 40 / 80 s
    assert len(events_of(settings)) == 41


def test_produce_maps_columns_skips_bad_rows_and_says_how_many(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("customer,sku,when\nana,1,1291191960\n,2,1291191960\nben,3,1291191961\n")
    mapping = ["--map", "user=customer", "--map", "item=sku", "--map", "ts=when", "--ts-unit", "s"]

    result = millstream(settings, "produce", str(path), *mapping, "--type", "purchase", "--skip-bad")

    assert result.exit_code == 0, result.output
    assert "sent 2 events" in result.stdout
    assert "skipped 1 rows that are no events; the first: " in result.stderr
    assert sorted(event.user for event in events_of(settings)) == ["ana", "ben"]
    assert {event.ts for event in events_of(settings)} == {1291191960000, 1291191961000}


def test_produce_says_how_much_was_sent_before_a_bad_row(settings: Settings, tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user,item,type\nana,1,click\nben,2,clicked\n")

    result = millstream(settings, "produce", str(path))

    assert "sent 1 events" in result.stdout
    assert isinstance(result.exception, MillstreamError)
    assert "events.csv:3: type" in str(result.exception)
    assert len(events_of(settings)) == 1


def test_produce_reads_standard_input_to_its_end(settings: Settings) -> None:
    command = arguments(settings, sys.executable, "-m", "millstream", "produce", "-", "--format", "csv")
    rows = b"user,item,type\nana,1,click\nben,2,cart\n"
    done = subprocess.run(command, input=rows, stdout=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=True)

    assert b"sent 2 events" in done.stdout
    assert {event.user for event in events_of(settings)} == {"ana", "ben"}


def test_sigterm_ends_a_wait_for_more_standard_input_and_says_how_much_was_sent(settings: Settings) -> None:
    command = arguments(settings, sys.executable, "-m", "millstream", "produce", "-")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        process.stdin.write(b'{"user":"ana","item":"1","type":"click"}\n{"user":"b')
        process.stdin.flush()
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not records_of(settings, settings.topics.events) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert ended_within(process, DEADLINE_SECONDS) == 0
        assert process.stdout is not None
        assert b"stopped: sent 1 events" in process.stdout.read()


def test_produce_refuses_a_topic_that_is_not_there_rather_than_making_it(settings: Settings) -> None:
    absent = settings.model_copy(update={"topics": settings.topics.model_copy(update={"events": "absent-for-sure"})})

    for words in (["produce", "otto-mini"], ["simulate", "--events", "1"]):
        result = millstream(absent, *words)
        assert isinstance(result.exception, RefusedToStart)
        assert "topic absent-for-sure does not exist: run 'millstream topics create'" in str(result.exception)


def test_ctrl_c_waits_for_what_was_sent_and_says_how_much(settings: Settings) -> None:
    command = arguments(settings, sys.executable, "-m", "millstream", "produce", "otto-mini", "--rate", "50")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not records_of(settings, settings.topics.events) and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        output, _ = process.communicate(timeout=DEADLINE_SECONDS)

    assert process.returncode == 0
    num_sent = len(events_of(settings))
    assert 0 < num_sent < 862
    assert f"stopped: sent {num_sent} events" in output


def test_simulate_sends_events_of_now_and_the_asked_share_of_broken_ones(settings: Settings) -> None:
    words = ["--users", "20", "--items", "30", "--rate", "max", "--events", "400", "--bad-ratio", "0.5"]
    result = millstream(settings, "simulate", *words)

    assert "sent 400 events" in result.stdout
    records = records_of(settings, settings.topics.events)
    good = [record for record in records if (record.value or b"").startswith(b'{"user":"user-')]
    assert len(records) == 400
    assert 0 < len(good) < 400
    assert all((record.key or b"").startswith(b"user-") for record in records)


def test_simulate_to_a_file_needs_no_broker_and_repeats_itself(tmp_path: Path) -> None:
    first, second = tmp_path / "first.jsonl", tmp_path / "second.jsonl"
    for path in (first, second):
        assert CliRunner().invoke(app, ["simulate", "--events", "50", "--out", str(path)]).exit_code == 0
    printed = CliRunner().invoke(app, ["simulate", "--events", "50", "--out", "-"]).stdout_bytes

    assert first.read_bytes() == second.read_bytes() == printed
    assert printed.count(b"\n") == 50
    endless = CliRunner().invoke(app, ["simulate", "--out", str(first)])
    assert "say how many with --events N" in str(endless.exception)


# Following


def test_subscribe_once_prints_a_row_for_each_list_with_titles(lists: Settings) -> None:
    result = millstream(lists, "subscribe", "--once", "--titles", "online-retail")

    rows = result.stdout.splitlines()
    assert len(rows) == 3
    assert sum("REGENCY CAKESTAND 3 TIER 0.50" in row for row in rows) == 2
    assert any("WHITE HANGING HEART T-LIGHT HOLDER 0.50 · no-such-item 0.50" in row for row in rows)
    assert "skipped 1 records" in result.stderr


def test_subscribe_shows_the_newest_list_of_one_user_as_json(lists: Settings) -> None:
    result = millstream(lists, "subscribe", "--user", "ana", "--once", "--json", "--titles", "online-retail")

    (line,) = result.stdout.splitlines()
    shown = json.loads(line)
    assert (shown["user"], shown["epoch"]) == ("ana", 2)
    assert shown["items"] == [
        {"item": "85123A", "score": 0.5, "title": "WHITE HANGING HEART T-LIGHT HOLDER"},
        {"item": "no-such-item", "score": 0.5},
    ]


def test_subscribe_leaves_after_the_limit(lists: Settings) -> None:
    result = millstream(lists, "subscribe", "--from", "earliest", "--limit", "2", "--json")

    assert len(result.stdout.splitlines()) == 2


def test_a_reader_that_leaves_early_is_no_error(lists: Settings) -> None:
    command = arguments(lists, sys.executable, "-m", "millstream", "subscribe", "--from", "earliest", "--json")
    reading, writing = os.pipe()
    os.close(reading)  # as `| head` does when it has enough
    try:
        done = subprocess.run(command, stdout=writing, stderr=subprocess.PIPE, timeout=DEADLINE_SECONDS, check=False)
    finally:
        os.close(writing)

    assert done.returncode == 0
    assert b"BrokenPipe" not in done.stderr


def test_subscribe_leaves_with_its_reader_without_waiting_for_the_next_list(lists: Settings) -> None:
    command = arguments(lists, sys.executable, "-m", "millstream", "subscribe", "--user", "ana")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        process.stdout.close()

        assert ended_within(process, DEADLINE_SECONDS) == 0


def follow(following: ListSubscription, num_lists: int) -> Iterator[tuple[str, int | None]]:
    """Yield user and epoch (None: erased) of the next lists."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while num_lists > 0 and time.monotonic() < deadline:
        for published in following.poll(0.1):
            num_lists -= 1
            yield published.user, published.recommendation and published.recommendation.epoch


def test_a_subscription_to_one_user_gives_the_newest_list_then_each_new_one(lists: Settings) -> None:
    topic = lists.topics.recommendations
    with ListSubscription(lists.kafka, topic, user="ana") as following:
        assert list(follow(following, 1)) == [("ana", 2)]

        with EventProducer(lists.kafka, topic) as producer:
            producer.send(b"ben", msgspec.json.encode(recommendation("ben", 3, "22423")))
            producer.send(b"ana", msgspec.json.encode(recommendation("ana", 3, "22423")))
            producer.flush()

        assert list(follow(following, 1)) == [("ana", 3)]
        assert following.poll(0.0) == []


def test_a_list_published_while_the_newest_is_looked_up_is_given_once(
    lists: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def published_first(kafka: KafkaSettings, topic: str, wanted: Callable[[Record], bool]) -> Record | None:
        with EventProducer(kafka, topic) as producer:
            producer.send(b"ana", msgspec.json.encode(recommendation("ana", 3, "22423")))
        return newest_record(kafka, topic, wanted)

    monkeypatch.setattr(list_subscription, "newest_record", published_first)
    with ListSubscription(lists.kafka, lists.topics.recommendations, user="ana") as following:
        found = list(follow(following, 1))
        while not following.caught_up():
            found.extend((published.user, 0) for published in following.poll(0.1))

    assert found == [("ana", 3)]


def test_a_subscription_from_the_earliest_has_everyones_lists_and_counts_what_is_none(lists: Settings) -> None:
    with ListSubscription(lists.kafka, lists.topics.recommendations, start="earliest") as following:
        found = list(follow(following, 3))

        assert sorted(found, key=str) == [("ana", 1), ("ana", 2), ("ben", 1)]
        while not following.caught_up():
            following.poll(0.1)
        assert following.num_unreadable == 1


# Other clients


@needs_kcat
def test_kcat_reads_what_we_write(settings: Settings) -> None:
    with EventSender(settings.kafka, settings.topics.events) as sender:
        sender.send(Event(user="ana", item="film-1", type="click", ts=1_291_191_960_000))

    read = ["kcat", "-C", "-q", "-e", "-b", settings.kafka.bootstrap_servers, "-t", settings.topics.events]
    printed = subprocess.run([*read, "-f", "%k %s\n"], capture_output=True, timeout=DEADLINE_SECONDS, check=True)

    assert printed.stdout == b'ana {"user":"ana","item":"film-1","type":"click","ts":1291191960000}\n'


@needs_kcat
def test_kcat_with_the_partitioner_of_the_document_puts_a_user_where_we_do(settings: Settings) -> None:
    users = [f"user-{number}" for number in range(20)]
    with EventSender(settings.kafka, settings.topics.events) as sender:
        for user in users:
            sender.send(Event(user=user, item="1", type="click"))
    lines = "".join(f'{user}\t{{"user":"{user}","item":"1","type":"click"}}\n' for user in users)
    write = ["kcat", "-P", "-b", settings.kafka.bootstrap_servers, "-t", settings.topics.events, "-K", "\t"]
    partitioner = ["-X", "topic.partitioner=murmur2_random"]
    subprocess.run([*write, *partitioner], input=lines.encode(), timeout=DEADLINE_SECONDS, check=True)

    partitions: dict[bytes | None, set[int]] = {}
    for record in records_of(settings, settings.topics.events):
        partitions.setdefault(record.key, set()).add(record.partition)

    assert len(partitions) == 20
    assert all(len(found) == 1 for found in partitions.values())
    assert len(set.union(*partitions.values())) == 3


# Examples


def example(name: str, *words: str) -> str:
    path = Path(__file__).resolve().parents[2] / "examples" / name
    command = [sys.executable, str(path), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=True)
    return done.stdout


def test_the_examples_run(broker: Any) -> None:
    with EmbeddedBroker() as own:  # they use the usual topics, which the shared one may hold for others
        ensure_topics(Settings(kafka=KafkaSettings(bootstrap_servers=own.bootstrap_servers)))

        produced = example("produce_events.py", own.bootstrap_servers)
        followed = example("follow_lists.py", own.bootstrap_servers, "1")

    assert "refused: event user=''" in produced
    assert "sent 863 events, 863 acknowledged" in produced
    assert followed == "0 users have a list\n"
