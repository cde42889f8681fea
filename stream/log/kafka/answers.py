"""What the brokers say of the end of the log, and whether they answer at all."""

import time
from dataclasses import dataclass, field
from typing import Any

from kafka import TopicPartition, errors

from stream.config.settings import Settings
from stream.errors import BrokerUnreachable

__all__ = ["Answers", "HeldBack"]

INTERVAL_SECONDS = 1.0
"""How often the end offsets are asked for; each time is one request."""
PAUSE_RATIO = 3.0
"""Pause between two questions, in times of what the answer took: slow brokers are not asked all the time."""


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What is in the log and cannot be read, because an upstream transaction before it has not ended."""

    records: dict[int, int] = field(default_factory=dict)
    """Offsets from the last stable one to the end of the log, per partition."""
    seconds: float = 0.0
    """For how long the last stable offset of a partition has stood still before its end; the longest."""


class Answers:
    """Asks for the committed ends of the partitions now and then, and knows when the brokers answered last.

    A fetched record and a commit are answers, too: brokers that are slow to tell the end of the log are not silent.

    Args:
        consumer: reads the partitions.
        partitions: all of the events topic.
        settings: how long an answer may take, and how long all may be silent.
    """

    def __init__(self, consumer: Any, partitions: list[TopicPartition], settings: Settings) -> None:
        self._consumer, self._partitions, self._settings = consumer, partitions, settings
        self._due = self._answered = self._asked = time.monotonic()
        self.ends: dict[int, int] = {}
        """Offset after the last committed record that can be read, per partition, as of the last answer."""
        self.held_back = HeldBack()
        """What an open transaction keeps from being read, as of the last answer."""
        self._held_since: dict[int, tuple[int, float]] = {}  # last stable offset, and since when it is that one

    def came(self) -> None:
        """The brokers have answered something."""
        self._answered = time.monotonic()

    def ask_when_due(self) -> bool:
        """Ask if it is time, and return whether there is a new answer.

        Raises:
            BrokerUnreachable: no answer of any kind for `worker.broker_deadline_seconds`.
        """
        begun = time.monotonic()
        if begun < self._due:
            return False
        self._asked = begun
        worker, limit_ms = self._settings.worker, self._settings.kafka.request_timeout_ms
        timeout_ms = min(limit_ms, int(worker.broker_deadline_seconds * 1_000) + 1)
        try:
            ends = self._consumer.end_offsets(self._partitions, timeout_ms=timeout_ms)
        except errors.KafkaError as error:
            self._due = time.monotonic() + INTERVAL_SECONDS
            silent_seconds = self.silent_seconds()
            if silent_seconds > worker.broker_deadline_seconds:
                raise BrokerUnreachable(f"the brokers have not answered for {silent_seconds:.0f} s") from error
            return False
        self.came()
        self._due = self._answered + max(INTERVAL_SECONDS, PAUSE_RATIO * (self._answered - begun))
        self.ends = {partition.partition: end for partition, end in ends.items()}
        self._compare_with_log_ends()
        return True

    def _compare_with_log_ends(self) -> None:
        """Compare the last stable offsets with the ends of the log, which each answer to a fetch tells."""
        records = {
            p.partition: max(0, (self._consumer.highwater(p) or 0) - self.ends[p.partition]) for p in self._partitions
        }
        for number, stable in self.ends.items():
            if not records[number] or self._held_since.get(number, (-1, 0.0))[0] != stable:
                self._held_since[number] = (stable, self._answered)
        seconds = max(self._answered - since for _, since in self._held_since.values())
        self.held_back = HeldBack(records, seconds)

    def silent_seconds(self) -> float:
        """Return for how long the brokers have not answered; 0 when they answered the last question, or since."""
        return 0.0 if self._answered >= self._asked else time.monotonic() - self._answered
