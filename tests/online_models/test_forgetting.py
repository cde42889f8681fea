"""What remains of a row's old owner: nothing, in any part of the model."""

import numpy as np
import pytest

from online_models import SCORERS, OnlineLearner, flatten
from online_models.scorers.sequence.scorer import SequenceScorer
from tests.support.streams import cycle, events, run, small_config

NEVER_SEEN = 900


@pytest.mark.parametrize("scorer", list(SCORERS))
def test_a_reset_user_gets_the_list_of_one_never_seen_bit_for_bit(scorer: str) -> None:
    learner = OnlineLearner(small_config(scorer))
    run(learner, cycle(320), 32)
    learner.step(events([3, 3], [7, 9], [10**7] * 2, owns=True))
    before = learner.rank(np.array([3]), 24)

    learner.step(events([], [], reset_users=[3]))

    after, expected = learner.rank(np.array([3]), 24), learner.rank(np.array([NEVER_SEEN]), 24)
    assert not np.array_equal(before.item_rows, after.item_rows)
    for name in ("item_rows", "scores", "reasons"):
        assert np.array_equal(getattr(after, name), getattr(expected, name)), name


def test_a_reset_item_leaves_no_embedding_moment_count_or_replayed_event_behind() -> None:
    learner, new = OnlineLearner(small_config()), OnlineLearner(small_config())
    run(learner, cycle(320), 32)
    scorer, fresh = learner._scorers["sequence"], new._scorers["sequence"]
    assert isinstance(scorer, SequenceScorer)
    assert isinstance(fresh, SequenceScorer)
    assert bool((scorer.weights.adam.means["items"][5] != 0).any())
    assert 5 in scorer.replay.draw(np.random.default_rng(0), 500, 8).item_rows

    learner.step(events([], [], reset_items=[5]))

    for name in ("items", "bias"):
        assert not scorer.weights.adam.means[name][5].any()
        assert not scorer.weights.adam.squares[name][5].any()
        assert scorer.weights.adam.means[name][6].any()
        assert np.array_equal(getattr(scorer.weights, name)[5].numpy(), getattr(fresh.weights, name)[5].numpy())
    assert scorer.counts[5] == 0
    drawn = scorer.replay.draw(np.random.default_rng(0), 500, 8).item_rows
    assert 5 not in drawn
    assert 6 in drawn


NUM_ITEMS, GONE = 300, 290
"""More items than users and than anything is wide, so that a table of items is known by its length."""


@pytest.mark.parametrize("scorer", ["sequence", "mf", "neighbours", "cooccurrence"])
def test_no_table_names_a_reset_item_and_its_own_rows_are_as_if_never_used(scorer: str) -> None:
    learner, never = OnlineLearner(small_config(scorer)), OnlineLearner(small_config(scorer))
    items = [GONE if number % 3 else 60 + number % 200 for number in range(192)]
    stream = events([number % 5 for number in range(192)], items, owns=False)
    run(learner, stream, 32)
    learner.step(events([1, 2], [GONE, NUM_ITEMS - 1], [10**6] * 2, owns=True))
    never.step(events([0], [NUM_ITEMS - 1], weights=[0.0]))
    before = flatten(learner.state())

    learner.step(events([], [], reset_items=[GONE]))

    after, unused = flatten(learner.state()), flatten(never.state())
    naming = {name for name, table in before.items() if table.dtype == np.int32 and (table == GONE).any()}
    of_items = [name for name, table in after.items() if table.ndim and len(table) == NUM_ITEMS]
    assert naming >= {"histories/item_rows", "owned/pool"}
    assert {name for name in naming if (after[name] == GONE).any()} == set()  # rows are named in 32 bits
    assert "known" in of_items
    for name in of_items:
        assert np.array_equal(after[name][GONE], unused[name][GONE]), name
    assert GONE not in learner.rank(np.arange(6), 250).item_rows
    assert GONE not in learner.rank(np.arange(6), 250).reasons
