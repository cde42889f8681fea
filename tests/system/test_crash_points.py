"""A worker that is killed anywhere, as often as you like, ends in the state of one that was never interrupted.

Every named instant in turn, with real processes, on the embedded broker and on Apache Kafka; seeds that draw many at
once, in memory; and the judge itself, which has to find what is wrong when something is. `python -m benchmarks.chaos`
does the same for longer.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import stream.worker
from benchmarks.chaos.events import draw_events
from benchmarks.chaos.live import run_live
from benchmarks.chaos.memory import NOW_MS, MemoryRun, Parts, run_in_memory
from benchmarks.chaos.oracle import Evidence, judge
from benchmarks.chaos.plan import NEVER_SECONDS, Fault, Plan, draw_plan, seed_of_run
from benchmarks.chaos.processes import one_thread_each
from benchmarks.chaos.weather import KINDS, Trouble
from online_models import State
from stream.errors import FencedError
from stream.failpoints import INSTANTS
from stream.learning.worker_state import WorkerState
from stream.log.kafka import KafkaTransport, ensure_topics
from stream.log.memory import MemoryLog, MemoryTransport
from stream.log.protocols import NO_LIMIT
from stream.wire.records import OutRecord
from tests.support.proxy import END_TXN, FETCH, INIT_PRODUCER_ID, PRODUCE

NUM_SEEDS = 60
NUM_QUICK_SEEDS = 10
RECOVERY = ("taken_over", "checkpoint_loaded", "batch_relearned", "recovered")
ONCE_IN_A_LIFE = ("taken_over", "checkpoint_loaded", "recovered")
LEAVES_WORK = Fault("checkpoint_written", 2)
"""After this one there is a checkpoint, and a batch to be re-learned."""
SMALL = Plan(
    seed=1,
    num_partitions=2,
    num_events=200,
    batch_events=10,
    scorer="transitions",
    interval_seconds=0.001,
    repeated_ratio=0.2,
)


@pytest.fixture(scope="module")
def forking() -> Iterator[None]:
    with one_thread_each():
        yield


@pytest.mark.parametrize("instant", INSTANTS)
def test_a_worker_killed_twice_at_an_instant_ends_as_one_that_was_never_interrupted(
    instant: str, any_broker: Any, forking: None, tmp_path: Path
) -> None:
    before = (LEAVES_WORK,) if instant in RECOVERY else ()
    second = 1 if instant in ONCE_IN_A_LIFE or instant == "batch_relearned" else 2
    faults = (*before, Fault(instant, 1), Fault(instant, second))

    outcome = run_live(replace(SMALL, faults=faults), any_broker.bootstrap_servers, tmp_path / "run")

    assert outcome.parted == []
    assert outcome.fired == list(faults)


def test_four_kills_in_a_row_before_the_worker_is_there_lose_and_repeat_nothing(
    any_broker: Any, forking: None, tmp_path: Path
) -> None:
    faults = (LEAVES_WORK, *(Fault(instant, 1) for instant in RECOVERY))

    outcome = run_live(replace(SMALL, faults=faults), any_broker.bootstrap_servers, tmp_path / "run")

    assert outcome.parted == []
    assert outcome.fired == list(faults)


@pytest.mark.parametrize("instant", ["recovered", "records_sent", "offsets_sent", "checkpoint_synced"])
def test_a_worker_that_stood_still_while_another_took_over_changes_nothing_any_more(
    instant: str, any_broker: Any, forking: None, tmp_path: Path
) -> None:
    faults = (Fault(instant, 1, "stop"),)

    outcome = run_live(replace(SMALL, faults=faults), any_broker.bootstrap_servers, tmp_path / "run")

    assert outcome.parted == []
    assert outcome.fired == list(faults)


def test_a_worker_replaced_amid_the_records_of_a_transaction_does_not_end_the_one_that_replaced_it(
    any_broker: Any,
) -> None:
    settings = SMALL.settings("chaos-amid", any_broker.bootstrap_servers, "")
    ensure_topics(settings)
    record = OutRecord(settings.topics.recommendations, b"ana", b"1")
    heir = KafkaTransport(settings)

    def be_replaced(instant: str) -> None:
        if instant == "transaction_begun" and is_working:
            zombie._producer.send(record.topic, key=record.key, value=record.value).get(timeout=30)
            heir.start()

    is_working = False
    zombie = KafkaTransport(settings, be_replaced)
    zombie.start()
    is_working = True

    with pytest.raises(FencedError):
        zombie.commit([record], {0: 1})

    heir.commit([record], {0: 0, 1: 0})
    zombie.close()
    heir.close()


def test_a_killed_worker_makes_the_batches_lists_and_state_of_an_independent_one_that_was_not(
    any_broker: Any, forking: None, tmp_path: Path
) -> None:
    faults = (Fault("records_flushed", 3), Fault("transaction_committed", 2), Fault("batch_relearned", 1))
    plan = replace(
        SMALL,
        num_partitions=1,
        is_strict=True,
        max_delay_seconds=60.0,
        interval_seconds=NEVER_SECONDS,
        scorer="sequence",
        faults=faults,
    )

    outcome = run_live(plan, any_broker.bootstrap_servers, tmp_path / "run")

    assert outcome.parted == []
    assert outcome.fired == list(faults)


@pytest.mark.parametrize(
    "number",
    [pytest.param(seed, marks=pytest.mark.slow if seed >= NUM_QUICK_SEEDS else ()) for seed in range(NUM_SEEDS)],
)
def test_whatever_a_seed_does_to_workers_in_memory_they_end_as_if_nothing_had_happened(
    number: int, tmp_path: Path
) -> None:
    outcome = run_in_memory(draw_plan(seed_of_run(1, number), in_memory=True), tmp_path / "run")

    assert outcome.parted == []


def test_the_seeds_in_memory_reach_every_instant() -> None:
    planned = [draw_plan(seed_of_run(1, number), in_memory=True).faults for number in range(NUM_SEEDS)]

    assert {fault.instant for faults in planned for fault in faults} == set(INSTANTS)


def test_the_seeds_draw_every_kind_of_trouble() -> None:
    seeds = [seed_of_run(1, number) for number in range(NUM_SEEDS)]

    drawn = {trouble.kind for seed in seeds for around in draw_plan(seed).weather for trouble in around}
    assert drawn == set(KINDS)


def test_a_clock_and_a_folder_that_change_in_memory_are_counted_and_change_nothing(tmp_path: Path) -> None:
    around = (Trouble("clock", seconds=-100.0), Trouble("lock_gone"), Trouble("folder_moved", skip=2))
    plan = replace(SMALL, faults=(Fault("learned", 8),), weather=(around,))

    outcome = run_in_memory(plan, tmp_path / "run")

    assert outcome.parted == []
    assert outcome.weather == {"clock": 1, "lock_gone": 1, "folder_moved": 1}


TROUBLES = (
    (Trouble("delay", seconds=0.02), Trouble("code", END_TXN, code=51), Trouble("folder_moved")),
    (Trouble("repeat", PRODUCE), Trouble("code", PRODUCE, code=20), Trouble("lock_gone")),
    (Trouble("half_open", FETCH, 1), Trouble("clock", seconds=100.0)),
    (Trouble("lose_answer", END_TXN),),
    (Trouble("code", END_TXN, code=47),),
    (Trouble("cut_before", PRODUCE, 1), Trouble("code", INIT_PRODUCER_ID, code=14), Trouble("folder_gone")),
)


@pytest.mark.slow
def test_workers_in_foul_weather_end_as_if_nothing_had_happened(broker: Any, forking: None, tmp_path: Path) -> None:
    faults = tuple(Fault("transaction_committed", 30) for _ in TROUBLES)  # none of them comes

    outcome = run_live(replace(SMALL, faults=faults, weather=TROUBLES), broker.bootstrap_servers, tmp_path / "run")

    assert outcome.parted == []
    assert outcome.weather == Counter(trouble.kind for around in TROUBLES for trouble in around)


def test_a_run_in_memory_is_the_same_each_time(tmp_path: Path) -> None:
    plan = draw_plan(3, in_memory=True)
    runs = [MemoryRun(plan, tmp_path / name, Parts()) for name in ("first", "second")]
    for run in runs:
        run.carry_out(draw_events(plan, NOW_MS), plan.faults)

    assert runs[0].log.topics == runs[1].log.topics
    assert runs[0].outcome.fired == runs[1].outcome.fired != []


def test_a_transaction_in_memory_is_rolled_back_when_another_worker_takes_over_in_its_middle() -> None:
    log = MemoryLog()
    heir = MemoryTransport(log)

    def be_replaced(instant: str) -> None:
        if instant == "offsets_sent":
            heir.start()

    zombie = MemoryTransport(log, be_replaced)
    zombie.start()

    with pytest.raises(FencedError):
        zombie.commit([OutRecord("lists", b"ana", b"1")], {0: 1})
    assert (log.published("lists"), log.committed) == ([], {})


# The judge has to be able to say no.


class LosesABatch(MemoryTransport):
    """Leaves out what it polls once it has committed something."""

    def poll(self, max_records: int, timeout_seconds: float, max_bytes: int = NO_LIMIT) -> list[Any]:
        """Return the next records but one batch."""
        if 0 < len(self._log.published(self._log.journal_topic)) < 3:
            super().poll(max_records, timeout_seconds, max_bytes)
        return super().poll(max_records, timeout_seconds, max_bytes)


class RepeatsAList(MemoryTransport):
    """Publishes the first list of every batch twice."""

    def commit(self, records: Sequence[OutRecord], offsets: Any) -> None:
        """Commit one record too many."""
        super().commit([*records[:1], *records], offsets)


class ForgetsIds(WorkerState):
    """Does not take over the window of event ids."""

    def load(self, state: State, *, with_quality: bool = True) -> None:
        """Take over the rest."""
        own = self.encoder.deduplicator.state()
        encoder = {**state["encoder"], "deduplicator": own}  # type: ignore[dict-item]
        super().load({**state, "encoder": encoder}, with_quality=with_quality)


class ForgetsQuality(WorkerState):
    """Begins the windows of the live quality anew, which no list shows."""

    def load(self, state: State, *, with_quality: bool = True) -> None:
        """Take over the rest."""
        super().load(state, with_quality=False)


def parts_with(**replaced: Any) -> Parts:
    parts = Parts()
    for name, part in replaced.items():
        setattr(parts, name, part)
    return parts


@pytest.mark.slow
@pytest.mark.parametrize(
    "parts",
    [
        parts_with(transport=LosesABatch),
        parts_with(transport=RepeatsAList),
        parts_with(state=ForgetsIds),
        parts_with(state=ForgetsQuality),
    ],
    ids=["loses a batch", "repeats a list", "forgets event ids", "forgets the live quality"],
)
def test_a_broken_worker_in_memory_is_found(parts: Parts, tmp_path: Path) -> None:
    plan = replace(SMALL, faults=(Fault("polled", 8), Fault("polled", 4)))

    assert run_in_memory(plan, tmp_path / "whole").parted == []
    assert run_in_memory(plan, tmp_path / "broken", parts).parted != []


def forget_quality() -> None:
    """Break the worker of this process."""
    stream.worker.WorkerState = ForgetsQuality  # type: ignore[attr-defined]


def test_a_broken_worker_with_a_process_of_its_own_is_found(broker: Any, forking: None, tmp_path: Path) -> None:
    plan = replace(SMALL, faults=(LEAVES_WORK,))

    outcome = run_live(plan, broker.bootstrap_servers, tmp_path / "run", forget_quality)

    assert outcome.fired == [LEAVES_WORK]
    assert any("the state of the checkpoint of epoch" in words for words in outcome.parted), outcome.parted


def without_last(name: str) -> Callable[[Evidence], Evidence]:
    return lambda evidence: replace(evidence, **{name: getattr(evidence, name)[:-1]})


def with_swapped_lists(evidence: Evidence) -> Evidence:
    first, second, *others = evidence.lists
    return replace(evidence, lists=[second, first, *others])


TAMPERED: dict[str, Callable[[Evidence], Evidence]] = {
    "the last journal entry is missing": without_last("entries"),
    "a journal entry is missing": lambda evidence: replace(evidence, entries=evidence.entries[1:]),
    "the last list is missing": without_last("lists"),
    "a list is there twice": lambda evidence: replace(evidence, lists=[*evidence.lists, evidence.lists[-1]]),
    "two lists are in the wrong order": with_swapped_lists,
    "a dead letter is missing": without_last("dead_letters"),
    "a dead letter is there twice": lambda evidence: replace(evidence, dead_letters=evidence.dead_letters * 2),
    "the group stands elsewhere": lambda evidence: replace(evidence, offsets={**evidence.offsets, 0: 1}),
    "there is no checkpoint": lambda evidence: replace(evidence, manifests=[]),
    "something is left over": lambda evidence: replace(evidence, leftovers=[".tmp-1"]),
}


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    run = MemoryRun(SMALL, tmp_path_factory.mktemp("evidence") / "run", Parts())
    run.carry_out(draw_events(SMALL, NOW_MS), ())
    return run.evidence()


def test_the_judge_has_nothing_against_an_uninterrupted_run(evidence: Evidence) -> None:
    assert judge(evidence) == []
    assert evidence.dead_letters != []


@pytest.mark.parametrize("name", TAMPERED)
def test_the_judge_finds_whatever_is_missing_repeated_or_moved(name: str, evidence: Evidence) -> None:
    assert judge(TAMPERED[name](evidence)) != []
