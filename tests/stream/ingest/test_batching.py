"""A batch closes when it is full or when its oldest record has waited long enough."""

from stream.config.settings import BatchingSettings
from stream.ingest.batching import MicroBatcher
from tests.support.events import ManualClock, record


def batcher(clock: ManualClock, max_events: int = 3) -> MicroBatcher:
    return MicroBatcher(BatchingSettings(max_events=max_events, max_delay_seconds=0.5), clock)


def test_an_empty_batch_is_never_due() -> None:
    clock = ManualClock()
    open_batch = batcher(clock)

    clock.advance(1000.0)

    assert not open_batch.is_due()


def test_a_batch_closes_once_its_oldest_record_has_waited_the_full_delay() -> None:
    clock = ManualClock()
    open_batch = batcher(clock)
    open_batch.add([record(b"a")])

    clock.advance(0.25)
    open_batch.add([record(b"b", offset=1)])
    assert not open_batch.is_due()
    assert open_batch.remaining_seconds() == 0.25

    clock.advance(0.25)
    assert open_batch.is_due()
    assert open_batch.remaining_seconds() == 0.0


def test_a_full_batch_closes_at_once() -> None:
    open_batch = batcher(ManualClock(), max_events=2)

    open_batch.add([record(b"a")])
    assert open_batch.room() == 1
    open_batch.add([record(b"b", offset=1)])

    assert open_batch.is_due()


def test_a_batch_with_as_many_bytes_as_it_may_have_closes_at_once() -> None:
    open_batch = MicroBatcher(BatchingSettings(max_bytes=1_024), ManualClock())
    key_bytes = len(record(b"").key or b"")

    open_batch.add([record(b"a" * (1_023 - key_bytes))])
    assert (open_batch.room_bytes(), open_batch.is_due()) == (1, False)

    open_batch.add([record(b"b", offset=1)])
    assert open_batch.is_full()
    assert open_batch.is_due()
    open_batch.take()
    assert open_batch.room_bytes() == 1_024


def test_the_records_of_a_batch_are_in_partition_and_offset_order() -> None:
    open_batch = batcher(ManualClock())
    open_batch.add([record(b"c", partition=1, offset=7), record(b"a", partition=0, offset=3)])
    open_batch.add([record(b"b", partition=0, offset=4)])

    assert [taken.value for taken in open_batch.take()] == [b"a", b"b", b"c"]
    assert len(open_batch) == 0


def test_the_clock_of_the_next_batch_starts_with_its_own_first_record() -> None:
    clock = ManualClock()
    open_batch = batcher(clock)
    open_batch.add([record(b"a")])
    clock.advance(0.5)
    open_batch.take()

    open_batch.add([record(b"b")])

    assert not open_batch.is_due()
