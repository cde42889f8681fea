"""What an earlier Millstream wrote, as a log in memory and a folder of checkpoints: for tests of an upgrade."""

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stream.config.settings import Settings
from stream.durability.checkpoints import CheckpointStore
from stream.log.memory import MemoryHistory, MemoryLog
from stream.wire.records import Headers, OutRecord, Record
from stream.wire.schema import JournalEntry

__all__ = ["WrittenBefore", "written_before"]

FOLDER = Path(__file__).parents[1] / "data" / "written_by_b6d9232"
NUM_PARTITIONS = 2


@dataclass(frozen=True)
class WrittenBefore:
    """A log, the checkpoints beside it, and the settings of the worker that wrote both."""

    log: MemoryLog
    folder: Path
    settings: Settings

    @property
    def store(self) -> CheckpointStore:
        """The checkpoints, to be read."""
        return CheckpointStore(str(self.folder), 100, read_only=True)

    @property
    def history(self) -> MemoryHistory:
        """What was committed."""
        return MemoryHistory(self.log)

    def journal(self) -> list[JournalEntry]:
        """Return all entries of the journal."""
        return list(self.history.entries(1))


def written_before(part: str, folder: Path) -> WrittenBefore:
    """Return one part of what commit b6d9232 wrote; its README says what each holds.

    Args:
        part: `popularity` or `sequence`.
        folder: to put a copy of the checkpoints into.
    """
    source = FOLDER / part
    log = MemoryLog(NUM_PARTITIONS)
    for row in _rows(source / "events.jsonl"):
        record = Record(**row)
        log.partitions[record.partition].append(record)
    for name in ("journal", "recommendations", "dead_letters"):
        for row in _rows(source / f"{name}.jsonl"):
            log.topics.setdefault(row["topic"], []).append(OutRecord(**row))
    committed = json.loads((source / "committed.json").read_text())
    log.committed = {int(partition): offset for partition, offset in committed.items()}
    with tarfile.open(source / "checkpoints.tar.xz") as tar:
        tar.extractall(folder, filter="data")
    return WrittenBefore(log, folder, Settings.model_validate_json((source / "settings.json").read_text()))


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        headers: Headers = [(name, _bytes(value)) for name, value in row["headers"]]
        yield row | {"key": _bytes(row["key"]), "value": _bytes(row["value"]), "headers": headers}


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else text.encode("latin-1")
