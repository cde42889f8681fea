"""What every scorer promises, whatever it is made of."""

import numpy as np
import pytest
import torch

from online_models import SCORERS, OnlineLearner, SequenceConfig, StateError, digest, flatten, unflatten
from online_models.config import HALF_LIVES_EVENTS
from online_models.scorers.protocol import Scorer
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import NONE, cycle, events, run, small_config

NUM_USERS, NUM_ITEMS = 8, 24


class Taught:
    """A scorer of its own with the histories it needs, and nothing else of the learner."""

    def __init__(self, name: str, **changes: object) -> None:
        self.scorer: Scorer = SCORERS[name](small_config(name, **changes), torch.device("cpu"))
        self.histories = Histories(8)
        self.grow(NUM_USERS, NUM_ITEMS)

    def grow(self, num_users: int, num_items: int) -> None:
        self.scorer.grow(num_users, num_items)
        self.histories.grow(num_users)

    def teach(self, num_events: int = 320) -> "Taught":
        stream = cycle(num_events, num_users=NUM_USERS, num_items=NUM_ITEMS)
        for start in range(0, num_events, 16):
            step = self.histories.plan(stream.part(start, start + 16))
            self.scorer.score_events(step, Candidates.all(NUM_ITEMS))
            assert self.scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
            self.histories.write(step.after)
        return self

    def scores(self, user_rows: list[int], num_items: int = NUM_ITEMS) -> torch.Tensor:
        return self.scorer.score(self.histories.context(np.array(user_rows)), Candidates.all(num_items)).table()


every_scorer = pytest.mark.parametrize("name", list(SCORERS))


@every_scorer
def test_scores_are_finite_and_one_per_user_and_item(name: str) -> None:
    scores = Taught(name).teach().scores([0, 3, 5])

    assert scores.shape == (3, NUM_ITEMS)
    assert scores.dtype == torch.float32
    assert bool(torch.isfinite(scores).all())


@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"recency"}))  # that one has nothing to learn
def test_learning_changes_the_scores(name: str) -> None:
    assert not torch.equal(Taught(name).teach(16).scores([0]), Taught(name).teach(320).scores([0]))


@every_scorer
def test_scoring_changes_nothing(name: str) -> None:
    taught = Taught(name).teach()
    first = taught.scores([0, 1]).clone()

    taught.scores([5, 6])

    assert torch.equal(taught.scores([0, 1]), first)


@every_scorer
def test_the_same_seed_gives_the_same_scores_bit_for_bit(name: str) -> None:
    assert torch.equal(Taught(name, seed=3).teach().scores([0, 1]), Taught(name, seed=3).teach().scores([0, 1]))


@every_scorer
def test_growing_the_tables_keeps_the_scores(name: str) -> None:
    taught = Taught(name).teach()
    before = taught.scores([0, 1]).clone()

    taught.grow(5000, 5000)

    assert torch.equal(taught.scores([0, 1]), before)
    assert bool(torch.isfinite(taught.scores([4999], 5000)).all())


@every_scorer
def test_a_table_that_grows_in_many_steps_begins_like_one_that_grows_at_once(name: str) -> None:
    at_once, in_steps = Taught(name), Taught(name)
    at_once.grow(9000, 9000)
    for size in (1500, 3000, 9000):
        in_steps.grow(size, size)

    assert torch.equal(at_once.scores([0, 8999], 9000), in_steps.scores([0, 8999], 9000))


@every_scorer
def test_a_reset_item_scores_like_one_that_was_never_seen(name: str) -> None:
    taught = Taught(name).teach()
    everywhere = np.arange(NUM_ITEMS)

    taught.scorer.reset(np.arange(NUM_USERS), everywhere)
    taught.histories.reset(np.arange(NUM_USERS), everywhere)

    scores = taught.scores([0])[0]
    if name in ("popularity", "transitions", "successors", "recency"):
        assert len(scores.unique()) == 1
    else:
        sizes = [scores.std(), Taught(name).scores([0])[0].std()]
        assert sizes[0] == pytest.approx(sizes[1], rel=0.5)


@every_scorer
def test_resetting_nothing_changes_nothing(name: str) -> None:
    taught = Taught(name).teach()
    before = taught.scores([0, 1]).clone()

    taught.scorer.reset(NONE, NONE)

    assert torch.equal(taught.scores([0, 1]), before)


@every_scorer
def test_a_restored_scorer_learns_on_as_the_one_that_was_saved_bit_for_bit(name: str) -> None:
    taught, other = Taught(name, seed=5).teach(), Taught(name, seed=5)

    other.scorer.load(unflatten(flatten(taught.scorer.state())))
    other.histories.load(taught.histories.state())

    assert torch.equal(other.scores([0, 3]), taught.scores([0, 3]))
    assert torch.equal(other.teach().scores([0, 3]), taught.teach().scores([0, 3]))
    assert digest(other.scorer.state()) == digest(taught.scorer.state())
    assert taught.scorer.is_finite()


@every_scorer
def test_a_state_is_of_the_rows_in_use_whatever_is_allocated(name: str) -> None:
    rows = {len(array) for array in flatten(Taught(name).teach(32).scorer.state()).values() if array.ndim}

    assert 1024 not in rows


@every_scorer
def test_scoring_leaves_the_state_alone_and_learning_does_not(name: str) -> None:
    taught = Taught(name).teach()
    before = digest(taught.scorer.state())

    taught.scores([0, 1])
    assert digest(taught.scorer.state()) == before
    taught.teach(16)
    assert (digest(taught.scorer.state()) == before) is (name == "recency")


@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"recency"}))  # that one has no state
def test_a_state_of_other_numbers_of_rows_or_of_another_scorer_is_refused(name: str) -> None:
    state = Taught(name).teach(32).scorer.state()
    larger, stranger = Taught(name), Taught("recency")
    larger.grow(NUM_USERS, NUM_ITEMS + 1)

    for other in (larger, stranger):
        with pytest.raises(StateError, match="expected"):
            other.scorer.load(state)


@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"recency"}))
def test_evidence_against_an_item_lowers_its_score_against_the_others(name: str) -> None:
    quiet = SequenceConfig(width=16, state_width=16, replay_windows=0)  # replay repeats the evidence for the item
    taught = Taught(name, sequence=quiet).teach()
    before = torch.log_softmax(taught.scores([0]), 1)[0]
    item = int(before.argmax())

    for _ in range(5):
        step = taught.histories.plan(events([0] * 16, [item] * 16, [10**9] * 16, [-1.0] * 16))
        taught.scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))

    assert torch.log_softmax(taught.scores([0]), 1)[0, item] < before[item]


@every_scorer
def test_events_worth_nothing_leave_every_score_alone(name: str) -> None:
    def after(weight_zero_events: int) -> torch.Tensor:
        config = small_config(name)
        scorer, histories = SCORERS[name](config, torch.device("cpu")), Histories(8)
        scorer.grow(8, 24)
        histories.grow(8)
        items = [1, 2] + [9] * weight_zero_events
        batch = events([0] * len(items), items, [0, 1] + [2] * weight_zero_events, [1, 1] + [0] * weight_zero_events)
        step = histories.plan(batch)
        scorer.learn(step, torch.ones(24, dtype=torch.bool))
        histories.write(step.after)
        scores = scorer.score(histories.context(np.array([0])), Candidates.all(24)).table()[0]
        return scores.argsort(descending=True)[:2]

    assert torch.equal(after(0), after(1))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(SCORERS) - {"popularity", *HALF_LIVES_EVENTS}))  # all are as popular
def test_a_model_beats_chance_on_a_circle_of_items(name: str) -> None:
    learner = OnlineLearner(small_config(name))
    reports = run(learner, cycle(1600), 64)
    ranks = np.concatenate([report.ranks["model"] for report in reports[15:]])

    # Chance is (24 + 1) / 2. Recency and frequency know only where a user was, which trust turns into where he will not
    # be; alike users were before him and behind him on the circle, and do not tell which.
    limit = 11.0 if name in ("recency", "frequency", "neighbours") else 4.0
    assert ranks.mean() < limit
    assert len(ranks) == 640


@pytest.mark.slow
def test_the_default_beats_popularity_by_far_on_a_circle_of_items() -> None:
    reports = run(OnlineLearner(small_config()), cycle(1600), 64)

    mean = {name: np.mean([report.ranks[name].mean() for report in reports[15:]]) for name in ("model", "popularity")}
    assert mean["model"] < mean["popularity"] / 4
