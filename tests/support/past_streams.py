"""A stream in memory with a past that is worth looking back at: kills, repetitions, dead letters, checkpoints."""

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import msgspec

from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.durability.point_in_time import Past
from stream.durability.start_point import Beginning
from stream.durability.verification import Report, Verification
from stream.errors import TransactionInDoubt
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryHistory, MemoryLog, MemoryPublished, MemoryTransport
from stream.pipeline import Clocks, Pipeline
from stream.wire.fingerprint import GENESIS, chained
from stream.wire.records import OutRecord
from stream.wire.schema import JournalEntry
from tests.support.events import NOW_MS, event_bytes, memory_pipeline, small_settings

__all__ = ["Stream"]

NUM_PARTITIONS = 2


class Stream:
    """A log, a folder of checkpoints and the worker at it, which can be killed and started at will.

    Batches hold 8 records; users `u0` to `u10`, items `i0` to `i16`.
    """

    def __init__(self, folder: Path, settings: Settings | None = None) -> None:
        self.log = MemoryLog(NUM_PARTITIONS)
        self.settings = settings or small_settings()
        self.folder = folder
        self.store = CheckpointStore(str(folder), 100)
        self.now_ms = NOW_MS
        self.num_sent = 0
        self.pipeline: Pipeline | None = None

    def send(self, num_records: int) -> None:
        """Produce: every 7th is bad, every 5th repeats what its user did before."""
        for number in range(self.num_sent, self.num_sent + num_records):
            what = number - 11 if number % 5 == 0 else number
            user, item = f"u{number % 11}", f"i{what * 7 % 17}"
            value = b"bad" if number % 7 == 6 else event_bytes(user, item, "click", id=f"e{what}")
            self.log.produce(value, key=user.encode(), partition=number % 11 % NUM_PARTITIONS, timestamp_ms=NOW_MS)
        self.num_sent += num_records

    def start(self, beginning: Beginning | None = None, transport: MemoryTransport | None = None) -> Pipeline:
        """Start a worker, which ends the one before; what nothing else leads to is written down, as always."""
        clocks = Clocks(monotonic=lambda: 0.0, wall_ms=self._tick)
        self.store.unlock()  # as the system does when a process ends
        self.store = CheckpointStore(str(self.folder), 100)
        self.pipeline = memory_pipeline(
            self.log, self.settings, transport, self.store, beginning=beginning, clocks=clocks
        )
        if self.pipeline.recovered.is_new:
            self.checkpoint()
        return self.pipeline

    def work(self, num_batches: int = 10_000) -> None:
        """Carry so many batches, or all."""
        assert self.pipeline is not None
        for _ in range(num_batches):
            if self.pipeline.run_once() is None:
                return

    def kill_in(self, instant: str) -> None:
        """End a worker in a transaction, and start the next one."""

        def watch(reached: str) -> None:
            if reached == instant:
                raise OSError(f"killed at {instant}")

        self.start(transport=MemoryTransport(self.log, watch))
        assert self.pipeline is not None
        try:
            self.pipeline.run_once()
        except TransactionInDoubt:
            self.start()
            return
        raise AssertionError(f"the worker was not killed at {instant}")

    def checkpoint(self) -> str:
        """Write a checkpoint; return its name."""
        assert self.pipeline is not None
        moment = self.pipeline.moment()
        self.store.write(moment, self.pipeline.state.state(), self.now_ms)
        return f"epoch-{moment.epoch:012d}"

    def eventful(self) -> "Stream":
        """Live through two kills, with checkpoints at epochs 4 and 12; 20 epochs in all."""
        self.send(160)
        self.start()
        self.work(4)
        self.checkpoint()
        self.work(2)
        self.kill_in("records_sent")
        self.work(3)
        self.kill_in("transaction_committed")
        self.work(2)
        self.checkpoint()
        self.work()
        assert self.pipeline is not None
        assert self.pipeline.epoch == 20
        return self

    def copy(self, folder: Path) -> "Stream":
        """Return the same past in another log and folder, without a worker."""
        shutil.copytree(self.folder, folder, dirs_exist_ok=True)
        other = Stream(folder, self.settings)
        other.log = copy.deepcopy(self.log)
        other.now_ms, other.num_sent = self.now_ms, self.num_sent
        return other

    def history(self) -> MemoryHistory:
        """Return what was committed."""
        return MemoryHistory(self.log)

    def new_state(self) -> WorkerState:
        """Return an untrained state."""
        return WorkerState(self.settings, range(NUM_PARTITIONS))

    def past(self, **options: Any) -> Past:
        """Return the past as it can be seen now."""
        return Past(self.settings, self.history(), self.store, self.new_state, **options)

    def verify(self, first: int | None = None, until: int | None = None, **options: Any) -> Report:
        """Verify."""
        published = MemoryPublished(self.log)
        given = {"pause": lambda: None, **options}
        checked = Verification(self.settings, self.history(), published, self.store, self.new_state, **given)
        return checked.run(first, until)

    def journal(self) -> list[JournalEntry]:
        """Return the journal's entries."""
        return list(self.history().entries(1))

    def write_journal(self, entries: list[JournalEntry], *, relinked: bool = False) -> None:
        """Replace the journal; relinked: with the chain made right again, as one who covers a change would."""
        records: list[OutRecord] = []
        chain = GENESIS
        for entry in entries:
            if relinked:
                entry = msgspec.structs.replace(entry, chain=chained(chain, entry))
            chain = entry.chain
            records.append(OutRecord(self.log.journal_topic, entry.app.encode(), msgspec.json.encode(entry)))
        self.log.topics[self.log.journal_topic] = records

    def change_entry(self, epoch: int, *, relinked: bool = False, **fields: Any) -> None:
        """Change one entry of the journal."""
        entries = [
            msgspec.structs.replace(entry, **fields) if entry.epoch == epoch else entry for entry in self.journal()
        ]
        self.write_journal(entries, relinked=relinked)

    def lists(self) -> list[OutRecord]:
        """Return the records of the recommendations topic, to be changed in place."""
        return self.log.topics["recommendations"]

    def place_of_list(self, epoch: int, place: int = 0) -> int:
        """Return where a list of an epoch stands in the topic."""
        places = [at for at, record in enumerate(self.lists()) if json.loads(record.value or b"{}")["epoch"] == epoch]
        return places[place]

    def compact(self) -> None:
        """Keep only the newest list of every user."""
        newest = {record.key: record for record in self.lists()}
        self.log.topics["recommendations"] = [r for r in self.lists() if newest[r.key] is r]

    def _tick(self) -> int:
        self.now_ms += 1
        return self.now_ms
