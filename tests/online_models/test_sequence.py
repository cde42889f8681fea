"""The sequence scorer: what its states have read, what its replay forgets, and what its loss climbs."""

import numpy as np
import pytest
import torch

from online_models.history import Histories
from online_models.sequence import SequenceScorer
from tests.online_models.streams import NONE, events, small_config

NUM_ITEMS = 24
KNOWN = torch.ones(NUM_ITEMS, dtype=torch.bool)


def late_scores(newer_items: list[int], late_times_ms: list[int]) -> torch.Tensor:
    """Return how late events are scored once user 0 took item 1 at 1000 and the newer items from 2000 on."""
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    times = [1000, *range(2000, 2000 + len(newer_items))]
    step = histories.plan(events([0] * len(times), [1, *newer_items], times))
    scorer.learn(step, KNOWN)
    histories.write(step.after)
    # What was learned from the newer items is not what this is about: only what the late event's query has read.
    fresh = SequenceScorer(small_config(), torch.device("cpu"))
    fresh.grow(8, NUM_ITEMS)
    fresh.states.copy_(scorer.states)
    late = events([0] * len(late_times_ms), [9] * len(late_times_ms), late_times_ms)
    return fresh.score_events(histories.plan(late), NUM_ITEMS)


@pytest.mark.parametrize("time_ms", [1500, 500])
def test_a_late_event_is_scored_alike_whatever_is_newer_than_it(time_ms: int) -> None:
    one, other = late_scores([5], [time_ms]), late_scores([17, 3], [time_ms])

    assert torch.allclose(one, other, atol=1e-6)


def test_a_late_event_is_scored_like_the_next_one_of_a_user_with_only_what_is_older() -> None:
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    step = histories.plan(events([0], [1], [1000]))
    histories.write(step.after)

    expected = scorer.score(histories.context(np.array([0, 7])), NUM_ITEMS)

    assert torch.allclose(late_scores([5, 6], [1500, 500]), expected, atol=1e-6)


def test_a_user_whose_newest_item_is_reset_is_read_anew_from_what_he_has_left() -> None:
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    step = histories.plan(events([0, 0, 0, 1, 1, 1, 3], [1, 2, 3, 1, 3, 2, 3]))
    scorer.learn(step, KNOWN)
    histories.write(step.after)
    kept = scorer.states[1].clone()

    histories.reset(NONE, np.array([3]))
    scorer.reset(NONE, np.array([3]))

    assert bool((scorer.states[[0, 3]] == 0).all())
    assert torch.equal(scorer.states[1], kept)
    assert bool((kept != 0).any())


def test_a_user_whose_older_item_is_reset_keeps_his_state() -> None:
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    for batch in (events([0, 0], [2, 3]), events([0], [4], [9000])):
        step = histories.plan(batch)
        scorer.learn(step, KNOWN)
        histories.write(step.after)
    before = scorer.states[0].clone()

    scorer.reset(NONE, np.array([3]))

    assert torch.equal(scorer.states[0], before)
    assert bool((before != 0).any())
