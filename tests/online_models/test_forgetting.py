"""What remains of a row's old owner: nothing, in any part of the model."""

import numpy as np
import pytest

from online_models import SCORERS, OnlineLearner
from online_models.sequence import SequenceScorer
from tests.online_models.streams import cycle, events, run, small_config

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
    assert bool((scorer.adam.means["items"][5] != 0).any())
    assert 5 in scorer.replay.draw(np.random.default_rng(0), 500, 8).item_rows

    learner.step(events([], [], reset_items=[5]))

    for name in ("items", "bias"):
        assert not scorer.adam.means[name][5].any()
        assert not scorer.adam.squares[name][5].any()
        assert scorer.adam.means[name][6].any()
        assert np.array_equal(getattr(scorer, name)[5].numpy(), getattr(fresh, name)[5].numpy())
    assert scorer.counts[5] == 0
    drawn = scorer.replay.draw(np.random.default_rng(0), 500, 8).item_rows
    assert 5 not in drawn
    assert 6 in drawn
