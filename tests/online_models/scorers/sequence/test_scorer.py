"""The sequence scorer: what its states have read, what its replay forgets, and what its loss climbs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from online_models import Batch, OnlineLearner, SequenceConfig
from online_models.runtime.seeds import Salt
from online_models.scorers.sequence.packed_histories import runs_of_contexts
from online_models.scorers.sequence.scorer import SequenceScorer, _Forward
from online_models.scores import Candidates
from online_models.users.history import Histories, SubStep
from tests.support.streams import NONE, events, small_config

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
    fresh.states.table.copy_(scorer.states.table)
    late = events([0] * len(late_times_ms), [9] * len(late_times_ms), late_times_ms)
    return fresh.score_events(histories.plan(late), Candidates.all(NUM_ITEMS)).table()


@pytest.mark.parametrize("time_ms", [1500, 500])
def test_a_late_event_is_scored_alike_whatever_is_newer_than_it(time_ms: int) -> None:
    one, other = late_scores([5], [time_ms]), late_scores([17, 3], [time_ms])

    assert torch.allclose(one, other, atol=1e-6)


def test_a_late_event_is_scored_like_the_next_one_of_a_user_with_only_what_is_older() -> None:
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    step = histories.plan(events([0], [1], [1000]))
    histories.write(step.after)

    expected = scorer.score(histories.context(np.array([0, 7])), Candidates.all(NUM_ITEMS)).table()

    assert torch.allclose(late_scores([5, 6], [1500, 500]), expected, atol=1e-6)


def test_a_user_whose_newest_item_is_reset_is_read_anew_from_what_he_has_left() -> None:
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    step = histories.plan(events([0, 0, 0, 1, 1, 1, 3], [1, 2, 3, 1, 3, 2, 3]))
    scorer.learn(step, KNOWN)
    histories.write(step.after)
    kept = scorer.states.table[1].clone()

    histories.reset(NONE, np.array([3]))
    scorer.reset(NONE, np.array([3]))

    assert bool((scorer.states.table[[0, 3]] == 0).all())
    assert torch.equal(scorer.states.table[1], kept)
    assert bool((kept != 0).any())
    left = histories.context(np.array([0]))
    assert left.item_rows[0, :3].tolist() == [2, 1, -1]
    assert torch.allclose(scorer._states_before_newest(left), scorer._read_again(left))
    assert bool((scorer._states_before_newest(left) != 0).any())


def test_a_user_whose_older_item_is_reset_keeps_his_state() -> None:
    scorer, histories = SequenceScorer(small_config(), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    for batch in (events([0, 0], [2, 3]), events([0], [4], [9000])):
        step = histories.plan(batch)
        scorer.learn(step, KNOWN)
        histories.write(step.after)
    before = scorer.states.table[0].clone()

    scorer.reset(NONE, np.array([3]))

    assert torch.equal(scorer.states.table[0], before)
    assert bool((before != 0).any())


def drawing_scorer(num_negatives: int, capacity: int, *batches: Batch) -> tuple[SequenceScorer, Histories]:
    """Return a scorer for which every catalogue is too large for the full softmax, and what it learned from."""
    settings = SequenceConfig(
        width=16,
        state_width=16,
        learning_rate=0.03,
        replay_windows=0,
        replay_capacity_events=capacity,
        max_full_softmax_items=1,
        num_negatives=num_negatives,
    )
    scorer, histories = SequenceScorer(small_config(sequence=settings), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    for batch in batches:
        step = histories.plan(batch)
        assert scorer.learn(step, KNOWN)
        histories.write(step.after)
    return scorer, histories


def forward_of(scorer: SequenceScorer, step: SubStep) -> _Forward:
    """Return what ``scorer`` would learn from, of users without a state."""
    return scorer._forward(step, torch.zeros(len(step.users), 16), NUM_ITEMS, Salt.SEQUENCE)


def test_items_are_assumed_to_be_drawn_as_often_as_they_are_in_the_replay_log() -> None:
    old, new = events([0, 1, 2, 3], [1, 1, 2, 2]), events([0, 0, 1, 1], [5, 6, 6, 7], [9000] * 4)
    scorer, histories = drawing_scorer(8, 4, old, new)
    forward = forward_of(scorer, histories.plan(events([2], [3], [9999])))

    # The log holds one 5, two 6 and one 7; half of what is drawn comes from it, the other half from all 24.
    shares = torch.full((NUM_ITEMS,), 0.5 / 24)
    shares[[5, 6, 7]] += torch.tensor([0.125, 0.25, 0.125])
    assert torch.allclose(scorer._shares(forward), shares)


def test_draws_of_what_was_reset_are_replaced_by_uniform_ones_and_counted_as_such() -> None:
    scorer, histories = drawing_scorer(400, 4, events([0, 1, 2, 3], [1, 2, 3, 3]))
    scorer.reset(np.array([1]), np.array([3]))
    histories.reset(np.array([1]), np.array([3]))

    forward = forward_of(scorer, histories.plan(events([2], [4], [9999])))

    # Only item 1 is left of four events: about 50 of 400 draws are of it, and the others are uniform.
    assert scorer.counts.nonzero().tolist() == [[1]]
    assert len(forward.drawn) == 400
    assert forward.uniform_ratio == pytest.approx(0.875, abs=0.05)
    assert scorer._shares(forward).sum().item() == pytest.approx(1.0)


@pytest.mark.slow
def test_drawn_items_pull_on_average_where_the_whole_catalogue_does() -> None:
    # Item i is taken far more often than item i + 1, so half of the draws are of a few items.
    rng = np.random.default_rng(0)
    items = (24 * rng.random(640) ** 3).astype(np.int64)
    batches = [events(list(range(8)) * 2, items[at : at + 16].tolist(), [at] * 16) for at in range(0, 640, 16)]
    scorer, histories = drawing_scorer(256, 640, *batches)
    step = histories.plan(events(list(range(8)), [0, 1, 3, 7, 12, 17, 20, 23], [9999] * 8))

    def gradient() -> torch.Tensor:
        scorer.num_learned += 1  # each sub-step has draws of its own
        forward = forward_of(scorer, step)
        found = torch.autograd.grad(scorer._loss(forward, KNOWN), [forward.items, forward.bias])
        rows = torch.arange(NUM_ITEMS) if forward.rows is None else forward.rows
        return torch.zeros(NUM_ITEMS, 17).index_copy_(0, rows, torch.cat([found[0], found[1][:, None]], 1))

    drawn = torch.stack([gradient() for _ in range(200)]).mean(0)
    scorer.config = replace(scorer.config, max_full_softmax_items=NUM_ITEMS)
    full = gradient()

    assert torch.cosine_similarity(drawn.flatten(), full.flatten(), dim=0) > 0.999
    assert (drawn.norm() / full.norm()).item() == pytest.approx(1.0, abs=0.02)


def test_a_state_moves_by_several_events_at_once_as_it_does_one_by_one() -> None:
    settings = SequenceConfig(width=16, state_width=16, replay_windows=0, learning_rate=1e-12)
    # User 0 also has a late event and evidence against an item, neither of which moves his state.
    users, items, times = [0, 1, 0, 0, 0, 1, 0, 2, 0], [1, 2, 3, 4, 11, 5, 6, 7, 8], [0, 5, 9, 20, 4, 30, 70, 8, 500]
    batch = events(users, items, times, [1, 1, 1, 1, 1, 1, -1, 1, 1])
    states = []
    for size in (len(batch), 3, 1):
        learner = OnlineLearner(small_config(sub_step_events=size, sequence=settings))
        learner.step(batch)
        learner.step(events([0, 2], [9, 10], [900, 901]))
        scorer = learner._scorers["sequence"]
        assert isinstance(scorer, SequenceScorer)
        states.append(scorer.states.table[:3].clone())

    assert bool((states[0].abs().sum(1) > 0.01).all())
    assert torch.allclose(states[0], states[2], atol=1e-5)
    assert torch.allclose(states[1], states[2], atol=1e-5)


def moved_by_one_set_of_weights(state_events: int) -> tuple[SequenceScorer, Histories]:
    """Return a scorer that read seven events of user 0 and three of user 1, and whose weights hardly ever moved."""
    settings = SequenceConfig(
        width=16, state_width=16, replay_windows=0, learning_rate=1e-12, state_events=state_events, attention_items=4
    )
    scorer, histories = SequenceScorer(small_config(sequence=settings), torch.device("cpu")), Histories(8)
    scorer.grow(8, NUM_ITEMS)
    times = iter(range(0, 100_000, 700))
    for users in ([0, 0, 0], [1, 0, 0], [0, 0], [1, 1]):
        batch = events(users, [3 * user + place for place, user in enumerate(users)], [next(times) for _ in users])
        step = histories.plan(batch)
        scorer.learn(step, KNOWN)
        histories.write(step.after)
    return scorer, histories


def test_a_state_made_anew_has_read_the_history_up_to_the_event_before_the_newest() -> None:
    scorer, histories = moved_by_one_set_of_weights(10**9)
    means, asked = scorer.weights.mean_network, histories.context(np.array([1, 0]))
    expected = []
    for place in range(2):  # each alone, by torch
        runs = runs_of_contexts(asked.take(np.array([place])))
        rows, types, gaps = (torch.from_numpy(table[0]) for table in (runs.item_rows, runs.event_types, runs.gaps))
        read, _ = means.gru(means.inputs(scorer.weights.mean_items, rows, types, gaps)[:, None])
        expected.append(read[-2, 0])

    anew = scorer._read_again(asked)

    assert asked.lengths.tolist() == [3, 7]
    assert torch.allclose(anew, torch.stack(expected), atol=1e-6)
    # What was moved on has read the start of a history too, so it is near and not the same.
    assert torch.nn.functional.cosine_similarity(anew, scorer.states.table[[1, 0]]).min() > 0.9


@pytest.mark.parametrize(("state_events", "is_made_anew"), [(1, True), (4, False)])
def test_a_state_that_is_older_than_so_many_events_is_not_used(state_events: int, is_made_anew: bool) -> None:
    scorer, histories = moved_by_one_set_of_weights(state_events)  # since user 0 was moved, 4 events were learned
    asked = histories.context(np.array([0]))
    before = scorer.score(asked, Candidates.all(NUM_ITEMS)).table()

    scorer.states.table[0] = 100.0

    assert torch.allclose(scorer.score(asked, Candidates.all(NUM_ITEMS)).table(), before, atol=1e-4) is is_made_anew
    step = histories.plan(events([0], [7], [90_000]))
    scorer.learn(step, KNOWN)
    histories.write(step.after)
    assert scorer.states.moved_at[0] == 10
    # His next event moved the state that was used, whichever that was.
    expected = scorer._read_again(histories.context(np.array([0])))
    assert torch.allclose(scorer.states.table[:1], expected, atol=1e-4) is is_made_anew


def test_many_old_states_are_made_anew_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, histories = moved_by_one_set_of_weights(0)
    sizes, read_again = [], scorer._read_again
    monkeypatch.setattr("online_models.scorers.sequence.user_states._BLOCK_USERS", 3)
    monkeypatch.setattr(
        scorer, "_read_again", lambda context: (sizes.append(len(context.user_rows)), read_again(context))[1]
    )

    found = scorer.score(histories.context(np.array([0, 1, 0, 5, 1, 0, 0, 1])), Candidates.all(NUM_ITEMS)).table()

    assert sizes == [3, 3, 1]  # user 5 has no history
    assert torch.allclose(found[[0, 1]], found[[6, 7]], atol=1e-5)


def test_a_sub_step_makes_an_old_state_anew_once(monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, histories = moved_by_one_set_of_weights(0)
    calls, read_again = [], scorer._read_again
    monkeypatch.setattr(scorer, "_read_again", lambda context: (calls.append(1), read_again(context))[1])
    step = histories.plan(events([0], [7], [90_000]))

    scorer.score_events(step, Candidates.all(NUM_ITEMS))
    scorer.learn(step, KNOWN)

    assert calls == [1]
