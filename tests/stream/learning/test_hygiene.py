"""Ids that come once, or not any more, own no rows: admission and expiry in the stream, and after a restart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from online_models import NO_ROW, digest
from stream.config.settings import Settings
from stream.ingest.decode import Decoded
from stream.ingest.encode import Encoder
from stream.learning.worker_state import WorkerState
from stream.log.memory import MemoryLog
from stream.telemetry.observer import Observer
from stream.wire.decisions import Decisions
from stream.wire.records import Record
from stream.wire.schema import Event
from tests.stream.telemetry.test_observer import observed, value
from tests.support.events import NOW_MS, event_bytes, record, small_settings
from tests.support.lives import Lives, fast_settings

HOUR_MS = 3_600_000


def batch(items: list[str], time_ms: int, *, user: str = "ana", type: str = "click", offset: int = 0) -> list[Record]:
    """Return one record per item."""
    return [
        record(event_bytes(user, item, type, ts=time_ms), offset=offset + number) for number, item in enumerate(items)
    ]


def state_of(**model: Any) -> WorkerState:
    settings = {"scorer": "transitions", "user_capacity": 1_000, "item_capacity": 1_000, "item_floor": 0, **model}
    return WorkerState(small_settings(batching={"max_events": 500}, model=settings), [0])


def learn(state: WorkerState, records: list[Record]) -> list[str]:
    """Learn them at a wall clock years later; return the list of the user touched last."""
    decoded, encoded = state.read(records, Decisions(decoded_at_ms=NOW_MS * 2))
    assert not decoded.dead_letters
    state.learn(decoded, encoded)
    top, _ = state.rank(encoded)
    return [state.encoder.items.id_of(row) for row in top.item_rows[-1].tolist() if row != NO_ROW]


def test_an_item_without_events_for_its_whole_life_leaves_the_index_and_all_lists() -> None:
    state = state_of(item_ttl_seconds=3600)
    learn(state, batch(["old", "kept"] * 60, NOW_MS))
    assert "old" in learn(state, batch(["kept"], NOW_MS, user="ben"))

    listed = learn(state, batch(["kept"] * 200, NOW_MS + HOUR_MS + 2, user="ben"))

    assert state.encoder.items.get("old") is None
    assert state.encoder.items.get("kept") is not None
    assert "old" not in listed
    assert set(state.learner.history(0).tolist()) == {state.encoder.items.get("kept")}  # half of it was on the old one
    assert (state.encoder.items.num_expiries, state.encoder.items.num_evictions) == (1, 0)


def test_the_wall_clock_and_a_few_events_from_the_future_let_nothing_expire() -> None:
    state = state_of(item_ttl_seconds=3600)
    learn(state, batch(["a", "b"] * 60, NOW_MS))

    learn(state, batch(["future"] * 40, NOW_MS + 1_000 * HOUR_MS))

    assert state.encoder.items.num_expiries == 0


@pytest.mark.slow
def test_expiry_stops_at_the_floor() -> None:
    state = state_of(item_ttl_seconds=3600, item_floor=3)
    learn(state, batch([f"i{number}" for number in range(120)], NOW_MS))

    learn(state, batch(["new"] * 200, NOW_MS + 2 * HOUR_MS))

    assert len(state.encoder.items) == 3
    assert state.encoder.items.get("i119") is not None


@pytest.mark.slow
def test_users_expire_too_and_come_back_as_new_ones() -> None:
    state = state_of(user_ttl_seconds=3600)
    learn(state, batch(["a", "b"] * 60, NOW_MS))
    learn(state, batch(["c"] * 200, NOW_MS + 2 * HOUR_MS, user="ben"))

    assert state.encoder.users.get(0, "ana") is None
    assert (len(state.encoder.users), state.encoder.users.num_expiries) == (1, 1)
    learn(state, batch(["c"], NOW_MS + 2 * HOUR_MS))
    row = state.encoder.users.get(0, "ana")
    assert row == 0  # her old row, and nothing in it
    assert len(state.learner.history(row)) == 1


def test_an_item_is_learned_and_listed_from_the_event_on_that_completes_its_count() -> None:
    state = state_of(item_admission_events=3)
    decoded, encoded = state.read(batch(["a", "b", "a", "a", "b", "a"], NOW_MS), Decisions(decoded_at_ms=NOW_MS))
    assert (encoded.batch.item_rows == NO_ROW).tolist() == [True, True, True, False, True, False]

    report = state.learn(decoded, encoded)

    assert (report.num_learned, report.num_evaluated) == (2, 6)
    assert np.isinf(report.ranks["model"][:4]).all()  # a target that nobody could have listed is a miss
    assert (len(state.encoder.items), len(state.encoder.admission)) == (1, 1)
    assert len(state.learner.history(0)) == 2
    assert learn(state, batch(["b"], NOW_MS, user="ben")) == ["a", "b"]
    assert state.totals["learned"] == 3
    assert state.totals["events"] == 7


def test_impressions_and_dislikes_do_not_admit_an_item() -> None:
    state = state_of(item_admission_events=2)
    learn(state, batch(["a"] * 5, NOW_MS, type="impression"))
    learn(state, batch(["a"] * 5, NOW_MS, type="dislike"))
    learn(state, batch(["a"], NOW_MS))

    assert len(state.encoder.items) == 0
    learn(state, batch(["a"], NOW_MS))
    assert len(state.encoder.items) == 1


@pytest.mark.slow
def test_what_left_and_why_and_what_waits_is_counted() -> None:
    log, newest_ms = MemoryLog(), NOW_MS - HOUR_MS
    for items, time_ms in (
        (["a", "b"] * 60, newest_ms - 2 * HOUR_MS),
        (["c", "b"] * 100, newest_ms),
        (["d"], newest_ms),
    ):
        for item in items:
            log.produce(event_bytes("ana", item, "click", ts=time_ms))
    model = {"item_ttl_seconds": 3600, "item_floor": 0, "item_admission_events": 2, "scorer": "transitions"}
    metrics, pipeline, _ = observed(log, model=model)
    Observer(metrics, pipeline.state, "transitions").refresh(pipeline.state)

    def count(reason: str) -> float:
        return value(metrics, "millstream_evictions_total", table="items", reason=reason)

    assert (count("expired"), count("full")) == (1, 0)  # a, of which nothing was seen for two hours
    assert value(metrics, "millstream_item_candidates") == 1
    assert value(metrics, "millstream_event_time_seconds") == newest_ms / 1000


HYGIENE = {"item_ttl_seconds": 0.05, "user_ttl_seconds": 0.05, "item_admission_events": 2, "item_floor": 2}


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["transitions", "sequence"])
def test_a_worker_that_dies_at_any_batch_expires_and_admits_as_one_that_never_did(scorer: str, tmp_path: Path) -> None:
    settings = fast_settings(
        batching={"max_events": 16},
        evidence={"impression": 0.5},
        model={"scorer": scorer, "history_length": 5, "sub_step_events": 8, **HYGIENE},
    )
    never, often = Lives(tmp_path / "never", settings), Lives(tmp_path / "often", settings)
    for lives in (never, often):
        (tmp_path / lives.folder.name).mkdir()
    one = never.start()
    for number in range(7):
        for lives in (never, often):
            produce(lives, number * 40, 40)
        one.run()
        other = often.start()
        other.run()
        if number % 3 == 0:
            other.checkpoint()
    again = often.start()

    assert digest(again.state()["encoder"]) == digest(one.state()["encoder"])  # type: ignore[arg-type]
    assert digest(again.state()["learner"]) == digest(one.state()["learner"])  # type: ignore[arg-type]
    encoder = again.pipeline.state.encoder
    assert min(encoder.items.num_expiries, encoder.users.num_expiries, len(encoder.admission)) > 0


def produce(lives: Lives, begin: int, number: int) -> None:
    """Append events of users and items that come for a while and go, one a millisecond."""
    for at in range(begin, begin + number):
        user, item = f"u{at // 20 + at % 3}", f"i{at // 10 + at % 7}" if at % 9 else f"once-{at}"
        value = event_bytes(user, item, "click", ts=NOW_MS + at)
        lives.log.produce(value, partition=(at // 20 + at % 3) % 2, timestamp_ms=NOW_MS + at)


def drifting_hit_ratio(settings: Settings) -> tuple[float, int]:
    """Return the hit ratio of a stream's last half, with a new catalogue every 500 events, and its number of items."""
    state = WorkerState(settings, [0])
    rng = np.random.default_rng(3)
    hits, offset = [], 0
    for number in range(60):
        generation = number // 5
        records = []
        for _ in range(100):
            user, item = rng.integers(0, 40), f"g{generation}-{int(12 * rng.random() ** 2)}"
            value = event_bytes(f"u{user}", item, "click", ts=NOW_MS + offset * 1_000)
            records.append(record(value, offset=offset))
            offset += 1
        decoded, encoded = state.read(records, Decisions(decoded_at_ms=NOW_MS * 2))
        report = state.learn(decoded, encoded)
        if number >= 30:
            hits += (report.ranks["popularity"] <= 5).tolist()
    return float(np.mean(hits)), len(state.encoder.items)


@pytest.mark.slow
def test_where_items_die_and_are_born_expiry_lists_better_than_a_table_full_of_dead_ones() -> None:
    def settings(**model: Any) -> Settings:
        sizes = {"scorer": "popularity", "k": 5, "item_floor": 5, "item_capacity": 1_000, "user_capacity": 1_000}
        return small_settings(batching={"max_events": 500}, model={**sizes, "sub_step_events": 64, **model})

    (with_expiry, few), (without, many) = (
        drifting_hit_ratio(settings(item_ttl_seconds=150)),
        drifting_hit_ratio(settings()),
    )

    assert with_expiry > 1.2 * without
    assert few < many


def test_what_a_batch_costs_the_encoder_does_not_grow_with_the_table() -> None:
    """Counted and not timed: rows that a batch of all new ids frees, of a full table with an old half."""
    settings = small_settings(batching={"max_events": 500}, model={"item_capacity": 6_400, "user_capacity": 6_400})
    encoder = Encoder(settings, [0])
    resets = []
    for number in range(40):
        names = range(number * 500, number * 500 + 500)
        events = [Event(user=f"u{name}", item=f"i{name}", type="click") for name in names]
        encoded = encoder.encode(
            Decoded(events, [record(b"", offset=name) for name in names], [NOW_MS] * 500, [0] * 500)
        )
        resets.append(len(encoded.batch.reset_item_rows))

    assert max(resets) == 500
    assert sum(resets) == encoder.items.num_evictions
