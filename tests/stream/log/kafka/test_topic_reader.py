"""Reading while nothing comes."""

from types import SimpleNamespace
from typing import Any

from stream.log.kafka.topic_reader import poll_in_order


class Consumer:
    """Answers polls from a list of what each returns, and counts them."""

    def __init__(self, *answers: dict[Any, list[Any]]) -> None:
        self._answers = list(answers)
        self.num_polls = 0

    def poll(self, timeout_ms: int, max_records: int) -> dict[Any, list[Any]]:
        self.num_polls += 1
        return self._answers.pop(0) if self._answers else {}


def raw(partition: int, offset: int) -> Any:
    return SimpleNamespace(
        topic="events", partition=partition, offset=offset, key=None, value=b"x", headers=[], timestamp=7
    )


def test_waiting_asks_a_few_times_and_not_without_pause() -> None:
    idle = Consumer()

    assert poll_in_order(idle, 0.2, 10) == []

    assert 2 <= idle.num_polls <= 20  # pauses of 1, 2, 4, 8, 16, 20, 20… ms


def test_a_poll_without_patience_asks_once() -> None:
    idle = Consumer()

    assert poll_in_order(idle, 0.0, 10) == []
    assert idle.num_polls == 1


def test_records_that_come_while_it_waits_end_the_wait_and_are_in_order() -> None:
    consumer = Consumer({}, {}, {1: [raw(1, 4)], 0: [raw(0, 8), raw(0, 9)]})

    records = poll_in_order(consumer, 60.0, 10)

    assert [(record.partition, record.offset) for record in records] == [(0, 8), (0, 9), (1, 4)]
    assert records[0].timestamp_ms == 7
    assert consumer.num_polls == 3
