"""Write what lies in this folder: what Millstream of commit b6d9232 leaves behind. It runs on that commit alone.

    git worktree add ../then b6d9232
    PYTHONPATH=../then python tests/data/written_by_b6d9232/write.py

It is written once and kept: what is to be shown is that this can be read by versions that would write something else.
README.md says what the files hold.
"""

# ruff: noqa: I001 - the modules are those of that commit; ruff orders imports by which of them are here
import io
import json
import lzma
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

import stream
from online_models import Batch, OnlineLearner, State, StepReport, flatten, unflatten
from producers.datasets import dataset
from producers.encoding import encode_event, event_key
from stream.checkpoints import CheckpointStore, name_of
from stream.memory import MemoryHistory, MemoryLog, MemoryTransport
from stream.pipeline import Clocks, Pipeline
from stream.records import Headers, OutRecord, Record
from stream.recovery import Recovery
from stream.schema import EVENT_TYPES, Event
from stream.settings import Settings
from stream.state import WorkerState, make_learner

COMMIT = "b6d9232"
HERE = Path(__file__).parent
NUM_PARTITIONS = 2
BATCH = 8
BEGUN_MS = 1_700_000_000_000
"""When the first record arrives. The times of the events are those of the data set."""
NUM_ROWS_READ, NUM_ITEMS, EVENTS_PER_USER = 20_000, 7, range(5, 13)
"""Few items: a sum over fewer of them than a vector has places is the same with all vector instructions."""
KEPT_BITS = 2
"""Of the fraction of every number of the networks; whole ones cannot be compressed."""

POPULARITY: dict[str, dict[str, Any]] = {
    "batching": {"max_events": BATCH},
    "evidence": {"owned": ["dislike"], "like": 2.0},
    "model": {
        "scorer": "popularity",
        "k": 3,
        "device": "cpu",
        "sub_step_events": 4,
        "history_length": 10,
        "user_capacity": 1000,
        "item_capacity": 100,
    },
    "quality": {"window_events": 50},
}
SEQUENCE = {**POPULARITY, "model": {**POPULARITY["model"], "scorer": "sequence"}}


class Outgoing(NamedTuple):
    """A record to be produced."""

    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers


BAD: list[tuple[bytes | None, Headers]] = [
    (b"not json", []),
    (None, []),
    (b'{"user":"17850","type":"click"}', [("trace", b"\x00\xff"), ("nothing", b"")]),
    (b'{"user":"17850","item":"22910","type":"stare"}', []),
    (b'{"user":"","item":"22910","type":"click"}', []),
    (b'{"user":"17850","item":"22910","type":"click","ts":1900000000000}', []),
    (b'{"user":"17850","item":"22910","type":"click"}', [("ce_specversion", b"1.0"), ("ce_id", b"7")]),
]
"""Values and headers of records that cannot be read, each for another reason."""


class Poisoned(OnlineLearner):
    """A learner that says of a like that its loss is not finite, so that the worker leaves it out of the batch."""

    def step(self, batch: Batch) -> StepReport:
        """Evaluate and learn; count likes as steps that were not finite."""
        report = super().step(batch)
        return replace(report, num_nonfinite_steps=int((batch.event_types == EVENT_TYPES.index("like")).sum()))


class Ticking:
    """A wall clock that never shows the same time twice."""

    def __init__(self) -> None:
        self.now_ms = BEGUN_MS

    def __call__(self) -> int:
        self.now_ms += 7
        return self.now_ms


class Workers:
    """A log in memory, a folder of checkpoints, and the workers that follow one another there."""

    def __init__(self, folder: Path, tree: dict[str, dict[str, Any]], records: Iterable[Outgoing]) -> None:
        self.folder, self.tree, self.records = folder, tree, iter(records)
        self.log = MemoryLog(NUM_PARTITIONS)
        self.store = CheckpointStore(str(folder), 100)
        self.wall_ms = Ticking()

    def start(self, make: Callable[[Settings], OnlineLearner] = make_learner, effort: str = "normal") -> None:
        """Start a worker; the one before, if any, was killed."""
        settings = Settings.model_validate({**self.tree, "model": {**self.tree["model"], "effort": effort}})
        self.store.unlock()  # as the system does when a process ends

        def untrained() -> WorkerState:
            return WorkerState(settings, range(NUM_PARTITIONS), make(settings))

        recovery = Recovery(settings, lambda: MemoryHistory(self.log), self.store, untrained)
        ticks = count()
        clocks = Clocks(monotonic=lambda: 0.03 * next(ticks), wall_ms=self.wall_ms)
        self.pipeline = Pipeline(settings, MemoryTransport(self.log), recovery, clocks=clocks)

    def produce(self, num_records: int) -> None:
        """Append the next records."""
        for partition, key, value, headers in islice(self.records, num_records):
            self.log.produce(value, partition=partition, key=key, headers=headers, timestamp_ms=self.wall_ms())

    def carry(self, num_batches: int) -> None:
        """Carry batches whose records arrive one batch at a time, so that each has some of both partitions."""
        for _ in range(num_batches):
            self.produce(BATCH)
            assert self.pipeline.run_once() is not None

    def checkpoint(self, change: Callable[[State], State] = lambda state: state) -> None:
        """Write a checkpoint, as a worker does now and then and at a clean stop."""
        moment = self.pipeline.moment()
        self.store.write(moment, change(self.pipeline.state.state()), self.wall_ms())
        self.pipeline.checkpoint = name_of(moment.epoch)


def main() -> None:
    """Write both parts, and say how large they are."""
    expect_commit()
    for name, live in (("popularity", killed), ("sequence", stopped)):
        with tempfile.TemporaryDirectory() as folder:
            write(HERE / name, live(Path(folder)))
    sizes = {path: path.stat().st_size for path in sorted(HERE.rglob("*")) if path.is_file()}
    for path, size in sizes.items():
        print(f"{size:8,} {path.relative_to(HERE)}")
    print(f"{sum(sizes.values()):8,}")


def expect_commit() -> None:
    """Refuse other software than that which the folder is named after."""
    root = Path(stream.__file__).parents[1]
    for command, expected in (("rev-parse --short=7 HEAD", COMMIT), ("status --porcelain", "")):
        told = subprocess.run(["git", "-C", root, *command.split()], check=True, capture_output=True, text=True).stdout
        if told.strip() != expected:
            sys.exit(f"{root}: git {command}: expected {expected!r}, got {told.strip()!r}")


def killed(folder: Path) -> Workers:
    """Live three lives, of which the last is killed three batches after its checkpoint, with records left to read."""
    workers = Workers(folder, POPULARITY, eventful(retail()))

    def poisoned(settings: Settings) -> OnlineLearner:
        return Poisoned(make_learner(settings).config)

    workers.start(poisoned)
    workers.carry(3)
    workers.checkpoint()
    workers.carry(1)
    workers.start(poisoned, effort="low")
    workers.carry(2)
    workers.checkpoint()
    workers.carry(1)
    workers.start(poisoned)
    workers.carry(2)
    workers.produce(2 * BATCH)
    return workers


def stopped(folder: Path) -> Workers:
    """Live the life of a default model that is stopped cleanly, and see that it can be continued."""
    workers = Workers(folder, SEQUENCE, map(plain, retail()))
    workers.start()
    workers.carry(4)
    workers.checkpoint(coarse)
    workers.produce(2 * BATCH)
    workers.start()
    return workers


def retail() -> list[Event]:
    """Return the purchases and returns of the most frequent items by users who come again, in the order of the file."""
    rows = list(islice(dataset("online-retail").events(), NUM_ROWS_READ))
    frequent = {item for item, _ in Counter(row.item for row in rows).most_common(NUM_ITEMS)}
    rows = [row for row in rows if row.item in frequent]
    num_rows = Counter(row.user for row in rows)
    return [row for row in rows if num_rows[row.user] in EVENTS_PER_USER]


def plain(event: Event) -> Outgoing:
    """Return the record that `millstream produce` makes of an event."""
    return Outgoing(int(event.user) % NUM_PARTITIONS, event_key(event), encode_event(event), [])


def eventful(events: list[Event]) -> Iterator[Outgoing]:
    """Yield records: named ones, repeated ones, a late one, CloudEvents, likes, and some that cannot be read."""
    bad = iter(BAD)
    for number, event in enumerate(with_a_late_one(events)):
        named = msgspec.structs.replace(event, id=f"e{number}" if number % 3 else None)
        if number in (20, 47):
            named = msgspec.structs.replace(named, type="like")
        record = plain(named)
        if number % 10 == 6:
            record = record._replace(headers=cloud(number))
        yield record._replace(key=None) if number == 31 else record
        if number % 12 == 7:
            yield record
        if number % 6 == 3 and (unreadable := next(bad, None)):
            yield record._replace(value=unreadable[0], headers=unreadable[1])


def with_a_late_one(events: list[Event]) -> list[Event]:
    """Return the events with one moved behind the next of its user that happened later."""
    places = ((early, late) for late in range(20, len(events)) for early in range(late))
    early, late = next(pair for pair in places if comes_again_later(*(events[place] for place in pair)))
    return [*events[:early], *events[early + 1 : late + 1], events[early], *events[late + 1 :]]


def comes_again_later(early: Event, late: Event) -> bool:
    """Return whether a user took something, and something else at a later time."""
    return early.user == late.user and early.ts is not None and late.ts is not None and early.ts < late.ts


def cloud(number: int) -> Headers:
    """Return the headers of a CloudEvent in binary mode."""
    names = {"specversion": "1.0", "id": f"c{number}", "source": "/shop", "type": "shop.sale"}
    return [(f"ce_{name}", text.encode()) for name, text in names.items()]


def coarse(state: State) -> State:
    """Return the state with fewer digits in the networks, which is what makes it small."""
    arrays = flatten(state)
    for name, array in arrays.items():
        if name.startswith(("learner/scorers/sequence/", "learner/reranker/")) and array.dtype == np.float32:
            arrays[name] = rounded(array)
    return unflatten(arrays)


def rounded(array: Any) -> Any:
    """Return float32 numbers of which only the first bits of the fraction are not 0."""
    cut = 23 - KEPT_BITS
    bits = np.ascontiguousarray(array).view(np.uint32).astype(np.uint64)
    bits = (bits + (1 << (cut - 1))) >> cut << cut
    return bits.astype(np.uint32).view(np.float32).reshape(array.shape)


def write(target: Path, workers: Workers) -> None:
    """Write the log, what was published, the settings and the checkpoints."""
    target.mkdir(exist_ok=True)
    log = workers.log
    lines(target / "events.jsonl", [record for partition in log.partitions for record in partition])
    for name, topic in (("journal", log.journal_topic), ("recommendations",) * 2, ("dead_letters", "events.dlq")):
        lines(target / f"{name}.jsonl", log.published(topic))
    (target / "committed.json").write_text(json.dumps(log.committed, sort_keys=True) + "\n")
    (target / "settings.json").write_text(json.dumps(workers.tree, indent=2) + "\n")
    (target / "checkpoints.tar.xz").write_bytes(packed(workers.folder))


def lines(path: Path, records: Iterable[Record | OutRecord]) -> None:
    """Write records, one a line; bytes as the text of the same code points."""
    with path.open("w") as file:
        for record in records:
            fields = record._asdict() if isinstance(record, Record) else asdict(record)
            told = {name: text_of(value) for name, value in fields.items()}
            told["headers"] = [[name, text_of(value)] for name, value in record.headers]
            file.write(json.dumps(told, separators=(",", ":")) + "\n")


def text_of(value: object) -> object:
    """Return bytes as a text that JSON can hold."""
    return value.decode("latin-1") if isinstance(value, bytes) else value


def packed(folder: Path) -> bytes:
    """Return a folder's checkpoints as tar.xz, without the times and owners of this machine."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for path in sorted(folder.glob("epoch-*/*")):
            member = tarfile.TarInfo(str(path.relative_to(folder)))
            data = path.read_bytes()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    fours = {"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "lc": 0, "lp": 2, "pb": 2}
    return lzma.compress(whole.getvalue(), filters=[fours])


if __name__ == "__main__":
    main()
