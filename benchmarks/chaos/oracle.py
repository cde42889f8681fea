"""The judge: everything that is in the log afterwards against a run in this process that nothing interrupted.

It trusts the journal's boundaries and clocks, as recovery does, and nothing else: they are checked against the records.
"""

import json
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from online_models import digest
from stream.config.settings import Settings
from stream.durability.checkpoints import Manifest
from stream.learning.worker_state import WorkerState, counts_of
from stream.publish import Publisher
from stream.wire.fingerprint import GENESIS, add_records, chained, hex_digits, lists_hash
from stream.wire.records import OutRecord, Record
from stream.wire.schema import ERROR_PREFIX, JournalEntry

__all__ = ["Evidence", "compare_runs", "judge"]

MOST_WORDS = 12
"""Lines of what parted; the first says it, the others follow from it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What a run left behind, as a subscriber that reads committed records sees it."""

    settings: Settings
    records: Mapping[int, list[Record]]
    """Partition of the events topic to its records, in order."""
    entries: list[JournalEntry]
    lists: list[Record]
    dead_letters: list[Record]
    offsets: Mapping[int, int]
    """Partition to what the group committed."""
    manifests: list[Manifest] = field(default_factory=list)
    """Of the checkpoints that are there, the newest first."""
    leftovers: list[str] = field(default_factory=list)
    """Whatever is in the folder of the checkpoints and is none."""


def judge(evidence: Evidence) -> list[str]:
    """Return what is not as in a run that nothing interrupted, in words; nothing: all is equal."""
    parted = [*_parted_journal(evidence), *_parted_folder(evidence)]
    if parted:
        return parted[:MOST_WORDS]  # the rest needs a journal
    parted = [*_parted_account(evidence), *_parted_rerun(evidence)]
    return parted[:MOST_WORDS]


def compare_runs(run: Evidence, other: Evidence) -> list[str]:
    """Return in what two runs over equal events differ, besides when they took place and how they are called."""
    facts: dict[str, Callable[[Evidence], list[object]]] = {
        "batches": _batches,
        "lists": _timeless_lists,
        "dead letters": _nameless_letters,
        "final state": lambda evidence: [manifest.digest for manifest in evidence.manifests[:1]],
    }
    parted: list[str] = []
    for name, facts_of in facts.items():
        parted += _first_difference(f"beside a worker of its own, {name}", facts_of(run), facts_of(other))
    return parted


def _parted_journal(evidence: Evidence) -> Iterator[str]:
    chain, next_offsets = GENESIS, dict.fromkeys(evidence.records, 0)
    for number, entry in enumerate(evidence.entries, start=1):
        if entry.epoch != number:
            yield f"journal: expected epoch {number}, got {entry.epoch}"
        if chained(chain, entry) != entry.chain:
            yield f"journal: the chain breaks at epoch {entry.epoch}"
        chain = entry.chain
        for number, span in entry.partitions.items():
            skipped = _between(evidence.records[number], next_offsets[number], span.first)
            if skipped or span.first < next_offsets[number] or entry.positions[number] != span.next:
                yield f"journal: epoch {entry.epoch} goes from {span} after {next_offsets[number]} in {number}"
        next_offsets = dict(entry.positions)
    if evidence.entries and next_offsets != dict(evidence.offsets):
        yield f"the group stands at {dict(evidence.offsets)}, the journal at {next_offsets}"
    for partition, records in evidence.records.items():
        if records and next_offsets[partition] <= records[-1].offset:
            yield f"partition {partition}: read up to {next_offsets[partition]} of {records[-1].offset + 1}"


def _parted_folder(evidence: Evidence) -> Iterator[str]:
    if evidence.leftovers:
        yield f"left in the folder of the checkpoints: {evidence.leftovers}"
    if len(evidence.manifests) > evidence.settings.checkpoints.keep + 1:
        yield f"{len(evidence.manifests)} checkpoints are kept"


def _parted_account(evidence: Evidence) -> Iterator[str]:
    """Account for every record without the code under test: dead letters by their headers, repetitions by their ids."""
    everything = [record for records in evidence.records.values() for record in records]
    letters = {_origin(letter) for letter in evidence.dead_letters}
    readable = [record for record in everything if (record.partition, record.offset) not in letters]
    applied = _without_repetitions(readable, evidence.settings.events.dedup_window)
    counts = {
        name: sum(entry.counts[name] for entry in evidence.entries) for name in ("events", "dead_letters", "duplicates")
    }
    expected = {
        "events": len(readable),
        "dead_letters": len(everything) - len(readable),
        "duplicates": len(readable) - len(applied),
    }
    if counts != expected or len(evidence.dead_letters) != expected["dead_letters"]:
        yield f"{len(everything)} records: expected {expected}, journalled {counts}, {len(letters)} dead letters"
    if evidence.entries and evidence.entries[-1].applied_hash != hex_digits(add_records(0, applied)):
        yield "what was applied is not what is in the log"
    whole = sum(int(entry.records_hash, 16) for entry in evidence.entries) % 2**64
    if whole != add_records(0, everything):
        yield "the batches together are not what is in the log"


def _without_repetitions(records: list[Record], window: int) -> list[Record]:
    newest: dict[int, deque[str]] = defaultdict(deque)
    applied = []
    for record in records:
        name = _id_of(record)
        seen = newest[record.partition]
        if name is not None and window:
            if name in seen:
                continue
            seen.append(name)
            if len(seen) > window:
                seen.popleft()
        applied.append(record)
    return applied


def _id_of(record: Record) -> str | None:
    try:
        name: str | None = json.loads(record.value or b"{}").get("id")
    except ValueError:  # it should have been a dead letter; the counts say so
        return None
    return name


def _parted_rerun(evidence: Evidence) -> Iterator[str]:
    """Learn everything again from nothing, in one go, and compare whatever comes out."""
    settings = evidence.settings
    state = WorkerState(settings, sorted(evidence.records))
    publisher = Publisher(settings, settings.topics.max_message_bytes)
    lists: list[OutRecord] = []
    letters: list[OutRecord] = []
    digests: dict[int, str] = {}
    wanted = {manifest.moment.epoch for manifest in evidence.manifests}
    for entry in evidence.entries:
        records = _batch(evidence, entry)
        decoded, encoded = state.read(records, entry.decisions)
        step = state.learn(decoded, encoded)
        top, touched = state.rank(encoded)
        made = publisher.lists(top, touched, state.encoder.items, entry.epoch, entry.generated_at_ms)
        counts = dict(counts_of(decoded, encoded, step)) | {"lists": len(made)}
        if (counts, state.applied_hash, lists_hash(made)) != (entry.counts, entry.applied_hash, entry.lists_hash):
            yield f"epoch {entry.epoch}: learned {counts} {state.applied_hash}, journalled {entry}"
        lists += made
        letters += publisher.dead_letters(decoded.dead_letters, entry.decoded_at_ms)
        if entry.epoch in wanted:
            digests[entry.epoch] = digest(state.state())
    yield from _parted_lists(evidence.lists, lists)
    yield from _parted_letters(evidence.dead_letters, letters)
    yield from _parted_states(evidence, digests)


def _batch(evidence: Evidence, entry: JournalEntry) -> list[Record]:
    records: list[Record] = []
    for partition, span in sorted(entry.partitions.items()):
        records += _between(evidence.records[partition], span.first, span.next)
    return records


def _between(records: list[Record], first: int, last: int) -> list[Record]:
    return [record for record in records if first <= record.offset < last]


def _parted_lists(found: list[Record], expected: list[OutRecord]) -> Iterator[str]:
    homes = {record.key: record.partition for record in found}
    by_home: dict[int | None, list[OutRecord]] = defaultdict(list)
    for wanted in expected:
        by_home[homes.get(wanted.key)].append(wanted)
    if missing := by_home.pop(None, []):
        yield f"{len(missing)} lists of users that have none, first {missing[0].key!r}"
    for partition in sorted(set(homes.values())):
        ours = [(record.key, record.value, record.headers) for record in found if record.partition == partition]
        theirs = [(record.key, record.value, record.headers) for record in by_home[partition]]
        yield from _first_difference(f"lists of partition {partition}", ours, theirs)


def _parted_letters(found: list[Record], expected: list[OutRecord]) -> Iterator[str]:
    stamped = {_origin(letter) for letter in expected if letter.timestamp_ms is not None}  # others: time of writing
    ours = [
        (letter.key, letter.value, letter.headers, letter.timestamp_ms if _origin(letter) in stamped else None)
        for letter in sorted(found, key=_origin)
    ]
    theirs = [(r.key, r.value, r.headers, r.timestamp_ms) for r in sorted(expected, key=_origin)]
    yield from _first_difference("dead letters", ours, theirs)


def _first_difference(what: str, ours: Sequence[object], theirs: Sequence[object]) -> Iterator[str]:
    if ours == theirs:
        return
    place = next((n for n, pair in enumerate(zip(ours, theirs, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        yield f"{what}: expected {len(theirs)}, got {len(ours)}"
    else:
        yield f"{what}: number {place} of {len(theirs)} ({len(ours)}): {theirs[place]!r:.400}, got {ours[place]!r:.400}"


def _parted_states(evidence: Evidence, digests: Mapping[int, str]) -> Iterator[str]:
    last = evidence.entries[-1].epoch if evidence.entries else 0
    if evidence.entries and (not evidence.manifests or evidence.manifests[0].moment.epoch != last):
        yield f"after the clean end the newest checkpoint is not of epoch {last}"
    for manifest in evidence.manifests:
        moment = manifest.moment
        if moment.epoch and manifest.digest != digests.get(moment.epoch):
            yield f"the state of the checkpoint of epoch {moment.epoch} is another one"
        if moment.epoch and moment.chain != evidence.entries[moment.epoch - 1].chain:
            yield f"the checkpoint of epoch {moment.epoch} knows another chain"


def _origin(letter: Record | OutRecord) -> tuple[int, int]:
    facts = dict(letter.headers)
    return int(facts[f"{ERROR_PREFIX}partition"] or b""), int(facts[f"{ERROR_PREFIX}offset"] or b"")


def _batches(evidence: Evidence) -> list[object]:
    return [
        (entry.epoch, entry.partitions, entry.positions, entry.counts, entry.records_hash, entry.applied_hash)
        for entry in evidence.entries
    ]


def _timeless_lists(evidence: Evidence) -> list[object]:
    ordered = sorted(evidence.lists, key=lambda record: (record.partition, record.offset))
    return [
        (record.key, msgspec.json.decode(record.value or b"{}") | {"generated_at": 0}, record.headers)
        for record in ordered
    ]


def _nameless_letters(evidence: Evidence) -> list[object]:
    named = (f"{ERROR_PREFIX}app", f"{ERROR_PREFIX}topic")
    return [
        (letter.key, letter.value, [header for header in letter.headers if header[0] not in named])
        for letter in sorted(evidence.dead_letters, key=_origin)
    ]
