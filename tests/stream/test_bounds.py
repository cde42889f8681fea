"""What grows has a limit: under a hot key, a burst, and a flood of ids never seen before."""

import tracemalloc
from collections.abc import Iterator
from itertools import count, pairwise

import pytest

from online_models import IdIndex
from stream.config.settings import Settings
from stream.ingest.decode import Decoded
from stream.ingest.deduplication import Deduplicator
from stream.ingest.encode import Encoder
from stream.log.memory import MemoryLog, MemoryTransport
from stream.pipeline import BatchReport, Pipeline
from stream.wire.schema import Event
from tests.support.events import NOW_MS, event_bytes, memory_pipeline, record
from tests.support.lives import fast_settings

MAX_EVENTS = 256
USERS, ITEMS, WINDOW, LENGTH = 1000, 256, 500, 10
NUM_PARTITIONS = 2


def settings() -> Settings:
    """Return settings whose limits a few thousand events reach."""
    return fast_settings(
        batching={"max_events": MAX_EVENTS},
        events={"dedup_window": WINDOW},
        quality={"window_events": 200},
        model={"user_capacity": USERS, "item_capacity": ITEMS, "history_length": LENGTH, "sub_step_events": 64},
    )


def pipeline_on(log: MemoryLog) -> tuple[Pipeline, MemoryTransport]:
    transport = MemoryTransport(log)
    return memory_pipeline(log, settings(), transport), transport


def drain(pipeline: Pipeline) -> Iterator[BatchReport]:
    while (report := pipeline.run_once()) is not None:
        yield report


def assert_within_limits(pipeline: Pipeline) -> None:
    encoder, learner = pipeline.state.encoder, pipeline.state.learner
    assert len(encoder.users) <= USERS
    assert len(encoder.items) <= ITEMS
    assert len(encoder.deduplicator) <= NUM_PARTITIONS * WINDOW
    for name, (used, allocated) in learner.table_sizes().items():
        limit = TABLE_LIMITS[name]
        assert used <= limit, name
        assert allocated <= 2 * max(limit, 1024), name
    # The interleaved rows of partitions can reach one beyond the capacity for each.
    assert learner.table_sizes()["histories.users"][0] <= USERS + NUM_PARTITIONS
    assert len(learner.history(0)) <= LENGTH


TABLE_LIMITS = {
    "histories.users": USERS + NUM_PARTITIONS,
    "owned.places": USERS * 1_000,  # as many as LearnerConfig.owned_capacity lets a user own
    "popularity.items": ITEMS,
    "transitions.items": ITEMS,
    "transitions.pairs": ITEMS * 1_000,
}


@pytest.mark.slow
def test_one_user_with_nine_tenths_of_the_traffic_neither_grows_without_end_nor_holds_the_others_up() -> None:
    log = MemoryLog(NUM_PARTITIONS)
    for number in range(6_000):
        other = number // 10 % 18
        user, partition = ("hot", 0) if number % 10 else (f"u{other}", other % 2)
        value = event_bytes(user, f"i{number % 97}", "click", id=f"e{number}", ts=NOW_MS + number)
        log.produce(value, partition=partition, timestamp_ms=NOW_MS)
    pipeline, transport = pipeline_on(log)

    reports = list(drain(pipeline))

    assert max(len(report.records) for report in reports) == MAX_EVENTS
    assert transport.lag() == {0: 0, 1: 0}
    assert pipeline.state.totals["learned"] == 6_000
    for report in reports:  # the hot user gets one list a batch, whatever he does
        assert report.num_lists == len({event.user for event in report.decoded.events}) <= 1 + 18
    hot = pipeline.state.encoder.users.get(0, "hot")
    assert hot is not None
    assert len(pipeline.state.learner.history(hot)) == LENGTH
    assert_within_limits(pipeline)


@pytest.mark.slow
def test_after_a_burst_of_a_hundred_times_the_rate_batches_stay_small_and_the_lag_drains() -> None:
    log = MemoryLog(NUM_PARTITIONS)
    pipeline, transport = pipeline_on(log)
    numbers = count()

    def produce(num_events: int) -> None:
        for number in (next(numbers) for _ in range(num_events)):
            value = event_bytes(f"u{number % 300}", f"i{number % 97}", "click", ts=NOW_MS + number)
            log.produce(value, partition=number % 300 % 2, timestamp_ms=NOW_MS)

    for _ in range(5):
        produce(50)
        assert [len(report.records) for report in drain(pipeline)] == [50]
    produce(5_000)
    sizes, lags = [], []
    for report in drain(pipeline):
        sizes.append(len(report.records))
        lags.append(sum(transport.lag().values()))
        produce(50 if len(sizes) <= 10 else 0)  # the ordinary events go on coming

    assert max(sizes) == MAX_EVENTS
    assert sum(sizes) == 5_000 + 50 * 10
    assert lags[-1] == 0
    assert all(later < earlier for earlier, later in pairwise(lags) if earlier)
    produce(50)
    assert [len(report.records) for report in drain(pipeline)] == [50]
    assert_within_limits(pipeline)


@pytest.mark.slow
def test_a_flood_of_users_items_and_events_never_seen_fills_the_tables_and_no_more() -> None:
    log = MemoryLog(NUM_PARTITIONS)
    pipeline, transport = pipeline_on(log)
    numbers = count()

    def flood(num_events: int) -> int:
        """Learn so many events of unseen ids; return the memory that Python holds then, bytes."""
        for number in (next(numbers) for _ in range(num_events)):
            value = event_bytes(
                f"user-{number}", f"item-{number}", "purchase", id=f"event-{number}", ts=NOW_MS + number
            )
            log.produce(value, partition=number % 2, timestamp_ms=NOW_MS)
        for report in drain(pipeline):
            assert len(report.records) <= MAX_EVENTS
        for partition in range(NUM_PARTITIONS):  # what the log holds is not ours
            log.truncate(partition, len(log.partitions[partition]))
        log.topics.clear()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        full = flood(2_000)
        assert_within_limits(pipeline)
        sizes = pipeline.state.learner.table_sizes()
        later = flood(2_000)
    finally:
        tracemalloc.stop()

    assert later - full < 150_000, "2 000 users, items and events more, and not 75 bytes for each"
    assert pipeline.state.learner.table_sizes() == sizes
    assert (len(pipeline.state.encoder.users), len(pipeline.state.encoder.items)) == (USERS, ITEMS)
    assert pipeline.state.encoder.users.num_evictions == 4_000 - USERS
    assert pipeline.state.encoder.items.num_evictions == 4_000 - ITEMS
    assert transport.lag() == {0: 0, 1: 0}
    assert_within_limits(pipeline)


@pytest.mark.slow
def test_a_million_ids_never_seen_leave_the_window_and_the_id_maps_at_their_limits() -> None:
    num_ids, block = 1_000_000, 20_000
    deduplicator, index = Deduplicator(WINDOW), IdIndex(ITEMS)

    def flood(begin: int) -> None:
        for number in range(begin, begin + block):
            deduplicator.sight(number % NUM_PARTITIONS, Event("ana", "a", "click", id=f"event-{number}"))
        for start in range(begin, begin + block, ITEMS):
            index.rows_for([f"item-{number}" for number in range(start, min(start + ITEMS, begin + block))])

    for begin in range(0, num_ids - 2 * block, block):
        flood(begin)
    tracemalloc.start()  # not before: it makes everything several times slower
    try:
        flood(num_ids - 2 * block)  # by now all that is held was made under its eyes
        held = tracemalloc.get_traced_memory()[0]
        flood(num_ids - block)
        grown = tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()

    assert (len(deduplicator), len(index)) == (NUM_PARTITIONS * WINDOW, ITEMS)
    assert index.num_evictions == num_ids - ITEMS
    assert grown < 50_000, "20 000 ids, and not three bytes for each"


@pytest.mark.slow
def test_the_encoder_stays_within_its_limits_under_ids_that_are_all_new() -> None:
    encoder = Encoder(settings(), range(NUM_PARTITIONS))
    for begin in range(0, 100_000, MAX_EVENTS):
        numbers = range(begin, begin + MAX_EVENTS)
        events = [Event(user=f"u{n}", item=f"i{n}", type="click", id=f"e{n}") for n in numbers]
        records = [record(b"", partition=n % NUM_PARTITIONS, offset=n) for n in numbers]

        encoded = encoder.encode(Decoded(events, records, [NOW_MS] * MAX_EVENTS, [0] * MAX_EVENTS))

        assert encoded.batch.item_rows.max() < ITEMS
        assert encoded.batch.user_rows.max() < USERS

    assert (len(encoder.users), len(encoder.items)) == (USERS, ITEMS)
    assert len(encoder.deduplicator) == NUM_PARTITIONS * WINDOW


@pytest.mark.parametrize("num_records", [0, 1, MAX_EVENTS, MAX_EVENTS + 1, 3 * MAX_EVENTS])
def test_a_batch_never_has_more_records_than_it_may(num_records: int) -> None:
    log = MemoryLog(NUM_PARTITIONS)
    for number in range(num_records):
        log.produce(b"bad", partition=number % 2, timestamp_ms=NOW_MS)
    pipeline, _ = pipeline_on(log)

    sizes = [len(report.records) for report in drain(pipeline)]

    assert sum(sizes) == num_records
    assert max(sizes, default=0) <= MAX_EVENTS
