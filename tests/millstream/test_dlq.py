"""`millstream dlq`: letters are found, shown safely, and sent again exactly once, also when that is interrupted."""

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from kafka import KafkaProducer, errors
from typer.testing import CliRunner, Result

from millstream import dead_letter_redrive
from millstream.dead_letter_redrive import Choice, Letters, Survey, send_again
from millstream.main import app
from stream.config.settings import Settings
from stream.errors import FencedError, RefusedToStart, TransactionInDoubt
from stream.log.kafka import ensure_topics
from stream.log.kafka.redrive import ReplayTransactions
from stream.publish import Publisher
from stream.wire.dead_letters import DeadCode, DeadLetter
from stream.wire.records import Record
from tests.contracts.test_transports import kafka_settings
from tests.support.events import event_bytes
from tests.support.workers import TOPICS, read

pytestmark = pytest.mark.broker

HOUR_MS = 3_600_000


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Desk:
    """The topics of one test, letters in them, and the command."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self._publisher = Publisher(settings, 1_000_000)

    def write(self, code: DeadCode, value: bytes | None, *, offset: int = 0, **fields: Any) -> None:
        """Write a letter as a worker does; one without a key lands in the partition that its event was in."""
        given = {"key": None, "headers": [], "partition": 0, "timestamp_ms": now_ms(), **fields}
        partition = given.pop("partition")
        topic = given.pop("topic", self.settings.topics.events)
        event = Record(topic, partition, offset, given["key"], value, given["headers"], given["timestamp_ms"])
        [out] = self._publisher.dead_letters([DeadLetter(event, code, "$: expected something else")], now_ms())
        with self.producer() as producer:
            producer.send(
                out.topic,
                value=out.value,
                key=out.key,
                headers=out.headers,
                timestamp_ms=out.timestamp_ms,
                partition=partition,
            ).get(10)

    def producer(self) -> Any:
        return KafkaProducer(bootstrap_servers=self.settings.kafka.bootstrap_servers)

    def run(self, *arguments: str, **environment: str) -> Result:
        names = {f"MILLSTREAM_TOPICS_{name.upper()}": getattr(self.settings.topics, name) for name in TOPICS}
        given = {
            **names,
            "MILLSTREAM_KAFKA_BOOTSTRAP_SERVERS": self.settings.kafka.bootstrap_servers,
            "MILLSTREAM_WORKER_TRANSACTIONAL_ID": self.settings.worker.transactional_id,
            **environment,
        }
        return CliRunner().invoke(app, ["dlq", *arguments], env=given)

    def events(self) -> list[Record]:
        return read(self.settings, self.settings.topics.events)


@pytest.fixture
def desk(broker: Any) -> Desk:
    one = kafka_settings(broker)
    settings = one.model_copy(update={"topics": one.topics.model_copy(update={"partitions": 2})})
    ensure_topics(settings)
    return Desk(settings)


def lines_of(result: Result) -> list[list[str]]:
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.output.splitlines()]


def test_letters_are_counted_by_code_and_the_newest_are_shown(desk: Desk) -> None:
    for number in range(3):
        desk.write(DeadCode.NOT_JSON, b"no", offset=number, timestamp_ms=now_ms() - HOUR_MS)
    desk.write(DeadCode.BAD_ID, b"{}", offset=9, key=b"ana", partition=1)

    shown = desk.run("list", "--limit", "1")

    rows = lines_of(shown)
    assert rows[0][1:3] == ["4", "letters,"]
    assert [row[0] for row in rows if "@" in row[0]] == ["1@0"]
    assert ["not_json", "3"] in rows
    assert ["bad_id", "1"] in rows


def test_letters_are_chosen_by_code_partition_and_time(desk: Desk) -> None:
    desk.write(DeadCode.NOT_JSON, b"old", timestamp_ms=now_ms() - 3 * HOUR_MS)
    desk.write(DeadCode.NOT_JSON, b"new")
    desk.write(DeadCode.BAD_ID, b"other", partition=1)

    def found(*flags: str) -> set[str]:
        listed = json.loads(desk.run("list", "--json", *flags).output)
        return {letter["id"] for letter in listed["newest"]}

    assert found() == {"0@0", "0@1", "1@0"}
    assert found("--code", "not_json") == {"0@0", "0@1"}
    assert found("--partition", "1") == {"1@0"}
    assert found("--since", "2h") == {"0@1", "1@0"}
    assert found("--since", "2h", "--code", "not_json") == {"0@1"}


def test_what_a_letter_holds_cannot_drive_a_terminal_or_forge_a_line(desk: Desk) -> None:
    evil = b"\x1b[2J\nmillstream: all is well\xff\xe2\x80\xae"
    desk.write(DeadCode.NOT_JSON, evil, key=evil, headers=[("a\x1b\nb", evil)])

    for arguments in (("list",), ("show", "0@0"), ("show", "0@0", "--json")):
        shown = desk.run(*arguments)
        assert shown.exit_code == 0, shown.output
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown.output), arguments
        assert not any(line.startswith("millstream: ") for line in shown.output.splitlines())


def test_the_raw_value_is_the_bytes_of_the_event_and_nothing_else(desk: Desk) -> None:
    desk.write(DeadCode.NOT_JSON, b"\x00\xff\nraw")

    assert desk.run("show", "0@0", "--raw").stdout_bytes == b"\x00\xff\nraw"


def test_a_letter_that_is_not_there_and_a_letter_without_a_choice_are_refused(desk: Desk) -> None:
    assert "expected a dead letter, found nothing" in str(desk.run("show", "0@5").exception)
    assert "expected partition@offset" in str(desk.run("show", "five").exception)
    assert "which letters?" in str(desk.run("replay").exception)


def test_an_event_is_sent_again_once_as_it_was(desk: Desk) -> None:
    value = event_bytes("ana", "film-1", id="e1")
    sent_ms = now_ms() - 5_000
    desk.write(DeadCode.FUTURE_TIME, value, key=b"ana", partition=1, headers=[("trace", b"7")], timestamp_ms=sent_ms)

    assert "can be sent again: future_time 1" in desk.run("replay", "--all", "--dry-run").output
    assert desk.events() == []
    assert "sent 1 events" in desk.run("replay", "1@0", "--yes").output
    again = desk.run("replay", "1@0", "--yes").output

    assert "was sent again before: future_time 1" in again
    [event] = desk.events()
    assert (event.key, event.value, event.partition, event.timestamp_ms) == (b"ana", value, 1, sent_ms)
    assert event.headers[0] == ("trace", b"7")
    assert dict(event.headers)["millstream.replay.of"] == f"{desk.settings.topics.dead_letters}[1]@0".encode()
    [letter] = json.loads(desk.run("list", "--json").output)["newest"]
    assert letter["sent_again"] is True


def test_nothing_is_sent_where_nobody_can_be_asked_and_nobody_said_yes(desk: Desk) -> None:
    desk.write(DeadCode.FUTURE_TIME, event_bytes("ana", "film-1"))

    assert "expected --yes" in str(desk.run("replay", "--all").exception)
    assert desk.events() == []


def test_what_would_be_a_dead_letter_again_is_left_out_unless_asked_for(desk: Desk) -> None:
    desk.write(DeadCode.NOT_JSON, b"no")
    desk.write(DeadCode.TOO_LARGE, event_bytes("ana", "film-1", context={"note": "s" * 300}))

    with_a_limit = desk.run("replay", "--all", "--yes", MILLSTREAM_EVENTS_MAX_VALUE_BYTES="256").output
    assert "would be a dead letter again: not_json 1, too_large 1" in with_a_limit
    assert "sent 1 events" in desk.run("replay", "--all", "--yes").output
    assert "sent 1 events" in desk.run("replay", "--all", "--yes", "--even-unreadable").output
    assert Counter(event.value for event in desk.events())[b"no"] == 1


def test_letters_of_another_topic_are_left_alone(desk: Desk) -> None:
    desk.write(DeadCode.FUTURE_TIME, event_bytes("ana", "film-1"), topic="elsewhere")

    assert "came from another topic: future_time 1" in desk.run("replay", "--all", "--yes").output
    assert desk.events() == []


def test_the_whole_of_a_cut_letter_is_taken_from_the_log(desk: Desk) -> None:
    whole = event_bytes("ana", "film-1", context={"note": "s" * 600})
    with desk.producer() as producer:
        producer.send(desk.settings.topics.events, value=whole, partition=0).get(10)
    desk._publisher = Publisher(desk.settings, 500)
    desk.write(DeadCode.TOO_LARGE, whole, offset=0)
    desk.write(DeadCode.TOO_LARGE, whole, offset=7)

    shown = desk.run("replay", "--all", "--yes").output

    assert "only a part of it was kept, and the whole is no longer in the log: too_large 1" in shown
    assert [event.value for event in desk.events()] == [whole, whole]


def fail_at(transactions: ReplayTransactions, method: str, call: int, error: Exception | None = None) -> None:
    """Let one call of the producer fail, and everything before it pass."""
    real: Callable[..., Any] = getattr(transactions._producer, method)
    calls = iter(range(1, 1_000))

    def sabotaged(*arguments: Any, **options: Any) -> Any:
        if next(calls) == call:
            raise error or OSError("the cable")
        return real(*arguments, **options)

    setattr(transactions._producer, method, sabotaged)


@pytest.mark.parametrize(("method", "call"), [("send", 6), ("flush", 2), ("commit_transaction", 2)])
def test_a_replay_that_is_interrupted_sends_the_rest_the_next_time(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, method: str, call: int
) -> None:
    monkeypatch.setattr(dead_letter_redrive, "MAX_TRANSACTION_RECORDS", 2)
    values = [event_bytes("ana", f"film-{number}") for number in range(5)]
    for offset, value in enumerate(values):
        desk.write(DeadCode.FUTURE_TIME, value, offset=offset)
    choice, said = Choice(), list[int]()

    with ReplayTransactions(desk.settings) as transactions:
        fail_at(transactions, method, call)
        survey = Survey.of(Letters(desk.settings, choice), even_unreadable=False)
        with pytest.raises(TransactionInDoubt, match=r"wholly or not at all .*run the same command again"):
            send_again(Letters(desk.settings, choice), survey, transactions, said.append)

    assert said == [2]
    assert [event.value for event in desk.events()] == values[:2]
    assert "sent 3 events" in desk.run("replay", "--all", "--yes").output
    assert [event.value for event in desk.events()] == values


def test_what_the_brokers_never_take_is_not_said_to_go_better_the_next_time(desk: Desk) -> None:
    desk.write(DeadCode.FUTURE_TIME, event_bytes("ana", "film-1"))
    with ReplayTransactions(desk.settings) as transactions:
        fail_at(transactions, "flush", 1, errors.MessageSizeTooLargeError())
        survey = Survey.of(Letters(desk.settings, Choice()), even_unreadable=False)

        with pytest.raises(RefusedToStart, match=r"raise the topic's max\.message\.bytes"):
            send_again(Letters(desk.settings, Choice()), survey, transactions, lambda _: None)

    assert desk.events() == []


def test_a_replay_ends_the_one_that_ran_before_it(desk: Desk) -> None:
    desk.write(DeadCode.FUTURE_TIME, event_bytes("ana", "film-1"))
    choice = Choice()
    with ReplayTransactions(desk.settings) as first:
        survey = Survey.of(Letters(desk.settings, choice), even_unreadable=False)
        assert "sent 1 events" in desk.run("replay", "--all", "--yes").output

        with pytest.raises(FencedError, match="another 'millstream dlq replay'"):
            send_again(Letters(desk.settings, choice), survey, first, lambda _: None)

    assert len(desk.events()) == 1
