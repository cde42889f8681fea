"""The sparse transition memory against plain dictionaries, and worked by hand."""

import math
from collections import defaultdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from online_models import NO_ROW, Batch, TransitionsConfig
from online_models.scorers.cooccurrence import Cooccurrence
from online_models.scorers.item_neighbours import ItemNeighbours
from online_models.scorers.transitions import Transitions
from online_models.scores import Candidates
from online_models.users.history import Histories
from tests.support.streams import NONE, events

NUM_ITEMS = 12
PLAIN = TransitionsConfig(num_recent=3, position_decay=0.5, half_life_events=1e9, popularity_power=0.0, num_slots=16)


def memory(config: TransitionsConfig = PLAIN) -> Transitions:
    scorer = ItemNeighbours(config, Transitions(config), torch.device("cpu"))
    scorer.grow(4, NUM_ITEMS)
    return scorer


def teach(scorer: ItemNeighbours, histories: Histories, batch: Batch) -> None:
    histories.grow(4)
    step = histories.plan(batch)
    scorer.learn(step, torch.ones(NUM_ITEMS, dtype=torch.bool))
    histories.write(step.after)


def held(scorer: ItemNeighbours) -> dict[tuple[int, int], float]:
    sources, slots = torch.nonzero(scorer.neighbours != NO_ROW, as_tuple=True)
    targets = scorer.neighbours[sources, slots]
    weights = scorer.weights[sources, slots] / scorer.scale.value
    rows = zip(sources.tolist(), targets.tolist(), weights.tolist(), strict=True)
    return {(source, target): weight for source, target, weight in rows if weight > 0}


def test_each_recent_item_leads_to_the_new_one_with_the_worth_of_its_position() -> None:
    scorer = memory()
    teach(scorer, Histories(8), events([0] * 5, [1, 2, 3, 4, 5]))

    found = held(scorer)
    assert {pair: weight for pair, weight in found.items() if pair[1] == 5} == {(4, 5): 1.0, (3, 5): 0.5, (2, 5): 0.25}
    assert len(found) == 1 + 2 + 3 + 3


def test_the_score_adds_what_each_recent_item_leads_to() -> None:
    scorer, histories = memory(), Histories(8)
    teach(scorer, histories, events([0, 0, 0, 1, 1], [1, 2, 3, 1, 2]))

    score = scorer.score(histories.context(np.array([1])), Candidates.all(NUM_ITEMS)).table()[0]

    # User 1 has 2, 1 (newest first): 2 led to 3 once at position 0 (1.0), 1 led to 3 at position 1 (0.5, worth 0.5).
    assert score[3].item() == pytest.approx(math.log(1.0 + 0.5 * 0.5 + 0.01), abs=1e-6)
    # 1 led to 2 twice at position 0, and 1 is at position 1 of the history.
    assert score[2].item() == pytest.approx(math.log(2.0 * 0.5 + 0.01), abs=1e-6)
    assert score[7].item() == pytest.approx(math.log(0.01), abs=1e-6)


def test_evidence_halves_after_a_half_life_of_events() -> None:
    scorer = memory(TransitionsConfig(num_recent=1, half_life_events=8.0, popularity_power=0.0))
    histories = Histories(8)
    teach(scorer, histories, events([0, 0], [1, 2]))  # the two events age it by two themselves
    teach(scorer, histories, events([1] * 6, [9] * 6, weights=[0.0] * 6))

    assert held(scorer) == {(1, 2): pytest.approx(0.5)}


def test_old_evidence_survives_the_moment_when_the_counts_are_rescaled() -> None:
    scorer = memory(TransitionsConfig(num_recent=1, half_life_events=4.0, popularity_power=0.0))
    histories = Histories(8)
    for _ in range(60):
        teach(scorer, histories, events([0, 0, 1, 1], [1, 2, 1, 2], [0] * 4))

    # Each step adds 2 transitions 1 to 2 (and 2 to 1 from the step before) and then halves: 2 * (1/2 + 1/4 + ...) = 2.
    assert held(scorer)[(1, 2)] == pytest.approx(2.0)
    assert scorer.scale.value < 2.0**40


def test_evidence_against_a_transition_stops_at_zero() -> None:
    scorer, histories = memory(), Histories(8)
    teach(scorer, histories, events([0, 0], [1, 2]))
    teach(scorer, histories, events([1, 1, 1], [1, 2, 2], [0, 1, 2], [1.0, -3.0, -3.0]))
    teach(scorer, histories, events([2, 2], [1, 2]))

    assert held(scorer)[(1, 2)] == pytest.approx(1.0)


def test_a_new_neighbour_takes_the_emptiest_slot_and_takes_over_what_was_in_it() -> None:
    config = TransitionsConfig(num_recent=1, half_life_events=1e9, popularity_power=0.0, num_slots=2)
    scorer, histories = memory(config), Histories(2)
    histories.grow(4)
    teach(scorer, histories, events([0, 0, 0, 0, 0, 0], [1, 2, 1, 2, 1, 3]))  # 1 to 2 twice, 1 to 3 once
    teach(scorer, histories, events([1, 1], [1, 4], weights=[1.0, 0.5]))
    assert {pair: w for pair, w in held(scorer).items() if pair[0] == 1} == {(1, 2): 2.0, (1, 4): 1.5}

    teach(scorer, histories, events([2, 2], [1, 5]))
    assert {pair: w for pair, w in held(scorer).items() if pair[0] == 1} == {(1, 2): 2.0, (1, 5): 2.5}


def test_what_comes_often_gets_in_where_every_slot_is_taken_by_more_than_it_brings() -> None:
    config = TransitionsConfig(num_recent=1, half_life_events=1e9, popularity_power=0.0, num_slots=4)
    scorer, histories = memory(config), Histories(2)
    strangers, friends = [8, 9, 10, 11] * 2, [2, 3] * 5
    for items in (strangers, friends):
        for item in items:
            scorer.grow(4, NUM_ITEMS)
            histories.reset(np.array([0]), np.empty(0, np.int64))
            teach(scorer, histories, events([0, 0], [1, item]))

    assert {pair for pair in held(scorer) if pair[0] == 1} >= {(1, 2), (1, 3)}


def test_a_cosine_counts_what_was_seen_and_takes_nothing_over() -> None:
    config = TransitionsConfig(num_recent=1, half_life_events=1e9, num_slots=2)
    scorer, histories = ItemNeighbours(config, Cooccurrence(), torch.device("cpu")), Histories(2)
    scorer.grow(4, NUM_ITEMS)
    teach(scorer, histories, events([0, 0, 0, 0, 0, 0], [1, 2, 1, 2, 1, 3]))
    before = {pair: w for pair, w in held(scorer).items() if pair[0] == 1}
    teach(scorer, histories, events([1, 1], [1, 4], weights=[1.0, 0.5]))

    assert {pair: w for pair, w in held(scorer).items() if pair[0] == 1} == before


def test_several_new_neighbours_of_one_item_in_one_sub_step_get_slots_of_their_own() -> None:
    scorer = memory()
    teach(scorer, Histories(8), events([0, 1, 2, 3, 0, 1, 2, 3], [1, 1, 1, 1, 2, 3, 4, 5]))

    assert held(scorer) == {(1, 2): 1.0, (1, 3): 1.0, (1, 4): 1.0, (1, 5): 1.0}


def test_a_reset_item_is_forgotten_as_source_and_as_target() -> None:
    scorer = memory()
    teach(scorer, Histories(8), events([0, 0, 0], [1, 2, 3]))

    scorer.reset(NONE, np.array([2]))

    assert held(scorer) == {(1, 3): 0.5}


def test_the_reason_is_the_history_item_that_contributed_most() -> None:
    scorer, histories = memory(), Histories(8)
    teach(scorer, histories, events([0, 0, 0, 0], [1, 5, 1, 5]))  # 1 to 5 twice
    teach(scorer, histories, events([1, 1], [2, 6]))  # 2 to 6 once
    teach(scorer, histories, events([2, 2], [1, 2], weights=[1.0, 1.0]))
    context = histories.context(np.array([2, 3]))

    reasons = scorer.reasons(context, torch.tensor([[5, 6, 9, NO_ROW], [5, 6, 9, NO_ROW]]))

    assert reasons.tolist() == [[1, 2, NO_ROW, NO_ROW], [NO_ROW] * 4]


stream = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, NUM_ITEMS - 1), st.sampled_from([1.0, 1.0, 2.0, 0.0])), max_size=40
)


@pytest.mark.slow
@settings(deadline=None)
@given(stream, st.integers(1, 9))
def test_the_memory_holds_what_dictionaries_hold_when_no_slot_runs_out(
    rows: list[tuple[int, int, float]], size: int
) -> None:
    scorer, histories, past = memory(), Histories(8), defaultdict(list)
    expected: dict[tuple[int, int], float] = defaultdict(float)
    for start in range(0, len(rows), size):
        users, items, weights = (list(column) for column in zip(*rows[start : start + size], strict=True))
        teach(scorer, histories, events(users, items, [0] * len(users), weights))
    for user, item, weight in rows:
        for position, source in enumerate(past[user][:3]):
            expected[source, item] += weight * 0.5**position
        if weight > 0:
            past[user].insert(0, item)

    assert held(scorer) == pytest.approx({pair: weight for pair, weight in expected.items() if weight > 0})
