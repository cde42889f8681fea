"""A learner that was saved and restored goes on, bit for bit, as one that was never interrupted."""

from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models import (
    SCORERS,
    Batch,
    LearnerConfig,
    OnlineLearner,
    SequenceConfig,
    State,
    StepReport,
    digest,
    flatten,
    is_finite,
    unflatten,
)
from online_models.scorers.sequence.scorer import SequenceScorer
from online_models.scores import Candidates
from tests.support.streams import cycle, events, run, small_config

every_scorer = pytest.mark.parametrize("scorer", list(SCORERS))
DRAWING = SequenceConfig(
    width=8,
    state_width=8,
    replay_windows=3,
    replay_targets=2,
    replay_context=2,
    replay_capacity_events=24,
    max_full_softmax_items=12,
    num_negatives=8,
    state_events=40,
    attention_items=3,
)
"""A log that wraps after 24 events, drawn negatives above 12 items, and states that are soon too old."""


def tight(scorer: str, **changes: object) -> LearnerConfig:
    """Return settings under which everything that is bounded overflows soon."""
    return small_config(scorer, **{"owned_capacity": 5, "sequence": DRAWING, "seed": 2**63 - 1, **changes})


def restored(learner: OnlineLearner) -> OnlineLearner:
    """Return a new learner with the state of ``learner``, which went through flat arrays on its way."""
    new = OnlineLearner(learner.config)
    new.load(unflatten(flatten(learner.state())))
    return new


def facts(report: StepReport) -> dict[str, object]:
    """Return all of a report but its durations, as plain values."""
    found = {name: value for name, value in asdict(report).items() if not name.endswith("_seconds")}
    return {name: _plain(value) for name, value in found.items()}


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value


def assert_alike(one: OnlineLearner, other: OnlineLearner) -> None:
    """Fail unless both hold the same and list the same, also for users never seen."""
    assert differing(one.state(), other.state()) == []
    assert digest(one.state()) == digest(other.state())
    users = np.array([0, 1, 2, 3, 1100, 5000])
    assert one.fusion_weights() == other.fusion_weights()
    assert one.table_sizes().keys() == other.table_sizes().keys()
    lists = [learner.rank(users, 7) for learner in (one, other)]
    for name in ("item_rows", "scores", "reasons"):
        assert getattr(lists[0], name).tobytes() == getattr(lists[1], name).tobytes(), name


def differing(one: State, other: State) -> list[str]:
    first, second = flatten(one), flatten(other)
    return sorted(first.keys() ^ second.keys()) + [
        name for name in first.keys() & second.keys() if first[name].tobytes() != second[name].tobytes()
    ]


def anything(rng: np.random.Generator, start_ms: int, *, far: int = 0, resets: bool = True) -> Batch:
    """Return up to 24 events of every kind: new, late, repeated, against their item, worth nothing; and resets.

    Rows are few, so that much meets; ``far`` moves some of them beyond what tables begin with.
    """
    size = int(rng.integers(0, 25))
    users, items = rng.integers(0, 6, size), rng.integers(0, 20, size)
    users[rng.random(size) < 0.2] += far
    items[rng.random(size) < 0.2] += far
    times = start_ms + 1000 * np.arange(size) - rng.choice([0, 0, 0, 2500, 10**6], size)
    batch = events(
        users.tolist(),
        items.tolist(),
        times.tolist(),
        rng.choice([1.0, 2.5, -1.0, 0.0, 10**6], size, p=[0.6, 0.2, 0.1, 0.05, 0.05]).tolist(),
        reset_users=rng.choice([0, 1, 4, 1100, 9999], int(rng.integers(0, 3))).tolist() if resets else [],
        reset_items=rng.choice([0, 3, 7, 1100, 9999], int(rng.integers(0, 3))).tolist() if resets else [],
    )
    return replace(batch, event_types=rng.integers(0, 4, size, np.int8), owns=rng.random(size) < 0.6)


def batches_of(seed: int, num_batches: int) -> list[Batch]:
    """Return batches of anything, of which some reach beyond the first 1024 rows."""
    rng = np.random.default_rng(seed)
    return [anything(rng, 10**6 + 60_000 * number, far=int(rng.choice([0, 0, 1100]))) for number in range(num_batches)]


@pytest.mark.slow
@every_scorer
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32), num_batches=st.integers(1, 9), data=st.data())
def test_a_restored_learner_goes_on_bit_for_bit_as_one_that_was_never_interrupted(
    scorer: str, seed: int, num_batches: int, data: st.DataObject
) -> None:
    batches = batches_of(seed, num_batches)
    cut = data.draw(st.integers(0, num_batches))
    learner = OnlineLearner(tight(scorer))
    for batch in batches[:cut]:
        learner.step(batch)
    other = restored(learner)
    assert_alike(learner, other)

    for batch in batches[cut:]:
        assert facts(learner.step(batch)) == facts(other.step(batch))
    assert_alike(learner, other)


@pytest.mark.slow
@every_scorer
def test_being_restored_after_every_batch_changes_nothing(scorer: str) -> None:
    learner = OnlineLearner(tight(scorer))
    other = OnlineLearner(tight(scorer))
    for batch in batches_of(7, 10):
        assert facts(learner.step(batch)) == facts(other.step(batch))
        other = restored(other)
    assert_alike(learner, other)


@pytest.mark.slow
@pytest.mark.parametrize("capacity", [8, 5000])
def test_growth_of_everything_beyond_its_first_size_is_restored(capacity: int) -> None:
    config = tight("sequence", owned_capacity=64, sequence=replace(DRAWING, replay_capacity_events=capacity))
    rng = np.random.default_rng(0)
    users, items = rng.integers(0, 1500, 2000), rng.integers(0, 1300, 2000)
    stream = events(users.tolist(), items.tolist(), owns=True)
    learner = OnlineLearner(config)
    run(learner, stream, 1000)
    sizes = learner.table_sizes()
    assert sizes["owned.places"][0] > 4096
    assert sizes["sequence.users"][1] == sizes["sequence.items"][1] == 2048

    other = restored(learner)

    assert_alike(learner, other)
    assert [facts(report) for report in run(learner, cycle(64), 32)] == [
        facts(report) for report in run(other, cycle(64), 32)
    ]
    assert_alike(learner, other)


def test_what_happens_to_be_allocated_is_neither_saved_nor_ever_seen() -> None:
    config = tight("sequence")
    exact, roomy = OnlineLearner(config), OnlineLearner(config)
    for scorer in roomy._scorers.values():
        scorer.grow(3000, 3000)  # as if it had grown for rows that never came: only the used numbers are put back
        scorer.num_users = scorer.num_items = 1
    sequence = roomy._scorers["sequence"]
    assert isinstance(sequence, SequenceScorer)
    sequence.replay.num_users = sequence.weights.num_items = sequence.states.num_users = 1
    for batch in batches_of(3, 6):
        assert facts(exact.step(batch)) == facts(roomy.step(batch))
    assert exact.table_sizes()["transitions.items"][1] < roomy.table_sizes()["transitions.items"][1]
    assert_alike(exact, roomy)


@every_scorer
def test_a_state_is_a_copy(scorer: str) -> None:
    learner = OnlineLearner(tight(scorer))
    run(learner, cycle(64), 32)
    state = learner.state()
    before = digest(state)

    learner.step(events([0, 1], [2, 9], [10**8, 10**8], owns=True, reset_users=[3], reset_items=[4]))

    assert digest(state) == before
    assert digest(learner.state()) != before


@every_scorer
def test_a_learner_owns_nothing_of_the_state_that_it_took_over(scorer: str) -> None:
    learner, other = OnlineLearner(tight(scorer)), OnlineLearner(tight(scorer))
    run(learner, cycle(64), 32)
    state = learner.state()
    before = digest(state)
    other.load(state)

    run(other, cycle(64), 32)

    assert digest(state) == before


@every_scorer
def test_asking_for_lists_or_for_the_state_changes_no_state(scorer: str) -> None:
    learner, other = OnlineLearner(tight(scorer)), OnlineLearner(tight(scorer))
    for number, batch in enumerate(batches_of(11, 6)):
        learner.step(batch)
        other.step(batch)
        learner.rank(np.arange(6), 5)
        if number % 2:
            learner.state()
    assert_alike(learner, other)


@pytest.mark.slow
def test_a_pass_that_was_scored_and_not_learned_leaves_nothing_behind() -> None:
    learner, other = OnlineLearner(tight("sequence")), OnlineLearner(tight("sequence"))
    for one in (learner, other):
        run(one, cycle(320), 32)
    step = learner._histories.plan(cycle(16, seed=1))
    asked = learner._scorers["sequence"].score_events(step, Candidates.all(24)).table()

    assert_alike(learner, other)
    assert np.array_equal(asked, learner._scorers["sequence"].score_events(step, Candidates.all(24)).table())
    assert facts(learner.step(cycle(32, seed=2))) == facts(other.step(cycle(32, seed=2)))
    assert_alike(learner, other)


def rich(scorer: str) -> OnlineLearner:
    """Return a learner none of whose parts is empty."""
    learner = OnlineLearner(tight(scorer))
    for batch in [cycle(160, num_users=6, num_items=20), *batches_of(5, 4)]:
        learner.step(replace(batch, owns=np.ones(len(batch), np.bool_)))
    return learner


@pytest.mark.slow
@every_scorer
def test_the_digest_notices_every_single_part(scorer: str) -> None:
    flat = flatten(rich(scorer).state())
    digests = {digest(unflatten(flat))}
    flipped = [name for name in flat if not name.endswith((":ends", ":parts"))]  # those only fit the arrays they are of
    for name in flipped:
        changed = flat[name].copy()
        assert changed.size, f"{name} is empty: nothing is tried"
        changed.reshape(-1).view(np.uint8)[-1] ^= 1
        digests.add(digest(unflatten({**flat, name: changed})))

    assert len(digests) == 1 + len(flipped)


@pytest.mark.slow
@every_scorer
def test_every_part_of_a_state_is_taken_over(scorer: str) -> None:
    flat = flatten(rich(scorer).state())
    for name, array in flat.items():
        if name.endswith((":text", ":texts", ":ends", ":parts")) or name in ("seed:int", "owned/capacity:int"):
            continue  # settings: another one is refused, see test_refused_states
        if name.endswith(("replay/capacity:int", "replay/total:int")) or name.startswith("owned/free"):
            continue  # bound to the other parts
        changed = array.copy()
        last = changed.reshape(-1)[-1:]
        last[:] = ~last if array.dtype == np.bool_ else np.where(last == 0, 1, 0)
        state = unflatten({**flat, name: changed})
        learner = OnlineLearner(tight(scorer))

        learner.load(state)

        assert differing(learner.state(), state) == [], name


@pytest.mark.slow
@every_scorer
def test_a_number_that_is_none_is_noticed_in_every_table(scorer: str) -> None:
    learner = rich(scorer)
    flat = flatten(learner.state())
    assert learner.is_finite()
    for name, array in flat.items():
        if array.dtype.kind != "f" or name.endswith(":float"):
            continue
        for bad in (np.nan, -np.inf):
            changed = array.copy()
            changed.reshape(-1)[-1] = bad
            state = unflatten({**flat, name: changed})
            poisoned = OnlineLearner(tight(scorer))
            poisoned.load(state)

            assert not poisoned.is_finite(), f"{bad} in {name}"
            assert not is_finite(state)


def test_a_learner_without_any_event_is_restored_too() -> None:
    learner = OnlineLearner(tight("sequence"))

    assert_alike(learner, restored(learner))
    assert learner.is_finite()


def test_freed_places_are_given_out_again_in_the_same_order() -> None:
    learner = OnlineLearner(tight("popularity"))
    learner.step(events([0, 1, 2, 3], [1, 2, 3, 4], owns=True))
    learner.step(events([], [], reset_users=[2, 0, 3]))
    learner.step(events([], [], reset_users=[1]))
    other = restored(learner)
    assert learner.state()["owned"]["free_starts"].tolist() == [0, 8, 12, 4]  # type: ignore[index,union-attr]

    for one in (learner, other):
        one.step(events([5, 6], [1, 2], [10**6, 10**6], owns=True))
        assert one._owned.starts[[5, 6]].tolist() == [4, 12]
