"""The worker as a process of its own, for tests: started, looked at and ended; and what it must leave behind."""

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import msgspec

from stream.config.settings import Settings
from stream.log.kafka import EventProducer, TopicReader
from stream.wire.records import Record
from stream.wire.schema import JournalEntry, Recommendation
from tests.contracts.test_transports import read_all
from tests.support.events import event_bytes

DEADLINE_SECONDS = 90.0
TOPICS = ("events", "items", "recommendations", "dead_letters", "journal")


class Process(Protocol):
    """What of `subprocess.Popen` is needed here."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, signal: int) -> None: ...


def as_command(arguments: list[str], log: Path) -> Process:
    """Start `millstream` with these arguments, as a person would."""
    with log.open("wb") as output:
        command = [sys.executable, "-m", "millstream", *arguments]
        return subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)


class WorkerProcess:
    """`millstream run` with small batches on a broker of the tests.

    Args:
        settings: names of topics and worker, and the brokers.
        log: file for what it prints; `checkpoints` is a folder beside it.
        flags: of `millstream run`.
        start_process: how the process comes to be.
        overrides: other settings, as `section.key`.
    """

    def __init__(
        self,
        settings: Settings,
        log: Path,
        *flags: str,
        start_process: Callable[[list[str], Path], Process] = as_command,
        **overrides: Any,
    ) -> None:
        chosen = {
            "metrics.port": 0,
            "log.level": "DEBUG",
            **{f"topics.{name}": getattr(settings.topics, name) for name in TOPICS},
            "kafka.bootstrap_servers": settings.kafka.bootstrap_servers,
            "worker.group_id": settings.worker.group_id,
            "worker.transactional_id": settings.worker.transactional_id,
            "batching.max_events": 40,
            "model.k": 5,
            "checkpoints.url": log.parent / "checkpoints",
            **overrides,
        }
        arguments = ["run", *flags]
        for name, value in chosen.items():
            arguments += ["--set", f"{name}={value}"]
        self.log = log
        self.process = start_process(arguments, log)

    def text(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def wait(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def produce(settings: Settings, first: int, last: int) -> None:
    with EventProducer(settings.kafka, settings.topics.events) as producer:
        for number in range(first, last):
            user = f"u{number % 97}"
            value = event_bytes(user, f"i{number * 7 % 53}", "click") if number % 50 else b"bad"
            producer.send(user.encode(), value)


def read(settings: Settings, topic: str) -> list[Record]:
    with TopicReader(settings.kafka, topic) as reader:
        return read_all(reader)


def journal(settings: Settings) -> list[JournalEntry]:
    return [
        msgspec.json.decode(record.value, type=JournalEntry)
        for record in read(settings, settings.topics.journal)
        if record.value is not None
    ]


def until(holds: Callable[[], bool], worker: WorkerProcess) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert worker.process.poll() is None, f"the worker ended early:\n{worker.text()}"
        assert time.monotonic() < deadline, f"not in {DEADLINE_SECONDS} s:\n{worker.text()}"
        time.sleep(0.1)


def num_read(settings: Settings) -> int:
    entries = journal(settings)
    return sum(entries[-1].positions.values()) if entries else 0


def assert_every_event_is_accounted_for_once(settings: Settings, num_events: int) -> None:
    entries = journal(settings)
    assert [entry.epoch for entry in entries] == list(range(1, len(entries) + 1))
    next_offset = Counter[str]()
    for entry in entries:
        for partition, span in entry.partitions.items():
            assert span.first == next_offset[partition], "a record was skipped or read twice"
            next_offset[partition] = span.next
    assert sum(next_offset.values()) == num_events
    totals = Counter[str]()
    for entry in entries:
        totals.update(entry.counts)
    assert totals["learned"] + totals["dead_letters"] == num_events
    assert len(read(settings, settings.topics.dead_letters)) == totals["dead_letters"] == num_events // 50

    lists = Counter[int]()
    seen: set[tuple[int, str]] = set()
    for record in read(settings, settings.topics.recommendations):
        assert record.value is not None
        published = msgspec.json.decode(record.value, type=Recommendation)
        assert (published.epoch, published.user) not in seen, "a list was published twice"
        seen.add((published.epoch, published.user))
        lists[published.epoch] += 1
    assert lists == {entry.epoch: entry.counts["lists"] for entry in entries if entry.counts["lists"]}
