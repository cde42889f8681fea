"""The whole state of a worker: saved in the middle of a stream and taken over, it goes on as if nothing happened."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from online_models import State, StateError, digest
from stream.config.settings import Settings
from stream.learning.worker_state import WorkerState, environment
from stream.wire.dead_letters import DeadCode
from stream.wire.decisions import Decisions
from stream.wire.records import Record
from tests.support.events import NOW_MS, event_bytes, record
from tests.support.lives import fast_settings

NUM_PARTITIONS = 2


def stream(num_batches: int) -> list[list[Record]]:
    """Return batches of 8 records with everything in them: evictions, repetitions, late, bad and withdrawn events."""
    offsets = [0] * NUM_PARTITIONS
    batches: list[list[Record]] = []
    for number in range(num_batches * 8):
        partition = number % NUM_PARTITIONS
        fields: dict[str, Any] = {"ts": NOW_MS + number * 1000 - (600_000 if number % 7 == 3 else 0)}
        what = number - NUM_PARTITIONS if number % 5 == 4 else number  # a fifth are the one before them again
        if number % 3:
            fields["id"] = f"e{what}"
        kinds = ("click", "purchase", "dislike", "impression", "view")
        user = f"u{what % 8}" if what % 4 < 2 else f"passer-by-{what}"
        value = event_bytes(user, f"i{what * 7 % 131}", kinds[what % 5], **fields)
        if number % 8 == 0:
            batches.append([])
        value = b"bad" if number % 11 == 6 else value
        batches[-1].append(record(value, partition=partition, offset=offsets[partition]))
        offsets[partition] += 1
    return [sorted(batch, key=lambda one: (one.partition, one.offset)) for batch in batches]


def settings(scorer: str = "transitions", **sections: dict[str, object]) -> Settings:
    """Return settings whose tables are too small for the stream: users and items are evicted, ids leave the window."""
    model = {"scorer": scorer, "history_length": 3, "item_capacity": 100, "user_capacity": 1000}
    quality = {"window_events": 40}
    return fast_settings(model=model, events={"dedup_window": 20}, quality=quality, **sections)


def learn(state: WorkerState, batches: Sequence[list[Record]]) -> list[tuple[Any, ...]]:
    """Learn them; return all that comes out of each but durations."""
    came_out = []
    for number, batch in enumerate(batches):
        decoded, encoded = state.read(batch, Decisions(decoded_at_ms=NOW_MS + 10_000_000 + number))
        step = state.learn(decoded, encoded)
        top, touched = state.rank(encoded)
        tables = (top.item_rows, top.scores, top.reasons, touched.rows, touched.event_times_ms, step.loss_nats)
        numbers = (step.num_events, step.num_learned, step.num_late, step.num_repeats, encoded.num_duplicates)
        came_out.append((*numbers, *(table.tobytes() for table in tables), tuple(touched.ids)))
    return came_out


@pytest.mark.slow
@pytest.mark.parametrize("scorer", ["sequence", "transitions", "popularity", "mf"])
def test_a_state_saved_in_the_middle_of_a_stream_goes_on_as_if_never_interrupted(scorer: str) -> None:
    batches = stream(400 if scorer == "transitions" else 30)
    middle = len(batches) // 2
    never = WorkerState(settings(scorer), range(NUM_PARTITIONS))
    learn(never, batches[:middle])
    restored = WorkerState(settings(scorer), range(NUM_PARTITIONS))
    restored.load(never.state())
    assert digest(restored.state()) == digest(never.state())

    assert learn(restored, batches[middle:]) == learn(never, batches[middle:])

    assert digest(restored.state()) == digest(never.state())
    assert (restored.totals, restored.applied_hash) == (never.totals, never.applied_hash)
    assert restored.quality.read() == never.quality.read()
    if scorer == "transitions":  # or the test would show less than it says
        assert never.encoder.users.num_evictions > 0
        assert never.encoder.items.num_evictions > 0
    assert min(never.totals[name] for name in ("learned", "duplicates", "late", "dead_letters")) > 0


@pytest.mark.slow
def test_a_state_saved_after_every_batch_goes_on_as_if_never_interrupted() -> None:
    never = WorkerState(settings(), range(NUM_PARTITIONS))
    always = WorkerState(settings(), range(NUM_PARTITIONS))
    for batch in stream(20):
        following = WorkerState(settings(), range(NUM_PARTITIONS))
        following.load(always.state())
        always = following
        assert learn(always, [batch]) == learn(never, [batch])

    assert digest(always.state()) == digest(never.state())


def test_a_saved_state_is_a_copy() -> None:
    batches = stream(20)
    state = WorkerState(settings(), range(NUM_PARTITIONS))
    learn(state, batches[:10])
    saved = state.state()
    before = digest(saved)

    learn(state, batches[10:])
    taken = WorkerState(settings(), range(NUM_PARTITIONS))
    taken.load(saved)
    learn(taken, batches[10:])

    assert digest(saved) == before
    assert digest(taken.state()) == digest(state.state()) != before


def test_the_totals_say_what_became_of_every_record() -> None:
    state = WorkerState(fast_settings(), range(1))
    batch = [
        record(event_bytes("ana", "a", id="1"), offset=0),
        record(event_bytes("ana", "a", id="1"), offset=1),  # a repetition
        record(event_bytes("ana", "b", ts=NOW_MS - 1), offset=2),  # late
        record(b"bad", offset=3),
        record(event_bytes("ben", "a"), offset=4),
    ]

    decoded, encoded = state.read(batch, Decisions(decoded_at_ms=NOW_MS, excluded={0: [4]}))
    state.learn(decoded, encoded)

    assert [letter.code for letter in decoded.dead_letters] == [DeadCode.NOT_JSON, DeadCode.NOT_FINITE]
    assert state.totals == {"events": 3, "learned": 2, "duplicates": 1, "late": 1, "dead_letters": 2}


def test_the_applied_hash_is_of_the_events_that_were_learned_and_of_no_others() -> None:
    good = [record(event_bytes("ana", "a", id="1"), offset=0), record(event_bytes("ben", "b"), offset=1)]
    more = [record(event_bytes("ana", "a", id="1"), offset=2), record(b"bad", offset=3), record(None, offset=4)]
    one, other = (WorkerState(fast_settings(), range(1)) for _ in range(2))
    assert one.applied_hash == "0" * 16

    learn(one, [good + more])
    learn(other, [good[:1], more, good[1:]])

    assert one.applied_hash == other.applied_hash != "0" * 16


def test_a_state_of_other_windows_can_be_taken_over_without_them() -> None:
    state = WorkerState(settings(), range(NUM_PARTITIONS))
    learn(state, stream(5))
    other = WorkerState(fast_settings(**{**sections(), "quality": {"window_events": 41}}), range(NUM_PARTITIONS))

    other.load(state.state(), with_quality=False)

    assert digest(other.learner.state()) == digest(state.learner.state())
    assert digest(other.encoder.state()) == digest(state.encoder.state())
    assert (other.totals, other.applied_hash) == (state.totals, state.applied_hash)
    assert other.quality.num_evaluated == 0 < state.quality.num_evaluated


def sections() -> dict[str, dict[str, object]]:
    chosen = settings().model_dump()
    return {"model": chosen["model"], "events": chosen["events"]}


def broken(state: State) -> dict[str, State]:
    applied = np.array([1], np.uint64)
    return {
        "without a part": {name: part for name, part in state.items() if name != "totals"},
        "with one too many": {**state, "more": 1},
        "with a number for a part": {**state, "encoder": 1},
        "with a signed hash": {**state, "applied": applied.astype(np.int64)},
        "with two hashes": {**state, "applied": np.array([1, 2], np.uint64)},
    }


@pytest.mark.parametrize("how", list(broken({})))
def test_what_is_no_state_of_a_worker_is_refused(how: str) -> None:
    state = WorkerState(settings(), range(NUM_PARTITIONS))
    learn(state, stream(2))

    with pytest.raises(StateError, match="expected"):
        WorkerState(settings(), range(NUM_PARTITIONS)).load(broken(state.state())[how])


def test_a_state_of_another_number_of_partitions_is_refused() -> None:
    state = WorkerState(settings(), range(NUM_PARTITIONS))

    with pytest.raises(StateError, match="num_partitions"):
        WorkerState(settings(), range(3)).load(state.state())


def test_the_environment_names_all_that_the_last_bits_can_depend_on() -> None:
    state = WorkerState(settings(), range(1))

    found = environment(state.learner)

    assert set(found) == {"millstream", "torch", "numpy", "river", "device", "cpu_threads", "cpu", "machine"}
    assert (found["device"], found["cpu_threads"]) == ("cpu", "1")
    assert all(found.values())
